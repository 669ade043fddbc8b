"""A step of distillation against its parts, against its loader, and against what the GPU needs for it at least."""

from collections.abc import Callable
from functools import partial

from meddet_d2.hardware.compiling import missing_compiler

from .loader_speed import loaders
from .speed_report import SpeedReport
from .step_floors import floor_calls, keep_ratios
from .timed_networks import Setup
from .timed_step import DistillationStep, in_training

NAMED = {"student": "student alone", "teachers": "teachers' backbones and FPNs"}
WHOLE, LOADER = "distillation", "loader, one process"


def time_step(report: SpeedReport, setup: Setup) -> None:
    """Fill the group "step": a step of distillation, a step of the student alone, and the teachers.

    Ratios: "overhead", and the shares of a step that student, teachers, distiller and the method's own parts have. The
    loader runs beside them, and "loader_over_step" must be below its processes' number. With graphs also the networks'
    floors, and "over_floors": the step over their sum.
    """
    group, step = report.group("step", setup.device), DistillationStep(setup)
    named = {**NAMED, **{name: f"of it the {name}" for name in step.parts}}
    calls: dict[str, Callable[[], object]] = {
        NAMED["student"]: step.student_alone,
        NAMED["teachers"]: step.teachers,
        WHOLE: step.distillation,
        **{named[name]: call for name, call in step.parts.items()},
    }
    with in_training(step.cfg), loaders(step.cfg, setup) as loader_of:
        if setup.graphs:
            calls |= floor_calls(report, setup, group, step.bank)
        report.time(group, {**calls, LOADER: partial(next, iter(loader_of(workers=0)))})
    report.ratio(group, "overhead", WHOLE, *NAMED.values())
    for name, call in named.items():
        report.ratio(group, f"share_{name}", call, WHOLE)
    shares = [report.ratios[group][f"share_{name}"] for name in named]
    known = [share for share in shares if share is not None]
    report.ratios[group]["share_distiller"] = 1 - sum(known) if len(known) == len(shares) else None
    report.ratio(group, "loader_over_step", LOADER, WHOLE)
    if setup.graphs:
        keep_ratios(report, setup, group, WHOLE)


def time_compiled_step(report: SpeedReport, setup: Setup) -> None:
    """Fill the group "compiled": the step with MODEL.COMPILE, and the floors in the same run."""
    group, plain = report.group("compiled", setup.device), DistillationStep(setup)
    missing = missing_compiler(plain.student.device)
    if missing:
        report.notes.append(f"{group} was not measured: there is no {missing}.")
        return
    step = DistillationStep(setup, compiled=True)
    calls = {NAMED["student"]: step.student_alone, WHOLE: step.distillation, "distillation, eager": plain.distillation}
    with in_training(step.cfg):
        floors = floor_calls(report, setup, group, plain.bank) if setup.graphs else {}
        report.time(group, {**calls, **floors})
    report.ratio(group, "eager_over_compiled", "distillation, eager", WHOLE)
    if setup.graphs:
        keep_ratios(report, setup, group, WHOLE)
