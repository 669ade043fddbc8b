"""Comparing the checkpoints and logs of two runs."""

import json
from pathlib import Path

import torch


def logged(folder):
    """metrics.json by iteration, without what the clock gives: the last word on each value."""
    rows = {}
    for line in (Path(folder) / "metrics.json").read_text().splitlines():
        row = json.loads(line)
        rows.setdefault(row["iteration"], {}).update(
            {key: value for key, value in row.items() if "time" not in key and "eta" not in key}
        )
    return rows


def same_log(whole, parts):
    """Whether all that one run has logged is in the log of another, which was stopped: a stop adds lines of its own."""
    rows = logged(parts)
    return all(rows.get(iteration, {}).items() >= row.items() for iteration, row in logged(whole).items())


def checkpoint_state(folder, name="model_final"):
    """Everything in a checkpoint but the run's name and the clock's times."""
    content = torch.load(Path(folder) / f"{name}.pth", weights_only=True)
    content.pop("run")
    scalars = content["trainer"]["hooks"]["Checkpoints"]["scalars"]
    for name in [name for name in scalars if "time" in name]:
        del scalars[name]
    return content


def differences(a, b, path=""):
    """Where two checkpoints differ, to the bit."""
    if isinstance(a, torch.Tensor):
        return [] if torch.equal(a, b) and a.dtype == b.dtype else [path]
    if isinstance(a, dict):
        lone = [f"{path}/{key}" for key in a.keys() ^ b.keys()]
        return lone + [d for key in a.keys() & b.keys() for d in differences(a[key], b[key], f"{path}/{key}")]
    if isinstance(a, (list, tuple)):
        if len(a) != len(b):
            return [path]
        return [d for i, (x, y) in enumerate(zip(a, b, strict=True)) for d in differences(x, y, f"{path}/{i}")]
    return [] if a == b or (a != a and b != b) else [path]


def tensors(content, path=""):
    """Every tensor and number of a checkpoint, by its path."""
    if isinstance(content, (torch.Tensor, float)):
        yield path, torch.as_tensor(content)
    elif isinstance(content, (dict, list, tuple)):
        for key, value in content.items() if isinstance(content, dict) else enumerate(content):
            yield from tensors(value, f"{path}/{key}")
