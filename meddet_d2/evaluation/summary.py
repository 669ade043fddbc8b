"""Several networks in one table: how good, how large, how fast."""

import math
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from tabulate import tabulate
from torch import nn

from meddet_d2.data.registration import data_note
from meddet_d2.files import write_json, write_text

from .evaluators import first_metrics
from .timing import throughputs

Columns = Mapping[str, tuple[str, int]]


def measure(name: str, model: nn.Module, results: Mapping, inputs: Sequence[dict], columns: Columns) -> dict[str, Any]:
    """A line of the table: a network that was evaluated.

    Args:
        name: as the table shows it.
        model: the detector.
        results: what the evaluation returned, see :func:`first_metrics`.
        inputs: a batch to time inference with.
        columns: which metrics, see :func:`summary_columns`.

    Returns:
        {"name", <a key of each of the columns>, "parameters", "throughput"}: metrics as the evaluator gives them, NaN
        where unknown, the number of weights and biases, and {"median", "low", "high"} images per second.
    """
    metrics = first_metrics(results)
    return {
        "name": name,
        **{key: metrics.get(metric, math.nan) for key, (metric, _) in columns.items()},
        "parameters": sum(parameter.numel() for parameter in model.parameters()),
        "throughput": throughputs({name: model}, list(inputs), max_seconds=10.0)[name],
    }


def table(rows: Sequence[Mapping], columns: Columns, layout: str = "simple") -> str:
    """The table for a terminal, or in another layout of tabulate's ("pipe" for a README)."""
    cells = []
    for row in rows:
        speed, values = row["throughput"], [(row[key], digits) for key, (_, digits) in columns.items()]
        figures = ("n/a" if math.isnan(value) else f"{value:.{digits}f}" for value, digits in values)
        rate = f"{speed['median']:.1f}", f"({speed['low']:.1f} to {speed['high']:.1f})"
        cells.append([row["name"], *figures, f"{row['parameters'] / 1e6:.2f} M", *rate])
    headers = ["network", *(metric for metric, _ in columns.values()), "parameters", "images/s", "(quartiles)"]
    return tabulate(cells, headers=headers, tablefmt=layout, disable_numparse=True)


def write(
    rows: Sequence[Mapping],
    output_dir: str | os.PathLike,
    *,
    dataset_name: str,
    columns: Columns,
    unit: str | None = None,
) -> str:
    """Write ``summary.json`` (every digit) and ``summary.md`` into ``output_dir``; ``unit`` is that of errors.

    Returns:
        The table as text, with a line below it that says what the figures were measured on.
    """
    output_dir = Path(output_dir)
    note = data_note(dataset_name)
    threads = f"{torch.get_num_threads()} CPU thread(s)"
    hardware = torch.cuda.get_device_name() if torch.cuda.is_initialized() else threads
    errors = f"; errors in {unit}" if unit else ""
    origin = f"{dataset_name}{note and f' ({note})'}{errors}; speed on {hardware}, one process."
    content = {"dataset": dataset_name, "note": note, "unit": unit, "hardware": hardware, "networks": rows}
    write_json(output_dir / "summary.json", content)
    write_text(output_dir / "summary.md", f"{table(rows, columns, 'pipe')}\n\n{origin}\n")
    return f"{table(rows, columns)}\n{origin}"
