"""The neural-memory ODE as an activation: nmODE (MedDet eq. 2) and nmODE^2 (MedDet eq. 4).

Shape legend:
    N: images, C: channels, H, W: height and width of a feature map.

Every element of a map is an independent scalar equation dy/dt = f(y, gamma), started at y(0) = 0 and
integrated over [0, t_end], where gamma = w * x + b per channel is constant in time:

    nmODE    f = -y + sin^2(y + gamma)
    nmODE^2  f = -y + sin^2(y + cos^2(y + gamma))

So the block is a pointwise function y(t_end) = phi(gamma) with period pi and values in [0, 1). "Second order"
is the paper's name: eq. 4 is of first order in time with a nested non-linearity.
"""

import math
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

READOUTS = ("plain", "residual", "gated")
SOLVERS = ("rk4", "odeint")
PLACES = ("backbone", "fpn", "head")

# Solvers of torchdiffeq with and without step-size control.
ADAPTIVE_METHODS = ("dopri5", "dopri8", "bosh3", "fehlberg2", "adaptive_heun")
FIXED_STEP_METHODS = ("euler", "midpoint", "heun2", "heun3", "rk4")

# Classical Runge-Kutta after its first slope: (how far the next slope is taken, in steps; its weight).
_RK4_STAGES = ((0.5, 2.0), (0.5, 2.0), (1.0, 1.0))


def nmode_slope(y: Tensor, gamma: Tensor) -> Tensor:
    """Right-hand side of eq. 2, sin^2(y + gamma) - y. Both tensors have one shape; so has the result."""
    return torch.add(y, gamma).sin_().square_().sub_(y)


def nmode2_slope(y: Tensor, gamma: Tensor) -> Tensor:
    """Right-hand side of eq. 4, sin^2(y + cos^2(y + gamma)) - y. Both tensors have one shape; so has the result."""
    return torch.add(y, gamma).cos_().square_().add_(y).sin_().square_().sub_(y)


def nmode_slope_and_tangent(y: Tensor, s: Tensor, gamma: Tensor) -> tuple[Tensor, Tensor]:
    """Eq. 2's right-hand side f and its derivative f_y * s + f_gamma, where s = dy/dgamma."""
    v = y + gamma
    sin_v = v.sin()
    sin_2v = v.cos_().mul_(sin_v).mul_(2)
    tangent = sin_2v.mul_(s + 1).sub_(s)
    return sin_v.square_().sub_(y), tangent


def nmode2_slope_and_tangent(y: Tensor, s: Tensor, gamma: Tensor) -> tuple[Tensor, Tensor]:
    """Eq. 4's right-hand side f and its derivative f_y * s + f_gamma, where s = dy/dgamma."""
    v = y + gamma
    cos_v = v.cos()
    sin_2v = v.sin_().mul_(cos_v).mul_(2)
    du = torch.sub(s, sin_2v.mul_(s + 1))
    u = cos_v.square_().add_(y)
    sin_u = u.sin()
    sin_2u = u.cos_().mul_(sin_u).mul_(2)
    tangent = du.mul_(sin_2u).sub_(s)
    return sin_u.square_().sub_(y), tangent


class Flow(NamedTuple):
    """One equation: its right-hand side alone, and together with the derivative along dy/dgamma."""

    slope: Callable[[Tensor, Tensor], Tensor]
    slope_and_tangent: Callable[[Tensor, Tensor, Tensor], tuple[Tensor, Tensor]]


FLOWS = {
    "nmode": Flow(nmode_slope, nmode_slope_and_tangent),
    "nmode2": Flow(nmode2_slope, nmode2_slope_and_tangent),
}


def _rk4(flow: Flow, gamma: Tensor, t_end: float, steps: int) -> Tensor:
    h = t_end / steps
    y = torch.zeros_like(gamma)
    for _ in range(steps):
        k = flow.slope(y, gamma)
        total = k.clone()
        for reach, weight in _RK4_STAGES:
            k = flow.slope(torch.add(y, k, alpha=reach * h), gamma)
            total.add_(k, alpha=weight)
        y.add_(total, alpha=h / 6)
    return y


def _rk4_with_sensitivity(flow: Flow, gamma: Tensor, t_end: float, steps: int) -> tuple[Tensor, Tensor]:
    h = t_end / steps
    y = torch.zeros_like(gamma)
    s = torch.zeros_like(gamma)
    for _ in range(steps):
        k, dk = flow.slope_and_tangent(y, s, gamma)
        total, d_total = k.clone(), dk.clone()
        for reach, weight in _RK4_STAGES:
            k, dk = flow.slope_and_tangent(torch.add(y, k, alpha=reach * h), torch.add(s, dk, alpha=reach * h), gamma)
            total.add_(k, alpha=weight)
            d_total.add_(dk, alpha=weight)
        y.add_(total, alpha=h / 6)
        s.add_(d_total, alpha=h / 6)
    return y, s


class _RK4Function(torch.autograd.Function):
    # The equation is scalar per element, so dy/dgamma is one number per element. Integrated beside y by the same
    # steps it is exactly the derivative of the discrete solution, and the only tensor to keep; differentiating
    # through 4 steps of the solver would keep about a hundred.

    @staticmethod
    def forward(ctx: Any, gamma: Tensor, flow: Flow, t_end: float, steps: int) -> Tensor:
        y, s = _rk4_with_sensitivity(flow, gamma, t_end, steps)
        ctx.save_for_backward(s)
        return y

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_y: Tensor) -> tuple[Tensor, None, None, None]:
        (s,) = ctx.saved_tensors
        return grad_y * s, None, None, None


def rk4_solve(gamma: Tensor, *, kind: str = "nmode2", t_end: float = 1.0, steps: int = 4) -> Tensor:
    """Solve nmODE or nmODE^2 from y(0) = 0 by the classical Runge-Kutta method with a fixed step.

    The backward pass is exact for the discrete solution and keeps one tensor of gamma's shape. It can be
    differentiated once: there is no second derivative through it. Without gradients nothing is kept.

    Args:
        gamma: floating-point tensor of any shape, constant in time.
        kind: "nmode" (eq. 2) or "nmode2" (eq. 4).
        t_end: end of the integration; the start is 0.
        steps: number of steps. With 4, nmODE^2 at t_end = 1 is within 1e-4 of the true solution.

    Returns:
        y(t_end), of gamma's shape and dtype.
    """
    flow = FLOWS[kind]
    if torch.is_grad_enabled() and gamma.requires_grad:
        return _RK4Function.apply(gamma, flow, t_end, steps)
    return _rk4(flow, gamma, t_end, steps)


def odeint_solve(
    gamma: Tensor,
    *,
    kind: str = "nmode2",
    t_end: float = 1.0,
    method: str = "dopri5",
    rtol: float = 1e-3,
    atol: float = 1e-3,
    steps: int = 4,
) -> Tensor:
    """Solve nmODE or nmODE^2 from y(0) = 0 by ``torchdiffeq.odeint``, differentiated through the solver's steps.

    The adjoint variant is no choice here: it returns no gradient for gamma, which is an activation and not a
    parameter of the right-hand side. An adaptive method controls its step by the whole tensor, so one image's
    result depends on its batch within the tolerances.

    Args:
        gamma: floating-point tensor of any shape, constant in time.
        kind: "nmode" (eq. 2) or "nmode2" (eq. 4).
        t_end: end of the integration; the start is 0.
        method: a method of torchdiffeq. Its "rk4" is the 3/8 rule.
        rtol: relative tolerance of an adaptive method.
        atol: absolute tolerance of an adaptive method.
        steps: number of steps of a fixed-step method.

    Returns:
        y(t_end), of gamma's shape and dtype.
    """
    from torchdiffeq import odeint  # only this solver needs it

    slope = FLOWS[kind].slope
    # Left to itself, a fixed-step method takes [0, t_end] in one step.
    options = {"step_size": t_end / steps} if method in FIXED_STEP_METHODS else None
    times = torch.tensor([0.0, t_end], dtype=gamma.dtype, device=gamma.device)
    y = odeint(
        lambda t, y: slope(y, gamma),
        torch.zeros_like(gamma),
        times,
        rtol=rtol,
        atol=atol,
        method=method,
        options=options,
    )
    return y[-1]


class NMODEBlock(nn.Module):
    """nmODE or nmODE^2 on a feature map, with its read-out (MedDet sec. III-C, figure 3).

    The parameters are ``w`` and ``b``, both (C,): gamma = w * x + b. The equation is solved in fp32 whatever the
    autocast dtype, because half precision costs up to 3e-3 (fp16) or 3e-2 (bf16) of a result in [0, 1).

    Args:
        channels: C.
        kind: "nmode" (eq. 2) or "nmode2" (eq. 4).
        readout: what the next layer sees: "plain" y, "residual" x + y, or "gated" x * y.
        init_w: start of w.
        init_b: start of b.
        t_end: end of the integration. The steepest slope of y over gamma is 1.4 at 1, 3.9 at 2 and 17 at 5.
        solver: "rk4" (this file) or "odeint" (torchdiffeq).
        rk4_steps: steps of "rk4", and of a fixed-step ``odeint_method``.
        odeint_method: a method of torchdiffeq.
        odeint_rtol: relative tolerance of an adaptive ``odeint_method``.
        odeint_atol: absolute tolerance of an adaptive ``odeint_method``.

    Raises:
        ValueError: an argument is outside its range.
    """

    def __init__(
        self,
        *,
        channels: int,
        kind: str = "nmode2",
        readout: str = "residual",
        init_w: float = 1.0,
        init_b: float = 0.0,
        t_end: float = 1.0,
        solver: str = "rk4",
        rk4_steps: int = 4,
        odeint_method: str = "dopri5",
        odeint_rtol: float = 1e-3,
        odeint_atol: float = 1e-3,
    ):
        super().__init__()
        _require_choice("KIND", kind, tuple(FLOWS))
        _require_choice("READOUT", readout, READOUTS)
        _require_choice("SOLVER", solver, SOLVERS)
        _require_choice("ODEINT_METHOD", odeint_method, ADAPTIVE_METHODS + FIXED_STEP_METHODS)
        _require_positive("T_END", t_end)
        _require_positive("RK4_STEPS", rk4_steps)
        _require_positive("ODEINT_RTOL", odeint_rtol)
        _require_positive("ODEINT_ATOL", odeint_atol)
        self.channels = channels
        self.kind = kind
        self.readout = readout
        self.t_end = float(t_end)
        self.solver = solver
        self.rk4_steps = int(rk4_steps)
        self.odeint_method = odeint_method
        self.odeint_rtol = odeint_rtol
        self.odeint_atol = odeint_atol
        self.w = nn.Parameter(torch.full((channels,), float(init_w)))
        self.b = nn.Parameter(torch.full((channels,), float(init_b)))

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, C, H, W) to the same shape and dtype."""
        with _full_precision(x.device):
            wide = x if x.dtype == torch.float64 else x.float()
            w, b = (p.to(wide.dtype).view(1, -1, 1, 1) for p in (self.w, self.b))
            y = self.solve(torch.addcmul(b, w, wide))
            if self.readout == "residual":
                y = wide + y
            elif self.readout == "gated":
                y = wide * y
            return y.to(x.dtype)

    def solve(self, gamma: Tensor) -> Tensor:
        """Return y(t_end) for gamma (any shape) by the solver of this block."""
        if self.solver == "rk4":
            return rk4_solve(gamma, kind=self.kind, t_end=self.t_end, steps=self.rk4_steps)
        return odeint_solve(
            gamma,
            kind=self.kind,
            t_end=self.t_end,
            method=self.odeint_method,
            rtol=self.odeint_rtol,
            atol=self.odeint_atol,
            steps=self.rk4_steps,
        )

    def extra_repr(self) -> str:
        how = f"rk4, steps={self.rk4_steps}" if self.solver == "rk4" else f"odeint, {self.odeint_method}"
        return f"{self.channels}, {self.kind}, {self.readout}, t_end={self.t_end:g}, {how}"


def build_nmode(*, channels: int, **kwargs: Any) -> NMODEBlock:
    """Build the block of ``nmode_kwargs`` for a map of ``channels`` channels; see :class:`NMODEBlock`."""
    return NMODEBlock(channels=channels, **kwargs)


def nmode_kwargs(cfg: Any, place: str) -> dict[str, Any] | None:
    """Read the arguments of :func:`build_nmode`, without ``channels``, from ``cfg.MODEL.NMODE``.

    Args:
        cfg: a config with this project's keys. (For the ``from_config`` of backbones and heads.)
        place: "backbone", "fpn" or "head".

    Returns:
        The keyword arguments, or None where the config wants no block in that place.

    Raises:
        ValueError: MODEL.NMODE.KIND or MODEL.NMODE.PLACES holds an unknown name.
    """
    node = cfg.MODEL.NMODE
    _require_choice("KIND", node.KIND, ("none", *FLOWS))
    for name in node.PLACES:
        _require_choice("PLACES", name, PLACES)
    if node.KIND == "none" or place not in node.PLACES:
        return None
    return {
        "kind": node.KIND,
        "readout": node.READOUT,
        "init_w": node.INIT_W,
        "init_b": node.INIT_B,
        "t_end": node.T_END,
        "solver": node.SOLVER,
        "rk4_steps": node.RK4_STEPS,
        "odeint_method": node.ODEINT_METHOD,
        "odeint_rtol": node.ODEINT_RTOL,
        "odeint_atol": node.ODEINT_ATOL,
    }


def _full_precision(device: torch.device) -> AbstractContextManager:
    # Devices without autocast ("meta") refuse even a disabled one.
    if torch.amp.is_autocast_available(device.type):
        return torch.autocast(device.type, enabled=False)
    return nullcontext()


def _require_choice(key: str, value: str, choices: tuple[str, ...]) -> None:
    if value not in choices:
        raise ValueError(f"MODEL.NMODE.{key}: unknown value {value!r}; choose from {', '.join(choices)}.")


def _require_positive(key: str, value: float) -> None:
    if not (value > 0 and math.isfinite(value)):
        raise ValueError(f"MODEL.NMODE.{key} must be a positive number, not {value}.")
