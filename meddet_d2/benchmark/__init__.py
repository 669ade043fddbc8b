"""The paper's tables as runs: a suite's rows, each trained once for each seed, and what came out of them."""

from .checks import check_runs
from .folder import ResultsFolder
from .plan import Planner, Run, TeacherChoice
from .provenance import provenance_now
from .report import write_report
from .runner import Runner
from .suite import Suite, load_suite

__all__ = [
    "Planner",
    "ResultsFolder",
    "Run",
    "Runner",
    "Suite",
    "TeacherChoice",
    "check_runs",
    "load_suite",
    "provenance_now",
    "write_report",
]
