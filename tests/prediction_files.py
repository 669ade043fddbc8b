"""Images for a prediction to read, and the files that it wrote."""

import csv
import json
from pathlib import Path

import numpy as np
from PIL import Image
from tiny_runs import smooth_noise


def deep(seed=0, **size) -> np.ndarray:
    """The same as a scanner gives it: grey, 12 bits."""
    return smooth_noise(seed=seed, **size)[:, :, 0].astype(np.uint16) * 16


def save(path: Path, seed=0, mode="RGB", **options) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(smooth_noise(seed=seed)).convert(mode).save(path, **options)
    return path


def table(path: Path) -> list[dict[str, str]]:
    with open(path, newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def coco(folder: Path) -> dict:
    return json.loads((folder / "predictions.json").read_text())


def files_of(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
