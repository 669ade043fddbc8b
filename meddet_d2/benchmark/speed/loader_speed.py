"""The training's loader, by its number of processes: seconds of a batch, and against a step of distillation."""

import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from torch.utils.data import DataLoader
from tqdm import tqdm

from detectron2.config import CfgNode
from detectron2.data import DatasetCatalog, MetadataCatalog
from meddet_d2.data import MedDetDatasetMapper, build_train_loader
from meddet_d2.data.registration import register_data_set
from meddet_d2.files import write_json
from meddet_d2.layout.data_set import DataSet

from ..run_process import usable_cores
from .speed_report import SpeedReport, named
from .timed_networks import Setup, annotated_batch

# Processes; no more than there are cores.
WORKERS = (0, 1, 2, 4, 8)
NAME = "benchmark_speed"


def time_loader(report: SpeedReport, setup: Setup) -> None:
    """Fill the group "loader", with "over_step_2_workers" and so on where the group "step" is there."""
    group = report.group("loader", setup.device)
    step = report.median(named("step", setup.device), "distillation")
    with loaders(setup.config("student"), setup) as loader_of:
        for workers in [count for count in WORKERS if count <= usable_cores()]:
            label = f"{workers} worker{'' if workers == 1 else 's'}"
            seconds = seconds_of_a_batch(loader_of(workers=workers), workers, report.rounds, f"{group}, {label}")
            report.seconds.setdefault(group, {})[label] = seconds
            if step is not None:
                ratio = statistics.median(seconds) / step
                report.ratios.setdefault(group, {})[f"over_step_{label.replace(' ', '_')}"] = ratio
    if step is None:
        report.notes.append(f"{group} has no ratio to a step: the part step was not measured.")


def seconds_of_a_batch(
    loader: DataLoader, workers: int, rounds: int, label: str, clock: Callable[[], float] = time.perf_counter
) -> list[float]:
    """How long a training that does nothing else waits for a batch.

    Batches of several processes come in bursts. So a figure is of as many batches as there are processes, once those
    that were read ahead are gone.

    Args:
        loader: without an end.
        workers: its processes.
        rounds: figures.
        label: for the progress bar.
        clock: gives seconds.
    """
    batches, burst, seconds = iter(loader), max(workers, 1), []
    for _ in range(2 * burst):
        next(batches)
    for _ in tqdm(range(rounds), desc=f"Timing {label}", unit="round", disable=None, leave=False):
        begin = clock()
        for _ in range(burst):
            next(batches)
        seconds.append((clock() - begin) / burst)
    return seconds


@contextmanager
def loaders(cfg: CfgNode, setup: Setup) -> Iterator[Callable[..., DataLoader]]:
    """In the block ``make(workers=2)`` is the training's loader of a config, on grey PNG files made for it.

    Args:
        cfg: of the training. It is not changed.
        setup: the images' size, and how many a step has.
    """
    cfg = cfg.clone()
    with tempfile.TemporaryDirectory() as folder:
        register_data_set(NAME, _write_data_set(Path(folder), setup.size, setup.step_images))
        cfg.DATASETS.TRAIN, cfg.SOLVER.IMS_PER_BATCH, cfg.SEED = (NAME,), setup.step_images, 0

        def make(*, workers: int) -> DataLoader:
            cfg.DATALOADER.NUM_WORKERS = workers
            return build_train_loader(cfg, MedDetDatasetMapper(cfg, is_train=True))

        try:
            yield make
        finally:
            DatasetCatalog.remove(NAME)
            MetadataCatalog.pop(NAME, None)


def _write_data_set(folder: Path, size: int, count: int) -> DataSet:
    """As many grey images as a step has, smooth with a little noise, so that PNG packs them as it packs a slice."""
    random = np.random.default_rng(0)
    images: list[dict] = []
    annotations: list[dict] = []
    (folder / "images").mkdir()
    for number, inputs in enumerate(annotated_batch(size, count), start=1):
        coarse = Image.fromarray(random.integers(30, 220, (8, 8), np.uint8))
        smooth = np.asarray(coarse.resize((size, size), Image.Resampling.BICUBIC), np.int16)
        pixels = (smooth + random.integers(-4, 5, smooth.shape)).clip(0, 255).astype(np.uint8)
        Image.fromarray(pixels).save(folder / "images" / f"{number}.png")
        record = {"id": number, "file_name": f"{number}.png", "height": size, "width": size, "patient_id": str(number)}
        images.append(record)
        instances: Any = inputs["instances"]
        for (left, top, right, bottom), label in zip(
            instances.gt_boxes.tensor.tolist(), instances.gt_classes.tolist(), strict=True
        ):
            box = [left, top, right - left, bottom - top]
            one = {"image_id": number, "category_id": label + 1, "bbox": box, "area": box[2] * box[3], "iscrowd": 0}
            annotations.append({"id": len(annotations) + 1, **one})
    categories = [{"id": label, "name": f"class {label}"} for label in (1, 2)]
    write_json(folder / "train.json", {"images": images, "annotations": annotations, "categories": categories})
    return DataSet(json_file=folder / "train.json", images=folder / "images")
