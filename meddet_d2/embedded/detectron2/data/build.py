"""The images of an evaluation."""

import itertools
import logging
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch.utils.data import DataLoader, Dataset

from detectron2.utils import comm

from .catalog import DatasetCatalog, MetadataCatalog

logger = logging.getLogger(__name__)


def get_detection_dataset_dicts(names: str | Sequence[str], filter_empty: bool = True) -> list[dict]:
    """Load and join data sets of the same classes; ``filter_empty`` leaves out images without a non-crowd box."""
    names = [names] if isinstance(names, str) else list(names)
    assert names, "No data set is named; set DATASETS.TRAIN and DATASETS.TEST"
    dicts = list(itertools.chain(*(DatasetCatalog.get(name) for name in names)))
    for name in names:
        if MetadataCatalog.get(name).get("thing_classes") != MetadataCatalog.get(names[0]).get("thing_classes"):
            raise ValueError(f"Data sets {names[0]} and {name} have different classes")
    if filter_empty and dicts and "annotations" in dicts[0]:
        total = len(dicts)
        dicts = [d for d in dicts if any(not annotation.get("iscrowd", 0) for annotation in d["annotations"])]
        logger.info("Left out %d images without annotations", total - len(dicts))
    assert dicts, f"No images are left in {', '.join(names)}; see DATALOADER.FILTER_EMPTY_ANNOTATIONS"
    counts = Counter(annotation["category_id"] for d in dicts for annotation in d.get("annotations", ()))
    logger.info("%s: %d images; instances by class: %s", ", ".join(names), len(dicts), dict(sorted(counts.items())))
    return dicts


def build_detection_test_loader(
    cfg, dataset_name: str | Sequence[str], *, mapper: Callable[[dict], Any], num_workers: int | None = None
) -> DataLoader:
    """Each image once over all processes, mapped, in lists of one; a process has a contiguous share of them.

    Without ``num_workers`` they are ``cfg.DATALOADER.NUM_WORKERS``.
    """
    records = get_detection_dataset_dicts(dataset_name, filter_empty=False)
    share = torch.arange(len(records)).tensor_split(comm.get_world_size())[comm.get_rank()].tolist()
    workers = cfg.DATALOADER.NUM_WORKERS if num_workers is None else num_workers
    return DataLoader(_MapDataset(records, mapper), sampler=share, collate_fn=list, num_workers=workers)


class _MapDataset(Dataset):
    def __init__(self, records: list[dict], mapper: Callable[[dict], Any]):
        self._records, self._mapper = records, mapper

    def __len__(self) -> int:
        return len(self._records)

    def __getitem__(self, index: int) -> Any:
        return self._mapper(self._records[index])
