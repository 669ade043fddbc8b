"""All parts of the speed benchmark, one after the other on each device, with files written after each."""

import sys
import traceback
from collections.abc import Callable, Iterable, Mapping, Sequence

import torch
from tqdm import tqdm

from .launch_counts import count_launches
from .loader_speed import time_loader
from .network_speed import time_networks
from .nmode_speed import time_nmode2
from .peak_memory import measure_memory
from .speed_report import SpeedReport
from .step_speed import time_compiled_step, time_step
from .timed_networks import Setup


def _onnx(report: SpeedReport, setup: Setup) -> None:
    try:
        from .deployed_speed import time_deployed
    except ImportError as error:
        report.notes.append(
            f'onnx on {setup.device} was not measured: it needs the extra "export" '
            f'(pip install -c constraints.txt -e ".[export]"; {error}).'
        )
        return
    time_deployed(report, setup)


# What --only names. The loader comes after the step, which it is compared with.
PARTS: Mapping[str, Callable[[SpeedReport, Setup], None]] = {
    "nmode2": time_nmode2,
    "onnx": _onnx,
    "networks": time_networks,
    "step": time_step,
    "loader": time_loader,
    "launches": count_launches,
    "memory": measure_memory,
    "compiled": time_compiled_step,
}
# On a CPU there is no peak, and a compiler takes many minutes.
GPU_PARTS = ("memory", "compiled")


def devices_here(wanted: Iterable[str] | None = None) -> list[str]:
    """The devices to measure on: those wanted, or else the CPU, and a GPU where there is one."""
    return list(wanted or ("cpu", *(("cuda",) if torch.cuda.is_available() else ())))


def measure(
    report: SpeedReport,
    setups: Sequence[Setup],
    parts: Iterable[str] | None = None,
    *,
    save: Callable[[], object] = lambda: None,
) -> bool:
    """Measure some parts, on each device those that it has.

    A part for which the GPU has not enough memory, or that fails, ends in a note, and the others go on.

    Args:
        report: is filled.
        setups: of each device.
        parts: keys of ``PARTS``; None: all.
        save: called after each part.

    Returns:
        Whether no part failed. A GPU that is too small is no failure.
    """
    chosen = [name for name in PARTS if parts is None or name in parts]
    todo = [
        (name, setup)
        for setup in setups
        for name in chosen
        if name not in GPU_PARTS or torch.device(setup.device).type != "cpu"
    ]
    sound = True
    with tqdm(todo, unit="part", disable=None) as progress:
        for name, setup in progress:
            progress.set_description(f"Measuring {name} on {setup.device}")
            what = f"{name} on {setup.device}"
            try:
                with report.allowing_failure(what):
                    PARTS[name](report, setup)
            except Exception as error:
                # An hour on a GPU is not to be lost for one part; the traceback is for a bug report.
                traceback.print_exc(file=sys.stderr)
                reason = (str(error).splitlines() or [""])[0]
                report.notes.append(f"{what} failed: {type(error).__name__}: {reason}")
                sound = False
            save()
    return sound
