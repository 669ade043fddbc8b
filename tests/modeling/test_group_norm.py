"""GroupNorm in a network: on a CPU torch's own, to the bit; on CUDA the kernel, which a patch puts on the CPU here."""

from collections import Counter

import pytest
import torch
from torch import nn
from torch.profiler import ProfilerActivity, profile
from torch.utils._python_dispatch import TorchDispatchMode

from meddet_d2.modeling.gfl.gfl_head import GFLHead
from meddet_d2.modeling.group_norm import GroupNorm, NormReluSequential

KERNEL = "meddet_d2.group_norm.default"
LAST = torch.channels_last


@pytest.fixture
def kernels_on_the_cpu(monkeypatch):
    pytest.importorskip("triton", reason="Triton comes with torch's packages for CUDA")
    monkeypatch.setattr("meddet_d2.modeling.group_norm.has_kernel", lambda x: x.dtype != torch.float64)


class Calls(TorchDispatchMode):
    """Counts the operators that run within it."""

    def __init__(self):
        super().__init__()
        self.found = Counter()

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        self.found[str(func)] += 1
        return func(*args, **(kwargs or {}))


def tower(relu=True, inplace=True):
    torch.manual_seed(0)
    layers = [nn.Conv2d(6, 8, 3, padding=1), GroupNorm(2, 8), nn.ReLU(inplace), nn.Conv2d(8, 8, 1), GroupNorm(4, 8)]
    network = NormReluSequential(*layers, *([nn.ReLU(inplace)] if relu else []))
    for parameter in network.parameters():
        nn.init.normal_(parameter, std=0.5)
    return network


def plain(network):
    """The same layers and weights, of torch's own modules."""
    norms = {GroupNorm: lambda norm: nn.GroupNorm(norm.num_groups, norm.num_channels)}
    copy = nn.Sequential(*(norms.get(type(layer), lambda layer: layer)(layer) for layer in network))
    copy.load_state_dict(network.state_dict())
    return copy


def results(network, x):
    x = x.clone(memory_format=torch.preserve_format).requires_grad_()
    y = network(x)
    y.square().sum().backward()
    gradients = [parameter.grad for parameter in network.parameters()]
    network.zero_grad()
    return [y.detach(), x.grad, *gradients]


@pytest.mark.parametrize("relu", [False, True])
def test_on_a_cpu_it_is_torchs_own_to_the_bit(relu):
    network = tower(relu)
    x = torch.randn(2, 6, 9, 7).contiguous(memory_format=LAST)
    for value, wanted in zip(results(network, x), results(plain(network), x), strict=True):
        assert torch.equal(value, wanted)
    norm = network[1]
    with Calls() as calls:
        y = norm(torch.randn(2, 8, 3, 3), then_relu=True)
    assert not calls.found[KERNEL] and y.min() == 0


@pytest.mark.parametrize("relu, inplace", [(False, True), (True, True), (True, False)])
def test_the_kernel_does_the_relu_too(kernels_on_the_cpu, relu, inplace):
    network = tower(relu, inplace)
    x = torch.randn(2, 6, 9, 7).contiguous(memory_format=LAST)
    found = results(network, x)
    for value, wanted in zip(found, results(plain(network), x), strict=True):
        torch.testing.assert_close(value, wanted, rtol=1e-4, atol=1e-4)
    assert found[0].is_contiguous(memory_format=LAST)
    with Calls() as calls, torch.no_grad():
        network(x)
    assert calls.found[KERNEL] == 2
    assert not any("relu" in name or "native_group_norm" in name for name in calls.found)


def test_under_autocast_it_keeps_the_dtype(kernels_on_the_cpu):
    network, x = tower(), torch.randn(1, 6, 5, 5)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        y = network(x)
    assert y.dtype == torch.bfloat16
    y.sum().backward()
    assert all(p.grad.dtype == torch.float32 and p.grad.isfinite().all() for p in network.parameters())


def test_what_the_kernel_does_not_take_is_torchs(kernels_on_the_cpu):
    for norm, shape in (
        (GroupNorm(2, 4), (3, 4)),
        (GroupNorm(2, 4, affine=False), (1, 4, 2, 2)),
        (GroupNorm(4, 4), (1, 4, 2, 2)),
    ):
        x = torch.randn(shape)
        with Calls() as calls:
            y = norm(x)
        assert not calls.found[KERNEL]
        assert torch.equal(y, nn.functional.group_norm(x, norm.num_groups, norm.weight, norm.bias))
    with pytest.raises(ValueError, match="more than 1 value"):
        GroupNorm(4, 4)(torch.zeros(1, 4, 1, 1))


def test_a_map_with_gaps(kernels_on_the_cpu):
    norm, x = GroupNorm(2, 4), torch.randn(2, 4, 6, 6)[:, :, ::2, ::3]
    torch.testing.assert_close(norm(x), nn.functional.group_norm(x, 2, norm.weight, norm.bias), rtol=1e-4, atol=1e-4)


def head(**changes):
    torch.manual_seed(0)
    sizes = {"in_channels": 8, "channels": 4, "num_convs": 2, "num_classes": 2, "reg_max": 4, "num_levels": 2}
    return GFLHead(**{**sizes, "tower_init": "he", **changes})


@pytest.mark.parametrize("changes", [{}, {"tower_conv": "separable"}, {"shared_tower": True}, {"nmode": {}}])
def test_the_head_uses_it(monkeypatch, changes):
    pytest.importorskip("triton", reason="Triton comes with torch's packages for CUDA")
    network = head(**{"nmode_relu": "before", **changes})
    levels = [torch.randn(1, 8, size, size + 1).contiguous(memory_format=LAST) for size in (6, 3)]
    with torch.no_grad():
        wanted = network(levels)
        monkeypatch.setattr("meddet_d2.modeling.group_norm.has_kernel", lambda x: True)
        with Calls() as calls:
            found = network(levels)
    torch.testing.assert_close(found, wanted, rtol=1e-4, atol=1e-4)
    towers = 1 if network.box_tower is None else 2
    assert calls.found[KERNEL] == towers * 2 * len(levels)
    assert not any("relu" in name or "native_group_norm" in name for name in calls.found)


def test_no_layout_is_converted_on_a_gpu(cuda):
    """In bfloat16: in single precision cuDNN's convolutions convert within."""
    network = head(in_channels=64, channels=64).to(cuda, memory_format=LAST)
    x = torch.randn(2, 64, 40, 40, device=cuda, dtype=torch.bfloat16).contiguous(memory_format=LAST)
    with torch.autocast("cuda", dtype=torch.bfloat16):
        network.cls_tower(x).sum().backward()
        with profile(activities=[ProfilerActivity.CPU, ProfilerActivity.CUDA], record_shapes=True) as profiler:
            y = network.cls_tower(x)
            y.backward(torch.ones_like(y))
            torch.cuda.synchronize()
    events = profiler.events()
    names = {event.name.lower() for event in events}
    assert not [name for name in names if "nchwtonhwc" in name or "nhwctonchw" in name]
    copies = [event.input_shapes for event in events if event.name == "aten::copy_"]
    assert not [shapes for shapes in copies if list(y.shape) in shapes]
    assert y.is_contiguous(memory_format=LAST) and y.dtype == torch.bfloat16
