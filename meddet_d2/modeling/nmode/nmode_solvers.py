"""The equations nmODE (MedDet eq. 2) and nmODE^2 (MedDet eq. 4), integrated step by step.

Every element of a tensor is an independent scalar equation dy/dt = f(y, gamma) over [0, t_end], where gamma is
constant in time:

    nmODE    f = -y + sin^2(y + gamma)
    nmODE^2  f = -y + sin^2(y + cos^2(y + gamma))

"Second order" is the paper's name: eq. 4 is of first order in time with a nested non-linearity. From y(0) = 0 the
result is a function of gamma alone, which flow_map.py tabulates; here is the reference, and what serves any other y(0).
"""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torchdiffeq import odeint

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


def _rk4(
    slope: Callable[..., Sequence[Tensor]], state: Sequence[Tensor], gamma: Tensor, t_end: float, steps: int
) -> Sequence[Tensor]:
    """Integrate ``state``, changed in place; ``slope(*state, gamma)`` gives the slope of each of its tensors."""
    h = t_end / steps
    for _ in range(steps):
        k = slope(*state, gamma)
        total = [x.clone() for x in k]
        for reach, weight in _RK4_STAGES:
            k = slope(*(torch.add(y, x, alpha=reach * h) for y, x in zip(state, k, strict=True)), gamma)
            for sum_of_slopes, x in zip(total, k, strict=True):
                sum_of_slopes.add_(x, alpha=weight)
        for y, sum_of_slopes in zip(state, total, strict=True):
            y.add_(sum_of_slopes, alpha=h / 6)
    return state


def refuse_second_derivative() -> None:
    """Raise a RuntimeError in a backward pass with ``create_graph=True``, whose own derivative would be wrong.

    The slope dy/dgamma is a constant there. torch's ``once_differentiable`` sees only what comes through grad_y, and
    lets the gradient of a sum's gradient pass.
    """
    if torch.is_grad_enabled():
        raise RuntimeError(
            "MODEL.NMODE.SOLVER flow_map and rk4 can be differentiated once; take odeint for a gradient of gradients."
        )


class _RK4Function(torch.autograd.Function):
    # The equation is scalar per element, so dy/dgamma is one number per element. Integrated beside y by the same
    # steps it is exactly the derivative of the discrete solution, and the only tensor to keep; differentiating
    # through 4 steps of the solver would keep about a hundred.

    @staticmethod
    def forward(ctx: Any, gamma: Tensor, flow: Flow, t_end: float, steps: int) -> Tensor:
        y, s = _rk4(flow.slope_and_tangent, [torch.zeros_like(gamma), torch.zeros_like(gamma)], gamma, t_end, steps)
        ctx.save_for_backward(s)
        return y

    @staticmethod
    def backward(ctx: Any, grad_y: Tensor) -> tuple[Tensor, None, None, None]:
        refuse_second_derivative()
        (s,) = ctx.saved_tensors
        return grad_y * s, None, None, None


def rk4_solve(
    gamma: Tensor, *, kind: str = "nmode2", t_end: float = 1.0, steps: int = 4, y0: Tensor | None = None
) -> Tensor:
    """Solve nmODE or nmODE^2 by the classical Runge-Kutta method with a fixed step.

    From y(0) = 0 the backward pass is exact for the discrete solution and keeps one tensor of gamma's shape. It can be
    differentiated once: a second derivative is refused. Without gradients nothing is kept. From a given
    y(0), which may have a gradient too, autograd goes through the steps and keeps some 25 tensors a step.

    Args:
        gamma: floating-point tensor of any shape, constant in time.
        kind: "nmode" (eq. 2) or "nmode2" (eq. 4).
        t_end: end of the integration; the start is 0.
        steps: number of steps. With 4, nmODE^2 at t_end = 1 is within 1e-4 of the true solution.
        y0: y(0), of gamma's shape and dtype; None is 0.

    Returns:
        y(t_end), of gamma's shape and dtype.
    """
    flow = FLOWS[kind]
    if y0 is None and torch.is_grad_enabled() and gamma.requires_grad:
        return _RK4Function.apply(gamma, flow, t_end, steps)
    start = torch.zeros_like(gamma) if y0 is None else y0.clone()
    (y,) = _rk4(lambda y, gamma: (flow.slope(y, gamma),), [start], gamma, t_end, steps)
    return y


def odeint_solve(
    gamma: Tensor,
    *,
    kind: str = "nmode2",
    t_end: float = 1.0,
    method: str = "dopri5",
    rtol: float = 1e-3,
    atol: float = 1e-3,
    steps: int = 4,
    y0: Tensor | None = None,
) -> Tensor:
    """Solve nmODE or nmODE^2 by ``torchdiffeq.odeint``, differentiated through the solver's steps.

    The adjoint variant is no choice here: it returns no gradient for gamma, which is an activation and not a
    parameter of the right-hand side. An adaptive method controls its step by the whole tensor, so one image's
    result depends on its batch within the tolerances.

    Args:
        gamma, kind, t_end, y0: as for :func:`rk4_solve`; so is the result.
        method: a method of torchdiffeq. Its "rk4" is the 3/8 rule.
        rtol, atol: relative and absolute tolerance of an adaptive method.
        steps: number of steps of a fixed-step method.
    """
    slope = FLOWS[kind].slope
    # Left to itself, a fixed-step method takes [0, t_end] in one step.
    options = {"step_size": t_end / steps} if method in FIXED_STEP_METHODS else None
    times = torch.tensor([0.0, t_end], dtype=gamma.dtype, device=gamma.device)
    start = torch.zeros_like(gamma) if y0 is None else y0
    y = odeint(lambda t, y: slope(y, gamma), start, times, rtol=rtol, atol=atol, method=method, options=options)
    return y[-1]
