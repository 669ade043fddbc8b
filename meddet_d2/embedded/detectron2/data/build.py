"""Data loaders for training and evaluation."""

import itertools
import logging
import operator
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

from torch.utils.data import DataLoader, Dataset, IterableDataset, Sampler

from detectron2.config import configurable
from detectron2.utils.comm import get_world_size

from .catalog import DatasetCatalog, MetadataCatalog
from .dataset_mapper import DatasetMapper
from .samplers import InferenceSampler, TrainingSampler

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


def _train_loader_from_config(cfg, mapper=None, *, dataset=None, sampler=None) -> dict[str, Any]:
    if dataset is None:
        dataset = get_detection_dataset_dicts(cfg.DATASETS.TRAIN, filter_empty=cfg.DATALOADER.FILTER_EMPTY_ANNOTATIONS)
    if cfg.DATALOADER.SAMPLER_TRAIN != "TrainingSampler":
        raise ValueError(f"DATALOADER.SAMPLER_TRAIN '{cfg.DATALOADER.SAMPLER_TRAIN}' is unknown; use TrainingSampler")
    return {
        "dataset": dataset,
        "sampler": TrainingSampler(len(dataset), seed=cfg.SEED) if sampler is None else sampler,
        "mapper": DatasetMapper(cfg, True) if mapper is None else mapper,
        "total_batch_size": cfg.SOLVER.IMS_PER_BATCH,
        "aspect_ratio_grouping": cfg.DATALOADER.ASPECT_RATIO_GROUPING,
        "num_workers": cfg.DATALOADER.NUM_WORKERS,
    }


@configurable(from_config=_train_loader_from_config)
def build_detection_train_loader(
    dataset, *, mapper, sampler: Sampler | None = None, total_batch_size, aspect_ratio_grouping=True, **kwargs: Any
) -> Iterable[list[dict]]:
    """An endless loader of lists of mapped dicts; also ``build_detection_train_loader(cfg, mapper=...)``.

    ``dataset`` is a list or a ``Dataset``; ``mapper`` may be None. ``total_batch_size`` is shared equally by all
    processes; ``aspect_ratio_grouping`` keeps images that are wider than high apart from the others; ``kwargs``
    (``num_workers``, ...) go to ``DataLoader``, which seeds Python, numpy and torch in each worker.
    """
    world_size = get_world_size()
    if total_batch_size <= 0 or total_batch_size % world_size:
        raise ValueError(f"SOLVER.IMS_PER_BATCH {total_batch_size} is not a multiple of the {world_size} processes")
    batch_size = total_batch_size // world_size
    loader = DataLoader(
        dataset if mapper is None else MapDataset(dataset, mapper),
        sampler=TrainingSampler(len(dataset)) if sampler is None else sampler,
        batch_size=1 if aspect_ratio_grouping else batch_size,
        drop_last=True,
        collate_fn=operator.itemgetter(0) if aspect_ratio_grouping else trivial_batch_collator,
        **kwargs,
    )
    return AspectRatioGroupedDataset(loader, batch_size) if aspect_ratio_grouping else loader


def _test_loader_from_config(cfg, dataset_name: str | Sequence[str], mapper=None) -> dict[str, Any]:
    dataset = get_detection_dataset_dicts(dataset_name, filter_empty=False)
    mapper = DatasetMapper(cfg, False) if mapper is None else mapper
    return {"dataset": dataset, "mapper": mapper, "num_workers": cfg.DATALOADER.NUM_WORKERS}


@configurable(from_config=_test_loader_from_config)
def build_detection_test_loader(dataset, *, mapper, sampler: Sampler | None = None, **kwargs: Any) -> DataLoader:
    """Each image once over all processes, in lists of 1 or ``batch_size``; also ``(cfg, name)``."""
    sampler = InferenceSampler(len(dataset)) if sampler is None else sampler
    dataset = dataset if mapper is None else MapDataset(dataset, mapper)
    return DataLoader(dataset, sampler=sampler, collate_fn=trivial_batch_collator, **kwargs)


def trivial_batch_collator(batch: list) -> list:
    """Images of different sizes stay a list."""
    return batch


class MapDataset(Dataset):
    """``map_func`` over a data set or list. Where upstream skips an element that it maps to None, this is an error."""

    def __init__(self, dataset: Dataset | list, map_func: Callable[[Any], Any]):
        self._dataset, self._map_func = dataset, map_func

    def __len__(self) -> int:
        return len(self._dataset)

    def __getitem__(self, index: int) -> Any:
        mapped = self._map_func(self._dataset[index])
        if mapped is None:
            raise ValueError(f"The mapper returned None for element {index}: {self._dataset[index]}")
        return mapped


class AspectRatioGroupedDataset(IterableDataset):
    """Batches (lists) of dicts that are all wider than high, or all not, by their "width" and "height"."""

    def __init__(self, dataset: Iterable[dict], batch_size: int):
        self.dataset, self.batch_size = dataset, batch_size
        self._buckets: tuple[list, list] = ([], [])

    def __iter__(self) -> Iterator[list[dict]]:
        for element in self.dataset:
            bucket = self._buckets[element["width"] > element["height"]]
            bucket.append(element)
            if len(bucket) == self.batch_size:
                batch = bucket[:]
                bucket.clear()  # before yielding: nothing after it is sure to run
                yield batch
