"""The kernels against torch's operators, on the CPU under Triton's interpreter and on a GPU where there is one."""

import importlib

import pytest
import torch
from torch.nn.functional import group_norm, relu

pytest.importorskip("triton", reason="Triton comes with torch's packages for CUDA")

ORDERS = [torch.contiguous_format, torch.channels_last]
# One value of each channel; groups of 3 and 5 channels; several tiles, the last of them not full; one group of all.
SHAPES = [((1, 6, 1, 1), 2), ((3, 12, 4, 4), 4), ((2, 10, 7, 5), 2), ((1, 6, 50, 45), 2), ((1, 16, 20, 20), 1)]


@pytest.fixture(scope="module")
def kernel():
    return importlib.import_module("meddet_d2.modeling.group_norm_kernel")


@pytest.fixture(autouse=True)
def _on_a_gpu_where_there_is_one():
    with torch.device("cuda" if torch.cuda.is_available() else "cpu"):
        yield


def given(shape, order=torch.contiguous_format, mean=1.0, deviation=2.0, dtype=torch.float32):
    """A map, weight, bias, and what the result is multiplied with."""
    torch.manual_seed(0)
    x = (mean + deviation * torch.randn(shape)).to(dtype).contiguous(memory_format=order)
    return x, torch.randn(shape[1]), torch.randn(shape[1]), torch.randn(shape)


def results(call, x, weight, bias, factor):
    """y, and the gradients of x, weight and bias."""
    x, weight, bias = (v.clone(memory_format=torch.preserve_format).requires_grad_() for v in (x, weight, bias))
    y = call(x, weight, bias)
    (y * factor).sum().backward()
    return y.detach(), x.grad, weight.grad, bias.grad


def in_double_precision(groups, then_relu, *values):
    def operators(x, weight, bias):
        y = group_norm(x, groups, weight, bias, 1e-5)
        return relu(y) if then_relu else y

    return [value.float() for value in results(operators, *(value.double() for value in values))]


def by_kernel(kernel, groups, then_relu, *values):
    return results(lambda *args: kernel.group_norm(*args, groups, 1e-5, then_relu)[0], *values)


@pytest.mark.parametrize("then_relu", [False, True])
@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("shape, groups", SHAPES)
def test_values_and_gradients_are_the_operators(kernel, shape, groups, order, then_relu):
    values = given(shape, order)
    found = by_kernel(kernel, groups, then_relu, *values)
    assert found[0].stride() == found[1].stride() == values[0].stride()
    for value, wanted in zip(found, in_double_precision(groups, then_relu, *values), strict=True):
        torch.testing.assert_close(value, wanted, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("order", ORDERS)
def test_a_small_deviation_about_a_large_mean(kernel, order):
    values = given((1, 8, 40, 40), order, mean=1000, deviation=0.05)
    y, *_ = by_kernel(kernel, 2, False, *values)
    wanted, *_ = in_double_precision(2, False, *values)
    torch.testing.assert_close(y, wanted, rtol=2e-3, atol=5e-3)


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_goes_in_and_out_and_single_is_computed(kernel, dtype, order):
    values = given((2, 8, 9, 5), order, mean=20, dtype=dtype)
    y, *gradients = by_kernel(kernel, 2, True, *values)
    wanted, *wanted_gradients = in_double_precision(2, True, *values)
    assert y.dtype == gradients[0].dtype == dtype and gradients[1].dtype == torch.float32
    # The interpreter cuts bfloat16 off where hardware rounds it.
    torch.testing.assert_close(y.float(), wanted, rtol=torch.finfo(dtype).eps, atol=1e-4)
    # The gradient of y comes in half precision.
    for gradient, expected in zip(gradients, wanted_gradients, strict=True):
        torch.testing.assert_close(gradient.float(), expected, rtol=3e-2, atol=3e-2)


def test_a_constant_map_becomes_the_bias(kernel):
    _, weight, bias, _ = given((2, 6, 3, 3))
    y, _ = kernel.group_norm(torch.full((2, 6, 3, 3), 7.25), weight, bias, 2, 1e-5, False)
    assert torch.equal(y, bias[:, None, None].expand_as(y))


@pytest.mark.filterwarnings("ignore:invalid value")
@pytest.mark.parametrize("then_relu", [False, True])
def test_what_is_not_a_number_stays_so_in_its_group(kernel, then_relu):
    x, weight, bias, _ = given((2, 4, 3, 3))
    x[0, 0, 0, 0], x[1, 3, 2, 2] = float("nan"), float("inf")
    y, _ = kernel.group_norm(x, weight, bias, 2, 1e-5, then_relu)
    assert y.isnan().all(dim=(2, 3)).tolist() == [[True, True, False, False], [False, False, True, True]]


@pytest.mark.parametrize("shape", [(0, 6, 4, 4), (2, 6, 0, 4)])
def test_nothing_to_do(kernel, shape):
    x, weight, bias, factor = given(shape)
    y, grad_x, *gradients = by_kernel(kernel, 2, True, x, weight, bias, factor)
    assert y.shape == grad_x.shape == x.shape and not any(gradient.any() for gradient in gradients)


def test_a_gradient_in_another_memory_order(kernel):
    *values, factor = given((2, 6, 5, 4))
    found = by_kernel(kernel, 3, True, *values, factor.contiguous(memory_format=torch.channels_last))
    for value, wanted in zip(found, by_kernel(kernel, 3, True, *values, factor), strict=True):
        assert torch.equal(value, wanted)


def test_the_same_bits_each_time(kernel):
    values = given((2, 6, 40, 40), torch.channels_last)
    first, again = (by_kernel(kernel, 2, True, *values) for _ in range(2))
    assert all(torch.equal(a, b) for a, b in zip(first, again, strict=True))


def test_a_second_derivative_is_refused(kernel):
    x, weight, bias, _ = given((1, 4, 2, 2))
    y, _ = kernel.group_norm(x.requires_grad_(), weight, bias, 2, 1e-5, True)
    with pytest.raises(RuntimeError, match="differentiated once"):
        torch.autograd.grad(y.sum(), x, create_graph=True)


@pytest.mark.parametrize("order", ORDERS)
def test_the_ops_keep_torchs_rules(kernel, order):
    x, weight, bias, factor = given((2, 6, 3, 3), order)
    checks = ("test_schema", "test_autograd_registration", "test_faketensor")
    leaves = [value.clone(memory_format=torch.preserve_format).requires_grad_() for value in (x, weight, bias)]
    torch.library.opcheck(kernel.group_norm, (*leaves, 3, 1e-5, True), test_utils=checks)
    _, statistics = kernel.group_norm(x, weight, bias, 3, 1e-5, True)
    grad = factor.contiguous(memory_format=order)
    backward = (grad, x, weight, bias, statistics, True)
    torch.library.opcheck(kernel.group_norm_backward, backward, test_utils=("test_schema", "test_faketensor"))
