"""GroupNorm and an optional ReLU as one Triton kernel each way, in the memory order of the map.

Shape legend:
    N: images, C: channels, H, W: height and width of a feature map, G: groups, of C / G channels each

A program has one group of one image. It goes through it twice, and finds it in a cache the second time.
"""

from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor

# Values that a program works on at once, and its warps: for small groups, and for all others.
_SMALL, _LARGE = (1024, 4), (4096, 8)


@triton.jit
def _group(pixels, channels, LAST: tl.constexpr, WIDTH: tl.constexpr):
    """The first channel of this program's group, and where the group begins in memory."""
    groups = channels // WIDTH
    image, channel = tl.program_id(0) // groups, (tl.program_id(0) % groups) * WIDTH
    begin = image.to(tl.int64) * channels * pixels
    return channel, begin + channel if LAST else begin + channel.to(tl.int64) * pixels


@triton.jit
def _tile(
    start, pixels, channels,
    LAST: tl.constexpr, WIDTH: tl.constexpr, BLOCK_C: tl.constexpr, BLOCK_P: tl.constexpr,
):  # fmt: skip
    """From the group's begin on, the places of all its channels at some pixels, and which of them there are."""
    channel = tl.arange(0, BLOCK_C)[:, None]
    pixel = start + tl.arange(0, BLOCK_P)[None, :]
    inside = (channel < WIDTH) & (pixel < pixels)
    pixel = pixel.to(tl.int64)
    return pixel * channels + channel if LAST else channel.to(tl.int64) * pixels + pixel, inside


@triton.jit
def _vector(of, channel, WIDTH: tl.constexpr, BLOCK_C: tl.constexpr):
    place = tl.arange(0, BLOCK_C)
    return tl.load(of + channel + place, mask=place < WIDTH, other=0.0).to(tl.float32)[:, None]


@triton.jit
def _forward(
    x_of, w_of, b_of, y_of, statistics_of, pixels, channels, eps,
    RELU: tl.constexpr, LAST: tl.constexpr, WIDTH: tl.constexpr, BLOCK_C: tl.constexpr, BLOCK_P: tl.constexpr,
):  # fmt: skip
    channel, begin = _group(pixels, channels, LAST, WIDTH)
    w, b = _vector(w_of, channel, WIDTH, BLOCK_C), _vector(b_of, channel, WIDTH, BLOCK_C)
    # Each lane has a mean and a sum of squares about it (Welford 1962), which are joined at the end (Chan et al. 1979).
    # A difference of E[x^2] and E[x]^2 would lose a small deviation.
    count = tl.zeros((BLOCK_C, BLOCK_P), dtype=tl.float32)
    lane_mean = tl.zeros((BLOCK_C, BLOCK_P), dtype=tl.float32)
    lane_square = tl.zeros((BLOCK_C, BLOCK_P), dtype=tl.float32)
    for start in range(0, pixels, BLOCK_P):
        place, inside = _tile(start, pixels, channels, LAST, WIDTH, BLOCK_C, BLOCK_P)
        x = tl.load(x_of + begin + place, mask=inside, other=0.0).to(tl.float32)
        # A lane that has something now had something in every step before.
        share = 1.0 / (start // BLOCK_P + 1)
        off = tl.where(inside, x - lane_mean, 0.0)
        lane_mean += off * share
        lane_square += off * (x - lane_mean)
        count += tl.where(inside, 1.0, 0.0)
    values = pixels * WIDTH
    mean = tl.sum(lane_mean * count) / values
    off = lane_mean - mean
    variance = tl.sum(lane_square + off * off * count) / values
    rstd = 1.0 / tl.sqrt(variance + eps)
    tl.store(statistics_of + tl.program_id(0), mean)
    tl.store(statistics_of + tl.num_programs(0) + tl.program_id(0), rstd)
    for start in range(0, pixels, BLOCK_P):
        place, inside = _tile(start, pixels, channels, LAST, WIDTH, BLOCK_C, BLOCK_P)
        x = tl.load(x_of + begin + place, mask=inside, other=0.0).to(tl.float32)
        y = (x - mean) * rstd * w + b
        if RELU:
            # What is not a number stays so.
            y = tl.where(y < 0, 0.0, y)
        tl.store(y_of + begin + place, y.to(y_of.dtype.element_ty), mask=inside)


@triton.jit
def _gradient(grad_of, x_of, place, inside, mean, rstd, w, b, RELU: tl.constexpr):
    """The gradient behind the ReLU, and the normalised values."""
    normal = (tl.load(x_of + place, mask=inside, other=0.0).to(tl.float32) - mean) * rstd
    grad = tl.load(grad_of + place, mask=inside, other=0.0).to(tl.float32)
    if RELU:
        grad = tl.where(normal * w + b <= 0, 0.0, grad)
    return grad, normal


@triton.jit
def _backward(
    grad_of, x_of, w_of, b_of, statistics_of, grad_x_of, sums_of, pixels, channels,
    RELU: tl.constexpr, LAST: tl.constexpr, WIDTH: tl.constexpr, BLOCK_C: tl.constexpr, BLOCK_P: tl.constexpr,
):  # fmt: skip
    channel, begin = _group(pixels, channels, LAST, WIDTH)
    w, b = _vector(w_of, channel, WIDTH, BLOCK_C), _vector(b_of, channel, WIDTH, BLOCK_C)
    mean = tl.load(statistics_of + tl.program_id(0))
    rstd = tl.load(statistics_of + tl.num_programs(0) + tl.program_id(0))
    sum_w = tl.zeros((BLOCK_C, BLOCK_P), dtype=tl.float32)
    sum_b = tl.zeros((BLOCK_C, BLOCK_P), dtype=tl.float32)
    for start in range(0, pixels, BLOCK_P):
        place, inside = _tile(start, pixels, channels, LAST, WIDTH, BLOCK_C, BLOCK_P)
        grad, normal = _gradient(grad_of, x_of, begin + place, inside, mean, rstd, w, b, RELU)
        sum_w += grad * normal
        sum_b += grad
    of_w, of_b = tl.sum(sum_w, axis=1)[:, None], tl.sum(sum_b, axis=1)[:, None]
    # Each program has separate places for its sums. They are added in one order, whichever program ends first.
    lane = tl.arange(0, BLOCK_C)[:, None]
    found = tl.program_id(0) * WIDTH + lane
    tl.store(sums_of + found, of_w, mask=lane < WIDTH)
    tl.store(sums_of + tl.num_programs(0) * WIDTH + found, of_b, mask=lane < WIDTH)
    values = pixels * WIDTH
    along, all_over = tl.sum(of_w * w) / values, tl.sum(of_b * w) / values
    for start in range(0, pixels, BLOCK_P):
        place, inside = _tile(start, pixels, channels, LAST, WIDTH, BLOCK_C, BLOCK_P)
        grad, normal = _gradient(grad_of, x_of, begin + place, inside, mean, rstd, w, b, RELU)
        grad_x = (grad * w - all_over - normal * along) * rstd
        tl.store(grad_x_of + begin + place, grad_x.to(grad_x_of.dtype.element_ty), mask=inside)


def _sizes(x: Tensor, groups: int) -> tuple[tuple[int], tuple[int, int], dict[str, Any]]:
    """The programs, the kernels' pixels and channels, and their constants for a dense map."""
    images, channels, height, width = x.shape
    group, pixels = channels // groups, height * width
    block_c = triton.next_power_of_2(group)
    block, warps = _SMALL if block_c * pixels <= _SMALL[0] else _LARGE
    last = x.is_contiguous(memory_format=torch.channels_last)
    blocks = {"BLOCK_C": block_c, "BLOCK_P": max(block // block_c, 1)}
    return (images * groups,), (pixels, channels), {"LAST": last, "WIDTH": group, "num_warps": warps, **blocks}


@torch.library.custom_op("meddet_d2::group_norm", mutates_args=(), device_types=("cuda", "cpu"))
def group_norm(x: Tensor, weight: Tensor, bias: Tensor, groups: int, eps: float, relu: bool) -> tuple[Tensor, Tensor]:
    """GroupNorm (Wu and He, equation 1), and its ReLU if ``relu``. It is computed in float32.

    Args:
        x: (N, C, H, W), float32, float16 or bfloat16, in NCHW or channels-last order without gaps.
        weight, bias: (C,), on x's device.
        groups: G, which divides C.
        eps: is added to the variance.

    Returns:
        (N, C, H, W) of x's dtype and memory order; and (2, N, G) float32, mean and 1 / deviation of each group, which
        have no gradient.
    """
    y, statistics = torch.empty_like(x), x.new_empty(2, len(x), groups, dtype=torch.float32)
    if x.numel():
        grid, sizes, constants = _sizes(x, groups)
        # Triton launches on the current GPU, whichever the map is on.
        with torch.cuda.device_of(x):
            _forward[grid](x, weight, bias, y, statistics, *sizes, eps, RELU=relu, **constants)
    return y, statistics


@torch.library.custom_op("meddet_d2::group_norm_backward", mutates_args=(), device_types=("cuda", "cpu"))
def group_norm_backward(
    grad: Tensor, x: Tensor, weight: Tensor, bias: Tensor, statistics: Tensor, relu: bool
) -> tuple[Tensor, Tensor, Tensor]:
    """The gradients of x, weight and bias; ``grad`` has x's memory order. They are the same bits each time."""
    grad_x, sums = torch.empty_like(x), x.new_empty(2, *x.shape[:2], dtype=torch.float32)
    if x.numel():
        grid, sizes, constants = _sizes(x, statistics.shape[2])
        with torch.cuda.device_of(x):
            _backward[grid](grad, x, weight, bias, statistics, grad_x, sums, *sizes, RELU=relu, **constants)
    else:
        sums.zero_()
    grad_weight, grad_bias = sums.sum(1).unbind()
    return grad_x, grad_weight.to(weight.dtype, copy=True), grad_bias.to(bias.dtype, copy=True)


group_norm.register_fake(
    lambda x, weight, bias, groups, eps, relu: (
        torch.empty_like(x),
        x.new_empty(2, len(x), groups, dtype=torch.float32),
    )
)
group_norm_backward.register_fake(
    lambda grad, x, weight, bias, statistics, relu: (
        torch.empty_like(x),
        torch.empty_like(weight),
        torch.empty_like(bias),
    )
)


def _keep(ctx: Any, inputs: tuple, output: tuple[Tensor, Tensor]) -> None:
    x, weight, bias, _, _, ctx.relu = inputs
    ctx.save_for_backward(x, weight, bias, output[1])
    ctx.mark_non_differentiable(output[1])
    ctx.set_materialize_grads(False)


def _differentiate(ctx: Any, grad: Tensor | None, _: None) -> tuple[Tensor | None, ...]:
    if torch.is_grad_enabled():
        raise RuntimeError("GroupNorm on CUDA can be differentiated once; torch.nn.GroupNorm can twice.")
    if grad is None:
        return (None,) * 6
    x = ctx.saved_tensors[0]
    order = torch.channels_last if x.is_contiguous(memory_format=torch.channels_last) else torch.contiguous_format
    return *group_norm_backward(grad.contiguous(memory_format=order), *ctx.saved_tensors, ctx.relu), None, None, None


group_norm.register_autograd(_differentiate, setup_context=_keep)
