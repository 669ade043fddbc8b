"""The flow map against strict solvers, its gradient, and the forms in which networks use it."""

import copy
import math

import pytest
import torch

from meddet_d2.modeling.nmode.flow_map import CELLS, flow_map, flow_table
from meddet_d2.modeling.nmode.nmode_block import build_nmode
from meddet_d2.modeling.nmode.nmode_solvers import FLOWS, odeint_solve

KINDS = tuple(FLOWS)


def gammas(points: int = 40_001) -> torch.Tensor:
    # Incommensurable with the table's places, over several periods to both sides.
    return torch.linspace(-7.3, 8.1, points, dtype=torch.float64)


def strict(gamma: torch.Tensor, kind: str, t_end: float) -> tuple[torch.Tensor, torch.Tensor]:
    """y and dy/dgamma by dopri5 at 1e-10, each element of a step small enough for the strictest of them."""
    gamma = gamma.clone().requires_grad_()
    y = odeint_solve(gamma, kind=kind, t_end=t_end, method="dopri5", rtol=1e-10, atol=1e-10)
    (slope,) = torch.autograd.grad(y.sum(), gamma)
    return y.detach(), slope


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("t_end, bound", [(0.1, 1e-5), (0.5, 1e-5), (1.0, 1e-5), (2.0, 1e-4), (5.0, 1e-4)])
def test_values_and_slopes_against_a_strict_solver(kind, t_end, bound, dtype):
    gamma = gammas()
    expected, expected_slope = strict(gamma, kind, t_end)
    given = gamma.to(dtype).requires_grad_()
    y = flow_map(given, flow_table(kind, t_end, dtype))
    (slope,) = torch.autograd.grad(y.sum(), given)
    assert y.dtype == slope.dtype == dtype
    assert (y.double() - expected).abs().max() <= bound
    assert (slope.double() - expected_slope).abs().max() <= 1e-3 * expected_slope.abs().max()


@pytest.mark.parametrize("kind", KINDS)
def test_a_block_on_the_gpu_is_the_cpus(kind, cuda):
    torch.manual_seed(0)
    block, x, found = build_nmode(channels=8, kind=kind, solver="flow_map"), 3 * torch.randn(2, 8, 13, 17), []
    for device in ("cpu", cuda):
        own, given = copy.deepcopy(block).to(device), x.to(device).requires_grad_()
        y = own(given)
        y.square().mean().backward()
        assert y.device.type == device
        found.append((y.detach().cpu(), given.grad.cpu(), own.w.grad.cpu(), own.b.grad.cpu()))
    for expected, value in zip(*found, strict=True):
        assert expected.abs().max() > 1e-4
        torch.testing.assert_close(value, expected, rtol=1e-3, atol=1e-5)


def test_single_precision_rounds_a_large_gamma():
    table, exact = flow_table("nmode2", 1.0), flow_table("nmode2", 1.0, torch.float64)
    for size, bound in ((4.0, 1e-6), (50.0, 1e-5)):
        gamma = torch.linspace(-size, size, 40_001, dtype=torch.float64)
        error = (flow_map(gamma.float(), table).double() - flow_map(gamma, exact)).abs().max()
        assert bound / 4 < error < bound


def test_the_errors_that_the_documentation_names():
    gamma = gammas()
    for t_end, value, slope in ((0.5, 2e-7, 2e-6), (1.0, 5e-7, 5e-6), (2.0, 3e-6, 3e-5), (5.0, 5e-5, 5e-4)):
        expected, expected_slope = strict(gamma, "nmode2", t_end)
        given = gamma.clone().requires_grad_()
        y = flow_map(given, flow_table("nmode2", t_end, torch.float64))
        (found,) = torch.autograd.grad(y.sum(), given)
        assert (y - expected).abs().max() < value
        assert (found - expected_slope).abs().max() < slope * expected_slope.abs().max()


@pytest.mark.parametrize("kind", KINDS)
def test_period_range_and_continuity(kind):
    gamma = gammas()
    table = flow_table(kind, 1.0, torch.float64)
    y = flow_map(gamma, table)
    for periods in (-3, 1, 1000):
        torch.testing.assert_close(flow_map(gamma + periods * math.pi, table), y, rtol=0, atol=1e-9)
    for dtype, times in ((torch.float32, (0.1, 1.0, 5.0)), (torch.float64, (0.1, 1.0, 5.0))):
        for t_end in times:
            # Dense about the lowest points, where a tangent of the table might pass zero.
            dense = torch.cat([gamma, torch.linspace(-0.01, 0.01, 20_001, dtype=gamma.dtype)])
            dense = torch.cat([dense, dense + math.pi / 2]).to(dtype)
            reached = flow_map(dense, flow_table(kind, t_end, dtype))
            assert reached.min() >= 0 and reached.max() < 1
    # Either side of the border between two cells, and of the seam between two periods.
    border = (torch.arange(-2, 2 * CELLS, dtype=torch.float64) + 0.5) * (math.pi / CELLS)
    jump = flow_map(border + 1e-9, table) - flow_map(border - 1e-9, table)
    assert jump.abs().max() < 1e-6


@pytest.mark.parametrize("kind", KINDS)
def test_the_gradient_is_the_slope_of_the_values(kind):
    gamma = gammas(2001).requires_grad_()
    table = flow_table(kind, 1.0, torch.float64)
    (slope,) = torch.autograd.grad(flow_map(gamma, table).sum(), gamma)
    with torch.no_grad():
        differences = (flow_map(gamma + 1e-2, table) - flow_map(gamma - 1e-2, table)) / 2e-2
    torch.testing.assert_close(slope, differences, rtol=0, atol=3e-3)


def test_backward_keeps_one_tensor_and_inference_none():
    gamma = torch.randn(1, 8, 16, 16, requires_grad=True)
    table = flow_table("nmode2", 1.0)
    saved = []
    with torch.autograd.graph.saved_tensors_hooks(lambda t: saved.append(t) or t, lambda t: t):
        y = flow_map(gamma, table)
    assert [t.shape for t in saved] == [gamma.shape]
    saved.clear()
    with torch.no_grad(), torch.autograd.graph.saved_tensors_hooks(lambda t: saved.append(t) or t, lambda t: t):
        assert torch.equal(flow_map(gamma, table), y)
    assert not saved


def test_not_a_number_and_infinity_are_not_hidden():
    y = flow_map(torch.tensor([math.nan, math.inf, -math.inf, 0.0]), flow_table("nmode2", 1.0))
    assert y.isnan().tolist() == [True, True, True, False]


def test_the_block_agrees_with_rk4_and_its_gradients_do():
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(2, 4, 6, 5, generator=generator)
    weight = torch.randn(2, 4, 6, 5, generator=generator)
    results = []
    for solver in ("flow_map", "rk4"):
        block = build_nmode(channels=4, solver=solver, rk4_steps=20, init_w=0.7, init_b=0.4)
        given = x.clone().requires_grad_()
        y = block(given)
        (y * weight).sum().backward()
        results.append((y, given.grad, block.w.grad, block.b.grad))
    for ours, theirs in zip(*results, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-4)


def test_memory_order_does_not_matter():
    block = build_nmode(channels=4)
    x = torch.randn(2, 4, 6, 5, generator=torch.Generator().manual_seed(0))
    other = x.to(memory_format=torch.channels_last)
    assert torch.equal(block(other), block(x))
    assert block(other).is_contiguous(memory_format=torch.channels_last)
    assert torch.equal(block(x.transpose(2, 3)).transpose(2, 3), block(x))


def test_the_table_is_never_rounded_and_never_stored():
    exact = flow_table("nmode2", 1.0, torch.float64)
    block = build_nmode(channels=2)
    assert torch.equal(block.table, exact.float())
    assert torch.equal(copy.deepcopy(block).double().table, exact)
    half = copy.deepcopy(block).to(torch.bfloat16)
    assert half.w.dtype == torch.bfloat16 and torch.equal(half.table, exact.float())
    assert copy.deepcopy(block).to("meta").table.is_meta
    assert set(block.state_dict()) == {"w", "b"}


@pytest.mark.parametrize("t_end", [8.0, 50.0])
def test_a_time_that_the_table_cannot_serve_is_refused(t_end):
    with pytest.raises(ValueError, match=rf"^MODEL\.NMODE\.T_END {t_end:g} is too long for SOLVER flow_map[^\n]*rk4"):
        build_nmode(channels=1, t_end=t_end)
    build_nmode(channels=1, t_end=t_end, solver="rk4")


def test_under_compile():
    block = build_nmode(channels=3)
    x = torch.randn(1, 3, 8, 8, generator=torch.Generator().manual_seed(0)).requires_grad_()
    y = block(x)
    (grad,) = torch.autograd.grad(y.square().sum(), x)
    compiled = torch.compile(block, fullgraph=True, backend="aot_eager")
    y_compiled = compiled(x)
    (grad_compiled,) = torch.autograd.grad(y_compiled.square().sum(), x)
    torch.testing.assert_close(y_compiled, y)
    torch.testing.assert_close(grad_compiled, grad)
