"""nmODE and nmODE^2 from y(0) = 0 at the price of an activation: their flow map, tabulated once.

With y(0) = 0 and t_end fixed, the solution is a function of one number, y(t_end) = phi(gamma), pointwise, smooth and of
period pi. So it is integrated once, in double precision, at CELLS places of one period, and then looked up: the
value at the nearest place and a step along the tangent there. Of phi' the same. No work depends on t_end any more, an
inference is two look-ups and a multiplication, and training keeps the slope alone.

The largest error of nmODE^2's phi, and of phi' relative to its largest value (tests/modeling/nmode/test_flow_map.py):

    t_end       0.5      1        2        5
    phi         1e-7     4e-7     2e-6     5e-5
    phi'        2e-6     5e-6     2e-5     4e-4

That is the table's error. Single precision adds the rounding of gamma: at t_end = 1 phi is then within 1e-6 for |gamma|
up to 4, and within 1e-5 at 50.
"""

import math
from functools import lru_cache
from typing import Any

import numpy as np
import torch
from torch import Tensor

from .nmode_solvers import refuse_second_derivative, rk4_solve

# A power of two, so that the place in the period is a bit mask; three tables of it are 48 KB and stay in the L1 cache.
CELLS = 4096
# The width of a cell. Inside, gamma and the derivatives are in cells: nothing is left to be scaled on the way.
CELL = math.pi / CELLS
# A map that is off by more than this is refused: phi, and phi' relative to its largest value.
VALUE_ERROR = 1e-4
SLOPE_ERROR = 1e-3
# No equation here is served for longer, so it is not tried either.
_LONGEST = 10.0
# Steps of RK4 for one unit of time; 250 are within 1e-9.
_STEPS = 250


@lru_cache(maxsize=32)
def _solve_one_period(kind: str, t_end: float, places: int) -> np.ndarray:
    """phi, phi' and phi'' at ``places`` equidistant gamma in [0, pi): (3, places) in double precision."""
    gamma = torch.arange(places, dtype=torch.float64, device="cpu") * (math.pi / places)
    with torch.no_grad():
        phi = rk4_solve(gamma, kind=kind, t_end=t_end, steps=math.ceil(_STEPS * max(t_end, 1.0))).numpy()
    # A smooth periodic function's derivatives are exact by its Fourier series, whose harmonics are exp(2i k gamma).
    series = np.fft.rfft(phi)
    frequency = 2j * np.arange(len(series))
    return np.stack([np.fft.irfft(series * frequency**order, places) for order in range(3)])


@lru_cache(maxsize=32)
def flow_table(kind: str, t_end: float, dtype: torch.dtype = torch.float32) -> Tensor:
    """Tabulate the flow map of one equation.

    Args:
        kind: "nmode" (eq. 2) or "nmode2" (eq. 4).
        t_end: end of the integration, positive.
        dtype: torch.float32 or torch.float64.

    Returns:
        (3, CELLS) on the CPU: phi, phi' and phi'', by the cell. Shared between callers, so not to be changed in place.

    Raises:
        ValueError: t_end is so long that the map is too steep for the table.
    """
    if t_end > _LONGEST:
        raise ValueError(_too_long(t_end, f"which serves up to about 5 and never more than {_LONGEST:g}"))
    exact = _solve_one_period(kind, float(t_end), 2 * CELLS)
    nodes, middles = exact[:, ::2], exact[:, 1::2]
    # The error is largest half-way between two nodes.
    found = nodes[:2] + nodes[1:] * (CELL / 2)
    value_error, slope_error = np.abs(found - middles[:2]).max(axis=1) / (1.0, np.abs(nodes[1]).max())
    if value_error > VALUE_ERROR or slope_error > SLOPE_ERROR:
        raise ValueError(_too_long(t_end, f"whose error would be {value_error:.1e} (at 5 it is below {VALUE_ERROR:g})"))
    # Beside phi's lowest point, which is flat, a tangent passes 0 by 1e-13 (nmODE: 1e-10). The whole map is lifted by
    # twice that, so that y stays in [0, 1) as the equation's does; single precision sees it nowhere else.
    lift = 2 * max(0.0, (np.abs(nodes[1]) * (CELL / 2) - nodes[0]).max())
    return torch.from_numpy(np.stack([nodes[0] + lift, nodes[1] * CELL, nodes[2] * CELL**2])).to(dtype)


def _too_long(t_end: float, why: str) -> str:
    return (
        f"MODEL.NMODE.T_END {t_end:g} is too long for SOLVER flow_map, {why}:"
        " stay near 1, or take SOLVER rk4 or odeint."
    )


def _find(cells: Tensor, *, reuse: bool) -> tuple[Tensor, Tensor]:
    """The nearest node of each place, flat, and the way from there in [-0.5, 0.5], in the memory of cells or not."""
    nearest = torch.round(cells)
    # On a CPU a new map costs more than what is done with it.
    rest = cells.sub_(nearest) if reuse else cells - nearest
    # The mask takes negative numbers to the right place, too: two's complement.
    return nearest.to(_index_dtype()).bitwise_and_(CELLS - 1).reshape(-1), rest


def _look_up(table: Tensor, node: Tensor, rest: Tensor) -> Tensor:
    # Each is several times faster on a CPU than the other in its place: onnxruntime has GatherElements for the one and
    # Gather for the other.
    found = table.gather(0, node) if torch.compiler.is_compiling() else table.index_select(0, node)
    return found.view_as(rest)


def _index_dtype() -> torch.dtype:
    return torch.int64 if torch.compiler.is_compiling() else torch.int32  # gather takes the one only


class _FlowMapFunction(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, cells: Tensor, table: Tensor) -> Tensor:
        node, rest = _find(cells, reuse=False)
        value, slope, bend = (_look_up(row, node, rest) for row in table)
        y = value.addcmul_(slope, rest)
        # phi' goes along its own tangent: the derivative of phi between two nodes would jump from cell to cell.
        ctx.save_for_backward(slope.addcmul_(bend, rest))
        return y

    @staticmethod
    def backward(ctx: Any, grad_y: Tensor) -> tuple[Tensor, None]:
        refuse_second_derivative()
        (slope,) = ctx.saved_tensors
        return grad_y * slope, None


def flow_map(gamma: Tensor, table: Tensor) -> Tensor:
    """Evaluate phi(gamma), with the gradient phi'(gamma).

    The backward pass keeps one tensor of gamma's shape; a second derivative is refused. The same operators serve
    torch.compile, which makes one loop of them, and an export: Mul, Round, Sub, Cast, BitwiseAnd, GatherElements, Add.

    Args:
        gamma: (...) of the table's dtype, contiguous for speed. Not a number and infinite give not a number.
        table: of :func:`flow_table`, on gamma's device.

    Returns:
        y(t_end), (...), of gamma's dtype; in [0, 1).
    """
    return flow_map_of_cells(gamma * (1 / CELL), table)


def flow_map_of_cells(cells: Tensor, table: Tensor) -> Tensor:
    """:func:`flow_map` of ``cells * CELL``, for whoever can scale gamma where it costs nothing; uses ``cells`` up."""
    if torch.is_grad_enabled() and cells.requires_grad:
        return _FlowMapFunction.apply(cells, table)
    node, rest = _find(cells, reuse=True)
    value, slope = (_look_up(row, node, rest) for row in table[:2])
    return value.addcmul_(slope, rest)
