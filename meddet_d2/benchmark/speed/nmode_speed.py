"""nmODE^2 forward and backward: its flow map against torchdiffeq's RK4 and, compiled, against sigmoid."""

from collections.abc import Callable

import torch
from torch import Tensor

from meddet_d2.modeling.nmode.flow_map import flow_map, flow_table
from meddet_d2.modeling.nmode.nmode_solvers import odeint_solve

from .speed_report import SpeedReport
from .timed_networks import Setup

# P3 of an image of 512 x 512.
MAP = (1, 256, 64, 64)


def time_nmode2(report: SpeedReport, setup: Setup) -> None:
    """Fill the group "nmode2"; a compiled ratio is None, with a note, where torch.compile fails."""
    device, group = setup.device, report.group("nmode2", setup.device)
    generator = torch.Generator().manual_seed(0)
    gamma = (torch.randn(MAP, generator=generator) * 2).to(device).requires_grad_()
    upstream = torch.randn(MAP, generator=generator).to(device)
    solved = flow_table("nmode2", 1.0).to(device)

    def both_ways(function: Callable[[Tensor], Tensor]) -> Callable[[], object]:
        return lambda: torch.autograd.grad(function(gamma), gamma, upstream)

    solve = both_ways(lambda x: odeint_solve(x, method="rk4", steps=4))
    report.time(group, {"torchdiffeq rk4, 4 steps": solve, "flow map": both_ways(lambda x: flow_map(x, solved))})
    report.ratio(group, "rk4_over_flow_map", "torchdiffeq rk4, 4 steps", "flow map")
    compiled = {
        "flow map, compiled": both_ways(torch.compile(lambda x: flow_map(x, solved))),
        "sigmoid, compiled": both_ways(torch.compile(torch.sigmoid)),
    }
    try:
        report.time(group, compiled)
    except RuntimeError as error:  # of which class torch makes its own, for a missing C++ compiler too
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        report.notes.append(f"{group}.flow_map_over_sigmoid was not measured: torch.compile failed ({reason}).")
    report.ratio(group, "flow_map_over_sigmoid", "flow map, compiled", "sigmoid, compiled")
