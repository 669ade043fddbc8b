"""nmODE and nmODE^2: the solvers against each other, the gradient, and what eq. 2 and eq. 4 imply."""

import math
from itertools import pairwise
from types import SimpleNamespace

import pytest
import torch

from meddet_d2.modeling.nmode import nmode_block as nmode
from meddet_d2.modeling.nmode.nmode_block import READOUTS, build_nmode, nmode_kwargs
from meddet_d2.modeling.nmode.nmode_solvers import FLOWS, odeint_solve, rk4_solve

KINDS = tuple(FLOWS)


def grid(points: int = 1001, low: float = -4.0, high: float = 4.0) -> torch.Tensor:
    return torch.linspace(low, high, points, dtype=torch.float64)


def reference(gamma: torch.Tensor, kind: str, t_end: float = 1.0) -> torch.Tensor:
    return odeint_solve(gamma, kind=kind, t_end=t_end, method="dopri5", rtol=1e-9, atol=1e-9)


def worst(a: torch.Tensor, b: torch.Tensor) -> float:
    return (a.double() - b.double()).abs().max().item()


def plain_slope(y: torch.Tensor, gamma: torch.Tensor, kind: str) -> torch.Tensor:
    """Eq. 2 and eq. 4 as they are printed."""
    if kind == "nmode":
        return -y + torch.sin(y + gamma) ** 2
    return -y + torch.sin(y + torch.cos(y + gamma) ** 2) ** 2


def plain_rk4(gamma: torch.Tensor, kind: str, t_end: float, steps: int) -> torch.Tensor:
    """The textbook's Runge-Kutta method, for autograd to go through."""
    h = t_end / steps
    y = torch.zeros_like(gamma)
    for _ in range(steps):
        k1 = plain_slope(y, gamma, kind)
        k2 = plain_slope(y + h / 2 * k1, gamma, kind)
        k3 = plain_slope(y + h / 2 * k2, gamma, kind)
        k4 = plain_slope(y + h * k3, gamma, kind)
        y = y + h / 6 * (k1 + 2 * k2 + 2 * k3 + k4)
    return y


@pytest.mark.parametrize("kind", KINDS)
def test_right_hand_sides_are_the_equations(kind):
    y, gamma = torch.rand(200, dtype=torch.float64), grid(200)
    s = torch.rand(200, dtype=torch.float64)
    expected, tangent = torch.func.jvp(lambda y, g: plain_slope(y, g, kind), (y, gamma), (s, torch.ones_like(s)))
    assert worst(FLOWS[kind].slope(y, gamma), expected) < 1e-14
    slope, slope_tangent = FLOWS[kind].slope_and_tangent(y, s, gamma)
    assert worst(slope, expected) < 1e-14
    assert worst(slope_tangent, tangent) < 1e-14


@pytest.mark.parametrize("kind", KINDS)
def test_default_block_is_close_to_a_strict_adaptive_solver(kind):
    gamma = grid(4001)
    assert worst(build_nmode(channels=1, kind=kind).solve(gamma), reference(gamma, kind)) < 2e-4
    assert worst(build_nmode(channels=1, kind=kind).solve(gamma.float()), reference(gamma, kind)) < 2e-4


@pytest.mark.parametrize(
    "t_end, steps, bound", [(0.5, 1, 1e-3), (1.0, 2, 1e-3), (1.0, 4, 1e-4), (2.0, 4, 1e-3), (5.0, 9, 1e-3)]
)
def test_steps_that_nmode2_needs(t_end, steps, bound):
    gamma = grid()
    assert worst(rk4_solve(gamma, t_end=t_end, steps=steps), reference(gamma, "nmode2", t_end)) < bound


@pytest.mark.parametrize("kind", KINDS)
def test_rk4_is_of_fourth_order(kind):
    gamma = grid()
    # Not torchdiffeq: it interpolates between its own steps, and that is good to 1e-8 only.
    exact = plain_rk4(gamma, kind, 1.0, 400)
    errors = [worst(rk4_solve(gamma, kind=kind, steps=steps), exact) for steps in (8, 16, 32)]
    for coarse, fine in pairwise(errors):
        assert 12 < coarse / fine < 20


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("method", ["dopri5", "rk4"])
def test_odeint_agrees_with_rk4(kind, method):
    block = build_nmode(
        channels=1, kind=kind, solver="odeint", odeint_method=method, rk4_steps=16, odeint_rtol=1e-7, odeint_atol=1e-7
    )
    gamma = grid(101).requires_grad_()
    y = block.solve(gamma)
    other = rk4_solve(gamma, kind=kind, steps=32)
    assert worst(y, other) < 1e-5
    (grad,) = torch.autograd.grad(y.sum(), gamma)
    (other_grad,) = torch.autograd.grad(other.sum(), gamma)
    assert worst(grad, other_grad) < 1e-4


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("t_end, steps", [(1.0, 1), (1.0, 4), (5.0, 12)])
def test_backward_is_autograd_through_the_discrete_solver(kind, t_end, steps):
    gamma = grid(301).requires_grad_()
    weight = torch.randn(301, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    y = rk4_solve(gamma, kind=kind, t_end=t_end, steps=steps)
    expected = plain_rk4(gamma, kind, t_end, steps)
    assert worst(y, expected) < 1e-13
    (grad,) = torch.autograd.grad((y * weight).sum(), gamma)
    (expected_grad,) = torch.autograd.grad((expected * weight).sum(), gamma)
    torch.testing.assert_close(grad, expected_grad, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("readout", READOUTS)
@pytest.mark.parametrize("solver", ["rk4", "odeint"])
def test_gradcheck_of_the_block(kind, readout, solver):
    # A fixed step: an adaptive one changes with the input, which finite differences cannot follow.
    block = build_nmode(channels=3, kind=kind, readout=readout, solver=solver, odeint_method="rk4").double()
    generator = torch.Generator().manual_seed(1)
    x, w, b = (torch.randn(s, dtype=torch.float64, generator=generator).requires_grad_() for s in ((2, 3, 2, 2), 3, 3))
    assert torch.autograd.gradcheck(
        lambda x, w, b: torch.func.functional_call(block, {"w": w, "b": b}, (x,)), (x, w, b)
    )


@pytest.mark.parametrize("solver", ["rk4", "odeint"])
@pytest.mark.parametrize("kind", KINDS)
def test_given_start(kind, solver):
    block = build_nmode(channels=3, kind=kind, readout="plain", solver=solver, odeint_method="rk4").double()
    generator = torch.Generator().manual_seed(2)
    x, y0 = (torch.rand(2, 3, 2, 2, dtype=torch.float64, generator=generator).requires_grad_() for _ in range(2))
    torch.testing.assert_close(block(x, torch.zeros_like(x)), block(x), rtol=0, atol=1e-12)
    # An equation that does not know the time: two times half the way is the whole.
    half = build_nmode(channels=3, kind=kind, readout="plain", solver=solver, odeint_method="rk4", t_end=0.5).double()
    block.rk4_steps = 2 * half.rk4_steps
    torch.testing.assert_close(half(x, half(x, y0)), block(x, y0), rtol=0, atol=1e-8)
    assert torch.autograd.gradcheck(block, (x, y0)) and torch.autograd.gradgradcheck(block, (x, y0))


def test_the_flow_map_starts_from_zero_only():
    x = torch.zeros(1, 2, 3, 3)
    with pytest.raises(ValueError, match=r"^MODEL\.NMODE\.SOLVER flow_map starts from y\(0\) = 0[^\n]*rk4 or odeint"):
        build_nmode(channels=2)(x, x)


@pytest.mark.parametrize("readout", READOUTS)
@pytest.mark.parametrize("solver", ["flow_map", "rk4", "odeint"])
@pytest.mark.parametrize("penalty", [torch.Tensor.sum, lambda y: y.square().sum()], ids=["sum", "square"])
def test_a_second_derivative_is_right_or_refused(readout, solver, penalty):
    """The gradient of a sum needs no gradient to what comes back: torch would take the slope for a constant there."""
    block = build_nmode(channels=3, readout=readout, solver=solver, odeint_method="rk4").double()
    x = torch.randn(2, 3, 2, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(1)).requires_grad_()
    y = penalty(block(x))
    if solver != "odeint":
        with pytest.raises(RuntimeError, match=r"^MODEL\.NMODE\.SOLVER flow_map and rk4 can be .* once; take odeint"):
            torch.autograd.grad(y, x, create_graph=True)
        return
    (grad,) = torch.autograd.grad(y, x, create_graph=True)
    (found,) = torch.autograd.grad(grad.square().sum(), block.w)
    sizes = []
    for step in (1e-5, -1e-5):
        moved = torch.func.functional_call(block, {"w": block.w + step * torch.eye(3, dtype=torch.float64)[1]}, (x,))
        sizes.append(torch.autograd.grad(penalty(moved), x)[0].square().sum())
    torch.testing.assert_close(found[1], (sizes[0] - sizes[1]) / 2e-5, rtol=1e-6, atol=1e-8)


def test_backward_keeps_one_tensor():
    gamma = torch.randn(1, 8, 16, 16, requires_grad=True)
    saved = []
    with torch.autograd.graph.saved_tensors_hooks(lambda t: saved.append(t) or t, lambda t: t):
        y = rk4_solve(gamma)
    assert [t.shape for t in saved] == [gamma.shape]
    saved.clear()
    with torch.no_grad(), torch.autograd.graph.saved_tensors_hooks(lambda t: saved.append(t) or t, lambda t: t):
        assert torch.equal(rk4_solve(gamma), y)
    assert not saved


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("t_end", [1.0, 2.0, 5.0])
def test_range_period_and_growth(kind, t_end):
    gamma = grid()
    steps = 200
    y = rk4_solve(gamma, kind=kind, t_end=t_end, steps=steps)
    assert y.min() >= 0 and y.max() < 1
    assert worst(rk4_solve(gamma + math.pi, kind=kind, t_end=t_end, steps=steps), y) < 1e-11
    times = torch.linspace(0, t_end, 9, dtype=torch.float64)[1:].tolist()
    path = torch.stack([torch.zeros_like(gamma)] + [rk4_solve(gamma, kind=kind, t_end=t, steps=steps) for t in times])
    # nmODE is drawn to one equilibrium and nmODE^2 to its smallest, both from below.
    assert (path.diff(dim=0) > -1e-9).all()


def test_known_values_of_nmode2():
    y = [rk4_solve(torch.zeros(1, dtype=torch.float64), t_end=t, steps=50).item() for t in (0.5, 1.0, 2.0, 5.0)]
    assert y == pytest.approx([0.324, 0.553, 0.785, 0.914], abs=1e-3)
    assert rk4_solve(torch.tensor([math.pi / 2], dtype=torch.float64)).item() == pytest.approx(0, abs=1e-15)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("readout", READOUTS)
@pytest.mark.parametrize("solver, entrance", [("flow_map", "flow_map_of_cells"), ("rk4", "rk4_solve")])
def test_half_precision_is_solved_in_single(solver, entrance, readout, dtype, monkeypatch):
    block = build_nmode(channels=4, readout=readout, solver=solver)
    x = torch.randn(2, 4, 8, 8, generator=torch.Generator().manual_seed(0)).to(dtype)
    seen = []
    solve = getattr(nmode, entrance)
    monkeypatch.setattr(nmode, entrance, lambda x, *a, **k: seen.append(x.dtype) or solve(x, *a, **k))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        y = block(x)
    assert seen == [torch.float32]
    assert y.dtype == dtype
    # Only the rounding of the result is left.
    torch.testing.assert_close(y, block(x.float()).to(dtype), rtol=0, atol=0)
    x.requires_grad_()
    block(x).float().sum().backward()
    assert x.grad.dtype == dtype and block.w.grad.dtype == torch.float32


def test_readouts_parameters_and_start():
    x = torch.randn(2, 3, 4, 4, generator=torch.Generator().manual_seed(0))
    blocks = {readout: build_nmode(channels=3, readout=readout, init_w=0.5, init_b=2.0) for readout in READOUTS}
    y = rk4_solve(0.5 * x + 2.0, steps=20)
    torch.testing.assert_close(blocks["plain"](x), y, rtol=0, atol=2e-6)
    torch.testing.assert_close(blocks["residual"](x), x + y, rtol=0, atol=2e-6)
    torch.testing.assert_close(blocks["gated"](x), x * y, rtol=0, atol=2e-6)
    # The flow map's table is a constant and no weight.
    assert {name: tuple(p.shape) for name, p in blocks["plain"].state_dict().items()} == {"w": (3,), "b": (3,)}


@pytest.mark.parametrize(
    "argument, value",
    [
        ("kind", "ode"),
        ("readout", "sum"),
        ("solver", "euler"),
        ("odeint_method", "dopri"),
        ("t_end", 0.0),
        ("rk4_steps", 0),
        ("t_end", math.inf),
        ("odeint_rtol", -1.0),
        ("odeint_atol", math.nan),
    ],
)
def test_wrong_arguments_name_the_key(argument, value):
    with pytest.raises(ValueError, match=rf"^MODEL\.NMODE\.{argument.upper()}\b[^\n]*$"):
        build_nmode(channels=1, **{argument: value})


def test_kwargs_come_from_the_config_and_build_a_block(cfg):
    assert nmode_kwargs(cfg, "head") is None
    cfg.MODEL.NMODE.KIND = "nmode"
    cfg.MODEL.NMODE.T_END = 0.75
    assert nmode_kwargs(cfg, "fpn") is None
    block = build_nmode(channels=2, **nmode_kwargs(cfg, "head"))
    assert (block.kind, block.t_end) == ("nmode", 0.75)


@pytest.mark.parametrize("kind, places, key", [("nmode3", ("head",), "KIND"), ("nmode2", ("neck",), "PLACES")])
def test_kwargs_refuse_unknown_names(kind, places, key):
    cfg = SimpleNamespace(MODEL=SimpleNamespace(NMODE=SimpleNamespace(KIND=kind, PLACES=places)))
    with pytest.raises(ValueError, match=rf"MODEL\.NMODE\.{key}"):
        nmode_kwargs(cfg, "head")
