"""The neural-memory ODE as an activation: nmODE (MedDet eq. 2) and nmODE^2 (MedDet eq. 4) on a feature map.

Shape legend:
    N: images, C: channels, H, W: height and width of a feature map.

gamma = w * x + b per channel enters the equation, and y(t_end) is read out. nmode_solvers.py has the equations and
their step-by-step solvers, flow_map.py the table that stands for them where y(0) = 0.
"""

from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import Tensor, nn

from meddet_d2.config.arguments import arguments, require, require_choice

from ...hardware.triton_use import has_kernel, is_dense
from .flow_map import CELL, flow_map, flow_map_of_cells, flow_table
from .nmode_solvers import ADAPTIVE_METHODS, FIXED_STEP_METHODS, FLOWS, odeint_solve, rk4_solve

READOUTS = ("plain", "residual", "gated")
SOLVERS = ("flow_map", "rk4", "odeint")
PLACES = ("backbone", "fpn", "head")


class NMODEBlock(nn.Module):
    """nmODE or nmODE^2 on a feature map, with its read-out (MedDet sec. III-C, figure 3).

    The parameters are ``w`` and ``b``, both (C,): gamma = w * x + b. The equation is solved in fp32 whatever the
    autocast dtype, because half precision costs up to 3e-3 (fp16) or 3e-2 (bf16) of a result in [0, 1). From y(0) = 0,
    y(t_end) is in [0, 1) and of period pi in gamma.

    Args:
        channels: C.
        kind: "nmode" (eq. 2) or "nmode2" (eq. 4).
        readout: what the next layer sees: "plain" y, "residual" x + y, or "gated" x * y.
        init_w: start of w.
        init_b: start of b.
        t_end: end of the integration. The steepest slope of y over gamma is 1.4 at 1, 3.9 at 2 and 17 at 5.
        solver: "flow_map" (a table, from y(0) = 0 only), "rk4" (fixed steps) or "odeint" (torchdiffeq).
        rk4_steps: steps of "rk4", and of a fixed-step ``odeint_method``.
        odeint_method: a method of torchdiffeq.
        odeint_rtol, odeint_atol: relative and absolute tolerance of an adaptive ``odeint_method``.

    Raises:
        ValueError: an argument is outside its range.
    """

    table: Tensor

    def __init__(
        self,
        *,
        channels: int,
        kind: str = "nmode2",
        readout: str = "residual",
        init_w: float = 1.0,
        init_b: float = 0.0,
        t_end: float = 1.0,
        solver: str = "flow_map",
        rk4_steps: int = 4,
        odeint_method: str = "dopri5",
        odeint_rtol: float = 1e-3,
        odeint_atol: float = 1e-3,
    ):
        super().__init__()
        require_choice("MODEL.NMODE.KIND", kind, FLOWS)
        require_choice("MODEL.NMODE.READOUT", readout, READOUTS)
        require_choice("MODEL.NMODE.SOLVER", solver, SOLVERS)
        require_choice("MODEL.NMODE.ODEINT_METHOD", odeint_method, ADAPTIVE_METHODS + FIXED_STEP_METHODS)
        positive = {"T_END": t_end, "RK4_STEPS": rk4_steps, "ODEINT_RTOL": odeint_rtol, "ODEINT_ATOL": odeint_atol}
        for key, value in positive.items():
            require(0 < value < float("inf"), f"MODEL.NMODE.{key}", value, "a positive number")
        self.channels = channels
        self.kind = kind
        self.readout = readout
        self.t_end = float(t_end)
        self.solver = solver
        self.rk4_steps = int(rk4_steps)
        self.odeint_method = odeint_method
        self.odeint_rtol = odeint_rtol
        self.odeint_atol = odeint_atol
        if solver == "flow_map":
            # A constant, so it stays out of checkpoints.
            self.register_buffer("table", flow_table(kind, self.t_end), persistent=False)
        self.w = nn.Parameter(torch.full((channels,), float(init_w)))
        self.b = nn.Parameter(torch.full((channels,), float(init_b)))

    def forward(self, x: Tensor, y0: Tensor | None = None) -> Tensor:
        """Map (N, C, H, W) to the same shape and dtype.

        Args:
            x: the feature map.
            y0: y(0), of x's shape; None is 0. For the solvers "rk4" and "odeint" only.

        Raises:
            ValueError: y0 is given to the solver "flow_map".
        """
        if self.solver == "flow_map" and y0 is None and has_kernel(x):
            from .flow_map_kernel import nmode_read_out

            return nmode_read_out(x if is_dense(x) else x.contiguous(), self.w, self.b, self.table, self.readout)
        with _full_precision(x.device):
            wide = _at_least_single(x)
            w, b = (p.to(wide.dtype).view(1, -1, 1, 1) for p in (self.w, self.b))
            if self.solver == "flow_map" and y0 is None:
                # gamma comes out in the table's cells: two vectors are scaled, and not the map.
                y = _in_memory_order(torch.addcmul(b / CELL, w / CELL, wide), self.table)
            else:
                y = self.solve(torch.addcmul(b, w, wide), None if y0 is None else y0.to(wide.dtype))
            if self.readout == "residual":
                y = wide + y
            elif self.readout == "gated":
                y = wide * y
            return y.to(x.dtype)

    def solve(self, gamma: Tensor, y0: Tensor | None = None) -> Tensor:
        """Return y(t_end) for gamma (any shape, single or double precision) by the solver of this block."""
        if self.solver == "flow_map":
            if y0 is not None:
                raise ValueError(
                    "MODEL.NMODE.SOLVER flow_map starts from y(0) = 0: for another y(0) take rk4 or odeint."
                )
            return flow_map(gamma, self.table)
        if self.solver == "rk4":
            return rk4_solve(gamma, kind=self.kind, t_end=self.t_end, steps=self.rk4_steps, y0=y0)
        how: dict[str, Any] = {"method": self.odeint_method, "rtol": self.odeint_rtol, "atol": self.odeint_atol}
        return odeint_solve(gamma, kind=self.kind, t_end=self.t_end, steps=self.rk4_steps, y0=y0, **how)

    def _apply(self, fn: Any, recurse: bool = True) -> "NMODEBlock":
        # model.half() would round the table, and model.double() would keep single precision in it.
        super()._apply(fn, recurse)
        if self.solver == "flow_map" and not self.table.is_meta:
            wide = torch.promote_types(self.w.dtype, torch.float32)
            self.table = flow_table(self.kind, self.t_end, wide).to(self.table.device)
        return self

    def extra_repr(self) -> str:
        how = {"rk4": f"rk4, steps={self.rk4_steps}", "odeint": f"odeint, {self.odeint_method}"}
        return (
            f"{self.channels}, {self.kind}, {self.readout}, t_end={self.t_end:g}, {how.get(self.solver, self.solver)}"
        )


def build_nmode(*, channels: int, **kwargs: Any) -> NMODEBlock:
    """Build the block of ``nmode_kwargs`` for a map of ``channels`` channels; see :class:`NMODEBlock`."""
    return NMODEBlock(channels=channels, **kwargs)


def nmode_kwargs(cfg: Any, place: str) -> dict[str, Any] | None:
    """The arguments of :func:`build_nmode` by ``cfg.MODEL.NMODE``; None where it wants no block in that place.

    Args:
        cfg: a config with this project's keys. (For the ``from_config`` of backbones and heads.)
        place: "backbone", "fpn" or "head".

    Raises:
        ValueError: MODEL.NMODE.KIND or MODEL.NMODE.PLACES holds an unknown name.
    """
    node = cfg.MODEL.NMODE
    require_choice("MODEL.NMODE.KIND", node.KIND, ("none", *FLOWS))
    for name in node.PLACES:
        require_choice("MODEL.NMODE.PLACES", name, PLACES)
    return None if node.KIND == "none" or place not in node.PLACES else arguments(NMODEBlock, node)


def _in_memory_order(cells: Tensor, table: Tensor) -> Tensor:
    # A table sees no order; one that follows the memory is read without a copy.
    if cells.is_contiguous(memory_format=torch.channels_last):
        return flow_map_of_cells(cells.permute(0, 2, 3, 1), table).permute(0, 3, 1, 2)
    return flow_map_of_cells(cells, table)


def _at_least_single(x: Tensor) -> Tensor:
    return x if x.dtype == torch.float64 else x.float()


def _full_precision(device: torch.device) -> AbstractContextManager:
    # Devices without autocast ("meta") refuse even a disabled one.
    if torch.amp.is_autocast_available(device.type):
        return torch.autocast(device.type, enabled=False)
    return nullcontext()
