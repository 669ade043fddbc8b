"""The kernel against the operators, on the CPU under Triton's interpreter and on a GPU where there is one."""

import importlib

import pytest
import torch

from meddet_d2.modeling.nmode.nmode_block import READOUTS, build_nmode
from meddet_d2.modeling.nmode.nmode_solvers import FLOWS

pytest.importorskip("triton", reason="Triton comes with torch's packages for CUDA")


@pytest.fixture(scope="module")
def kernel():
    return importlib.import_module("meddet_d2.modeling.nmode.flow_map_kernel")


@pytest.fixture(autouse=True)
def _on_a_gpu_where_there_is_one():
    with torch.device("cuda" if torch.cuda.is_available() else "cpu"):
        yield


def results(call, x, w, b, weight):
    x, w, b = (value.clone(memory_format=torch.preserve_format).requires_grad_() for value in (x, w, b))
    y = call(x, w, b)
    (y.float() * weight).sum().backward()
    return y.detach(), x.grad, w.grad, b.grad


@pytest.mark.parametrize("readout", READOUTS)
@pytest.mark.parametrize("kind", FLOWS)
@pytest.mark.parametrize("order", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize("shape", [(2, 6, 5, 7), (1, 1, 1, 1), (3, 37, 1, 64), (2, 3, 50, 45)])
def test_values_and_gradients_are_the_operators(kernel, shape, order, kind, readout):
    torch.manual_seed(0)
    block = build_nmode(channels=shape[1], kind=kind, readout=readout)
    x = (4 * torch.randn(shape)).contiguous(memory_format=order)
    w, b, weight = torch.randn(shape[1]), torch.randn(shape[1]), torch.randn(shape)

    def operators(x, w, b):
        return torch.func.functional_call(block, {"w": w, "b": b}, (x,))

    expected = results(operators, x, w, b, weight)
    found = results(lambda x, w, b: kernel.nmode_read_out(x, w, b, block.table, readout), x, w, b, weight)
    assert found[0].stride() == x.stride() and found[1].stride() == x.stride()
    for value, wanted in zip(found, expected, strict=True):
        torch.testing.assert_close(value, wanted, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_goes_in_and_out_and_single_is_computed(kernel, dtype):
    torch.manual_seed(0)
    block = build_nmode(channels=8)
    x, w, b = (3 * torch.randn(2, 8, 9, 5)).to(dtype), torch.randn(8), torch.randn(8)
    y = kernel.nmode_read_out(x, w, b, block.table, "residual")
    exact = torch.func.functional_call(block, {"w": w, "b": b}, (x.float(),))
    assert y.dtype == dtype
    # The interpreter cuts bfloat16 off where hardware rounds it.
    torch.testing.assert_close(y.float(), exact, rtol=torch.finfo(dtype).eps, atol=1e-6)


def test_what_is_not_a_number_stays_so(kernel):
    block = build_nmode(channels=2)
    x = torch.tensor([float("nan"), float("inf"), -float("inf"), 0.0]).view(1, 2, 1, 2)
    y = kernel.nmode_read_out(x, block.w.detach(), block.b.detach(), block.table, "plain")
    assert y.flatten().isnan().tolist() == [True, True, True, False]


def test_no_images_and_a_second_derivative(kernel):
    block = build_nmode(channels=3)
    x = torch.zeros(0, 3, 4, 4, requires_grad=True)
    y = kernel.nmode_read_out(x, block.w, block.b, block.table, "residual")
    y.sum().backward()
    assert y.shape == x.shape and not block.w.grad.any()
    x = torch.ones(1, 3, 2, 2, requires_grad=True)
    y = kernel.nmode_read_out(x, block.w, block.b, block.table, "residual")
    with pytest.raises(RuntimeError, match="differentiated once"):
        torch.autograd.grad(y.sum(), x, create_graph=True)


def test_the_op_keeps_torchs_rules(kernel):
    block = build_nmode(channels=4)
    x = torch.randn(2, 4, 3, 3).contiguous(memory_format=torch.channels_last).requires_grad_()
    arguments = (x, block.w.detach().requires_grad_(), block.b.detach().requires_grad_(), block.table, "gated")
    checks = ("test_schema", "test_autograd_registration", "test_faketensor")
    torch.library.opcheck(kernel.nmode_read_out, arguments, test_utils=checks)
