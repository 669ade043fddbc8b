"""nmODE and nmODE^2 with their read-out as one CUDA kernel each way: the map is read once and written once.

It computes what flow_map.py's operators do, which pass over the map a dozen times. triton_use.py says when it serves.

Shape legend:
    N: images, C: channels, H, W: height and width of a feature map
    A map is rows x columns in memory: (N * H * W) x C if the channels are last, and (N * C) x (H * W) if not.
"""

from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor

from .flow_map import CELL, CELLS
from .nmode_solvers import refuse_second_derivative

_CELL, _CELLS = tl.constexpr(CELL), tl.constexpr(CELLS)
# Values of the map that a program works on at once; how many programs are enough to keep a GPU busy.
_BLOCK, _PROGRAMS = 2048, 1024


@triton.jit
def _parameters(w_of, b_of, channel, channels):
    w = tl.load(w_of + channel, mask=channel < channels, other=0.0)
    b = tl.load(b_of + channel, mask=channel < channels, other=0.0)
    return w.to(tl.float32), b.to(tl.float32)


@triton.jit
def _find(table, x, w, b):
    """Of each value the node of the table and the way from there, in cells."""
    cells = x * (w / _CELL) + b / _CELL
    nearest = tl.floor(cells + 0.5)
    # The mask takes negative numbers to the right place, too, and what is not a number to one inside the table.
    return table + (nearest.to(tl.int32) & (_CELLS - 1)), cells - nearest


@triton.jit
def _forward(
    x_of, w_of, b_of, table, y_of, rows, columns, channels,
    READOUT: tl.constexpr, LAST: tl.constexpr, BLOCK_R: tl.constexpr, BLOCK_C: tl.constexpr,
):  # fmt: skip
    row = tl.program_id(0) * BLOCK_R + tl.arange(0, BLOCK_R)[:, None]
    column = tl.program_id(1) * BLOCK_C + tl.arange(0, BLOCK_C)[None, :]
    inside = (row < rows) & (column < columns)
    channel = column if LAST else row % channels
    w, b = _parameters(w_of, b_of, channel, channels)
    place = row.to(tl.int64) * columns + column
    x = tl.load(x_of + place, mask=inside, other=0.0).to(tl.float32)
    node, rest = _find(table, x, w, b)
    y = tl.load(node) + tl.load(node + _CELLS) * rest
    if READOUT == "residual":
        y = x + y
    elif READOUT == "gated":
        y = x * y
    tl.store(y_of + place, y.to(y_of.dtype.element_ty), mask=inside)


@triton.jit
def _backward(
    grad_of, x_of, w_of, b_of, table, grad_x_of, grad_w_of, grad_b_of, rows, columns, channels, parts,
    READOUT: tl.constexpr, LAST: tl.constexpr, BLOCK_R: tl.constexpr, BLOCK_C: tl.constexpr, STEPS: tl.constexpr,
):  # fmt: skip
    column = tl.program_id(1) * BLOCK_C + tl.arange(0, BLOCK_C)[None, :]
    sum_w = tl.zeros((BLOCK_R, BLOCK_C), dtype=tl.float32)
    sum_b = tl.zeros((BLOCK_R, BLOCK_C), dtype=tl.float32)
    for step in range(STEPS):
        row = (tl.program_id(0) * STEPS + step) * BLOCK_R + tl.arange(0, BLOCK_R)[:, None]
        inside = (row < rows) & (column < columns)
        channel = column if LAST else row % channels
        w, b = _parameters(w_of, b_of, channel, channels)
        place = row.to(tl.int64) * columns + column
        x = tl.load(x_of + place, mask=inside, other=0.0).to(tl.float32)
        grad = tl.load(grad_of + place, mask=inside, other=0.0).to(tl.float32)
        node, rest = _find(table, x, w, b)
        slope_there = tl.load(node + _CELLS)
        # phi' goes along its own tangent, as in flow_map.py.
        slope = (slope_there + tl.load(node + 2 * _CELLS) * rest) / _CELL
        of_x = slope * w
        of_gamma = grad * slope
        if READOUT == "residual":
            of_x += 1.0
        elif READOUT == "gated":
            of_x = tl.load(node) + slope_there * rest + x * of_x
            of_gamma = of_gamma * x
        tl.store(grad_x_of + place, (grad * of_x).to(grad_x_of.dtype.element_ty), mask=inside)
        sum_w += tl.where(inside, of_gamma * x, 0.0)
        sum_b += tl.where(inside, of_gamma, 0.0)
    # Each program has separate places for its sums. They are added in one order, whichever program ends first.
    if LAST:
        columns_of = tl.program_id(1) * BLOCK_C + tl.arange(0, BLOCK_C)
        found = tl.program_id(0) * columns + columns_of
        tl.store(grad_w_of + found, tl.sum(sum_w, axis=0), mask=columns_of < columns)
        tl.store(grad_b_of + found, tl.sum(sum_b, axis=0), mask=columns_of < columns)
    else:
        rows_of = tl.program_id(0) * BLOCK_R + tl.arange(0, BLOCK_R)
        found = rows_of * parts + tl.program_id(1)
        tl.store(grad_w_of + found, tl.sum(sum_w, axis=1), mask=rows_of < rows)
        tl.store(grad_b_of + found, tl.sum(sum_b, axis=1), mask=rows_of < rows)


def _tiles(x: Tensor) -> tuple[int, int, dict[str, Any]]:
    """Rows and columns of a dense map in memory, and the kernels' constants for it."""
    last = x.is_contiguous(memory_format=torch.channels_last)
    columns = x.shape[1] if last else x.shape[2] * x.shape[3]
    block = min(triton.next_power_of_2(columns), _BLOCK)
    return x.numel() // columns, columns, {"LAST": last, "BLOCK_R": _BLOCK // block, "BLOCK_C": block}


@torch.library.custom_op("meddet_d2::nmode_read_out", mutates_args=(), device_types=("cuda", "cpu"))
def nmode_read_out(x: Tensor, w: Tensor, b: Tensor, table: Tensor, readout: str) -> Tensor:
    """What follows a block with the solver "flow_map": y(t_end), x + y or x * y.

    Args:
        x: (N, C, H, W), float32, float16 or bfloat16, in NCHW or channels-last order. It is computed in float32.
        w, b: (C,) on x's device: gamma = w * x + b.
        table: (3, CELLS) float32, of ``flow_table``, on x's device.
        readout: "plain", "residual" or "gated".

    Returns:
        (N, C, H, W) of x's dtype and memory order.
    """
    y = torch.empty_like(x)
    rows, columns, tile = _tiles(x)
    grid = triton.cdiv(rows, tile["BLOCK_R"]), triton.cdiv(columns, tile["BLOCK_C"])
    if x.numel():
        # Triton launches on the current GPU, whichever the map is on.
        with torch.cuda.device_of(x):
            _forward[grid](x, w, b, table, y, rows, columns, x.shape[1], READOUT=readout, **tile)
    return y


@torch.library.custom_op("meddet_d2::nmode_read_out_backward", mutates_args=(), device_types=("cuda", "cpu"))
def nmode_read_out_backward(
    grad: Tensor, x: Tensor, w: Tensor, b: Tensor, table: Tensor, readout: str
) -> tuple[Tensor, Tensor, Tensor]:
    """The gradients of x, w and b; ``grad`` has x's memory order. They are the same bits each time."""
    grad_x = torch.empty_like(x)
    rows, columns, tile = _tiles(x)
    wanted = triton.cdiv(rows, tile["BLOCK_R"]) * triton.cdiv(columns, tile["BLOCK_C"])
    # Fewer, longer sums where there is enough to do. Rows of one channel each cannot share a sum.
    steps = triton.next_power_of_2(max(min(wanted // _PROGRAMS, 16), 1)) if tile["LAST"] else 1
    grid = triton.cdiv(rows, tile["BLOCK_R"] * steps), triton.cdiv(columns, tile["BLOCK_C"])
    shape = (grid[0], columns) if tile["LAST"] else (rows, grid[1])
    sums = x.new_zeros(2, *shape, dtype=torch.float32)
    if x.numel():
        maps, sizes = (grad, x, w, b, table, grad_x, *sums), (rows, columns, x.shape[1], grid[1])
        with torch.cuda.device_of(x):
            _backward[grid](*maps, *sizes, READOUT=readout, STEPS=steps, **tile)
    of_channel = sums.sum(1) if tile["LAST"] else sums.view(2, len(x), x.shape[1], grid[1]).sum((1, 3))
    grad_w, grad_b = of_channel.unbind()
    return grad_x, grad_w.to(w.dtype, copy=True), grad_b.to(b.dtype, copy=True)


nmode_read_out.register_fake(lambda x, w, b, table, readout: torch.empty_like(x))
nmode_read_out_backward.register_fake(
    lambda grad, x, w, b, table, readout: (torch.empty_like(x), torch.empty_like(w), torch.empty_like(b))
)


def _keep(ctx: Any, inputs: tuple, output: Tensor) -> None:
    *tensors, ctx.readout = inputs
    ctx.save_for_backward(*tensors)


def _differentiate(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
    refuse_second_derivative()
    x = ctx.saved_tensors[0]
    order = torch.channels_last if x.is_contiguous(memory_format=torch.channels_last) else torch.contiguous_format
    grads = nmode_read_out_backward(grad.contiguous(memory_format=order), *ctx.saved_tensors, ctx.readout)
    return *grads, None, None


nmode_read_out.register_autograd(_differentiate, setup_context=_keep)
