"""The paper's tables as runs: a suite's rows, each trained once for each seed, and what came out of them."""

from .plan import Planner, Run, check_runs
from .result_tables import write_report
from .results_folder import ResultsFolder
from .runner import Runner
from .suite import Suite, load_suite

__all__ = [
    "Planner",
    "ResultsFolder",
    "Run",
    "Runner",
    "Suite",
    "check_runs",
    "load_suite",
    "write_report",
]
