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
from .timing import Throughput, throughputs

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
            throughput=throughputs({name: model}, list(inputs), max_seconds=10.0)[name],
        )


def table(rows: Sequence[NetworkRow], layout: str = "simple") -> str:
    """The table for a terminal, or in another layout of tabulate's ("pipe" for a README)."""
    cells = []
    for row in rows:
        percents = ("n/a" if math.isnan(value) else f"{value:.1f}" for value in (row.ap50, row.ap, row.recall50))
        speed = row.throughput
        rate = f"{speed.median:.1f}", f"({speed.low:.1f} to {speed.high:.1f})"
        cells.append([row.name, *percents, f"{row.parameters / 1e6:.2f} M", *rate])
    return tabulate(cells, headers=HEADERS, tablefmt=layout, disable_numparse=True)


def write(rows: Sequence[NetworkRow], output_dir: str | os.PathLike, *, dataset_name: str) -> str:
    """Write ``summary.json`` (every digit) and ``summary.md`` into ``output_dir``.

    Returns:
        The table as text, with a line below it that says what the figures were measured on.
    """
    output_dir = Path(output_dir)
    note = data_note(dataset_name)
    threads = f"{torch.get_num_threads()} CPU thread(s)"
    hardware = torch.cuda.get_device_name() if torch.cuda.is_initialized() else threads
    origin = f"{dataset_name}{note and f' ({note})'}; speed on {hardware}, one process."
    write_json(
        output_dir / "summary.json",
        {"dataset": dataset_name, "note": note, "hardware": hardware, "networks": [asdict(row) for row in rows]},
    )
    with replacing(output_dir / "summary.md") as temporary:
        temporary.write_text(f"{table(rows, 'pipe')}\n\n{origin}\n", encoding="utf-8")
    return f"{table(rows)}\n{origin}"
