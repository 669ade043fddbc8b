"""Several networks in one table: how good, how large, how fast."""

import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from tabulate import tabulate
from torch import nn

from meddet_d2.files import replacing, write_json

from .detection_evaluator import data_note
from .evaluators import first_metrics
from .timing import Throughput, interleaved_seconds

HEADERS = ("network", "AP50", "AP", "recall50", "parameters", "images/s", "(quartiles)")


@dataclass(frozen=True)
class NetworkRow:
    """One line of the table.

    Attributes:
        name: as the table shows it.
        ap50, ap, recall50: in percent, as :class:`DetectionEvaluator` gives them; NaN where unknown.
        parameters: number of weights and biases.
        throughput: of inference, in images per second.
    """

    name: str
    ap50: float
    ap: float
    recall50: float
    parameters: int
    throughput: Throughput

    @classmethod
    def measure(cls, name: str, model: nn.Module, results: Mapping, inputs: Sequence[dict]) -> "NetworkRow":
        """The row of a network that was evaluated.

        Args:
            name: as the table shows it.
            model: the detector.
            results: what the evaluation returned, see :func:`first_metrics`.
            inputs: a batch to time inference with.
        """
        metrics = first_metrics(results)
        return cls(
            name=name,
            ap50=metrics.get("AP50", math.nan),
            ap=metrics.get("AP", math.nan),
            recall50=metrics.get("recall50", math.nan),
            parameters=sum(parameter.numel() for parameter in model.parameters()),
            throughput=measure_throughput(model, inputs),
        )


def measure_throughput(
    model: nn.Module,
    inputs: Sequence[dict],
    *,
    warmup: int = 2,
    repeats: int = 11,
    max_seconds: float = 10.0,
) -> Throughput:
    """Time a network's inference, from decoded images to boxes.

    Args:
        model: a detector that takes a list of dicts; it is left in the mode it was in.
        inputs: a batch.
        warmup, repeats, max_seconds: rounds and time, as in :func:`interleaved_seconds`.

    Raises:
        ValueError: no inputs, or fewer than 3 repeats.
    """
    if not inputs:
        raise ValueError("measure_throughput got an empty batch; give it at least one image.")
    training = model.training
    model.eval()
    try:
        with torch.no_grad():
            call = {"": lambda: model(inputs)}
            seconds = interleaved_seconds(call, rounds=repeats, warmup=warmup, max_seconds=max_seconds)
    finally:
        model.train(training)
    return Throughput.of(seconds[""], len(inputs))


def text_table(rows: Sequence[NetworkRow]) -> str:
    """The table for a terminal."""
    return tabulate([_cells(row) for row in rows], headers=HEADERS, tablefmt="simple", disable_numparse=True)


def markdown_table(rows: Sequence[NetworkRow]) -> str:
    """The table for a README."""
    return tabulate([_cells(row) for row in rows], headers=HEADERS, tablefmt="pipe", disable_numparse=True)


def write(rows: Sequence[NetworkRow], output_dir: str | os.PathLike, *, dataset_name: str) -> str:
    """Write ``summary.json`` (every digit) and ``summary.md`` into ``output_dir``.

    Returns:
        The table as text, with a line below it that says what the figures were measured on.
    """
    output_dir = Path(output_dir)
    note = data_note(dataset_name)
    origin = f"{dataset_name}{note and f' ({note})'}; speed on {_hardware()}, one process."
    write_json(
        output_dir / "summary.json",
        {"dataset": dataset_name, "note": note, "hardware": _hardware(), "networks": [asdict(row) for row in rows]},
    )
    with replacing(output_dir / "summary.md") as temporary:
        temporary.write_text(f"{markdown_table(rows)}\n\n{origin}\n", encoding="utf-8")
    return f"{text_table(rows)}\n{origin}"


def _cells(row: NetworkRow) -> list[str]:
    speed = row.throughput
    return [
        row.name,
        *(_percent(value) for value in (row.ap50, row.ap, row.recall50)),
        f"{row.parameters / 1e6:.2f} M",
        f"{speed.median:.1f}",
        f"({speed.low:.1f} to {speed.high:.1f})",
    ]


def _percent(value: float) -> str:
    return "n/a" if math.isnan(value) else f"{value:.1f}"


def _hardware() -> str:
    if torch.cuda.is_initialized():
        return torch.cuda.get_device_name()
    return f"{torch.get_num_threads()} CPU thread(s)"
