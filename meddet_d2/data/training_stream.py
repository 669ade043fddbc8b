"""Training's images in an order, and with augmentations, that depend on the seed and the place in the order alone.

Detectron2's loader draws augmentations from its workers' generators and starts its order anew after a resume. Here
batch k of a run is the same whether the run was stopped before it or not, for any number of workers. With the same
images per step it is the same for any number of processes.
"""

import itertools
import logging
import os
import signal
import threading
from collections.abc import Callable, Iterator, Sequence

import torch
from torch.utils.data import DataLoader, Dataset, Sampler

from detectron2.config import CfgNode
from detectron2.data import get_detection_dataset_dicts
from detectron2.utils import comm

from .image_cache import START, cached_reader
from .mapper import MedDetDatasetMapper
from .randomness import seeded_randomness
from .workers import loader_workers

logger = logging.getLogger(__name__)

# An image's place in the data set, and what its augmentation's random numbers start from: seed and place in the order.
Draw = tuple[int, tuple[int, int]]


class TrainingStream(Sampler[list[Draw]]):
    """An endless chain of permutations of a data set, cut into batches; each process takes its share of every batch.

    It is Detectron2's ``TrainingSampler`` with the grouping by aspect ratio done before images are read, so that
    batches can be skipped without reading any.

    Args:
        size: number of images.
        batch_size: of all processes together; a multiple of their number.
        seed: >= 0, the same in all processes.
        wide: of each image whether it is wider than high; a batch then holds one kind only. None: no grouping.

    Attributes:
        start: batches that the next iteration leaves out, as they were trained on before.
    """

    def __init__(self, *, size: int, batch_size: int, seed: int, wide: Sequence[bool] | None = None):
        processes = comm.get_world_size()
        if size < 1:
            raise ValueError("There are no images to train on; see DATASETS.TRAIN.")
        if batch_size < 1 or batch_size % processes:
            raise ValueError(f"SOLVER.IMS_PER_BATCH is {batch_size}; give a multiple of the {processes} processes.")
        self.size, self.batch_size, self.seed, self.wide = size, batch_size, seed, wide
        self.start = 0

    def __iter__(self) -> Iterator[list[Draw]]:
        rank, processes = comm.get_rank(), comm.get_world_size()
        for batch in itertools.islice(self._batches(), self.start, None):
            yield batch[rank::processes]

    def state_dict(self) -> dict[str, int]:
        """What must be the same for a run to go on with the order that it began with."""
        return {"size": self.size, "batch_size": self.batch_size, "seed": self.seed}

    def load_state_dict(self, state: dict[str, int]) -> None:
        """Take over the seed; a warning if images or batches are others, for then the order is another, too."""
        self.seed = state["seed"]
        names = {"size": "images in DATASETS.TRAIN", "batch_size": "SOLVER.IMS_PER_BATCH"}
        for key, name in names.items():
            if state[key] != getattr(self, key):
                logger.warning(
                    "The run was stopped with %d %s and goes on with %d: its data order is another from here on.",
                    state[key], name, getattr(self, key),
                )  # fmt: skip

    def _batches(self) -> Iterator[list[Draw]]:
        groups: tuple[list[Draw], list[Draw]] = ([], [])
        for place, index in enumerate(self._indices()):
            group = groups[self.wide is not None and self.wide[index]]
            group.append((index, (self.seed, place)))
            if len(group) == self.batch_size:
                yield group[:]
                group.clear()

    def _indices(self) -> Iterator[int]:
        generator = torch.Generator().manual_seed(self.seed)
        while True:
            yield from torch.randperm(self.size, generator=generator).tolist()


class SeededDataset(Dataset):
    """``mapper`` over ``records``, each time with the random numbers that the stream has drawn for it."""

    def __init__(self, records: Sequence[dict], mapper: Callable[[dict], dict]):
        self.records, self.mapper = records, mapper

    def __len__(self) -> int:
        return len(self.records)

    def __getitem__(self, draw: Draw) -> dict:
        index, numbers = draw
        with seeded_randomness(*numbers):
            return self.mapper(self.records[index])


def build_train_loader(cfg: CfgNode, mapper: MedDetDatasetMapper) -> DataLoader:
    """An endless loader of ``DATASETS.TRAIN``: lists of mapped records, this process's share of ``IMS_PER_BATCH``.

    Its ``batch_sampler`` is the :class:`TrainingStream`. Without a ``SEED`` the processes agree on a random one. The
    mapper reads through a cache from then on, if ``DATALOADER.CACHE_GIB`` gives it one.

    Raises:
        ValueError: another sampler is asked for, or images are to be grouped whose records have no size.
    """
    if cfg.DATALOADER.SAMPLER_TRAIN != "TrainingSampler":
        raise ValueError(
            f"DATALOADER.SAMPLER_TRAIN is {cfg.DATALOADER.SAMPLER_TRAIN}; only TrainingSampler's order can be resumed."
        )
    records = get_detection_dataset_dicts(cfg.DATASETS.TRAIN, filter_empty=cfg.DATALOADER.FILTER_EMPTY_ANNOTATIONS)
    stream = TrainingStream(
        size=len(records),
        batch_size=cfg.SOLVER.IMS_PER_BATCH,
        seed=cfg.SEED if cfg.SEED >= 0 else comm.shared_random_seed(),
        wide=[_is_wide(record) for record in records] if cfg.DATALOADER.ASPECT_RATIO_GROUPING else None,
    )
    mapper.read = cached_reader([record["file_name"] for record in records], cfg.DATALOADER.CACHE_GIB)
    workers = loader_workers(cfg)
    return DataLoader(
        SeededDataset(records, mapper),
        batch_sampler=stream,
        num_workers=workers,
        multiprocessing_context=START if workers and cfg.DATALOADER.CACHE_GIB else None,
        collate_fn=list,
        worker_init_fn=_end_by_parent_alone,
        # Or each start of the workers would take a number from torch's global generator.
        generator=torch.Generator(),
    )


def _is_wide(record: dict) -> bool:
    try:
        return record["width"] > record["height"]
    except KeyError as error:
        raise ValueError(
            f"{record.get('file_name')}: its record has no {error.args[0]}, which DATALOADER.ASPECT_RATIO_GROUPING "
            "goes by; set that to False."
        ) from error


def _end_by_parent_alone(worker: int) -> None:
    """In a worker: let SIGTERM pass unless the training process sends it.

    A scheduler sends it to all processes of a job. The training process is to finish its step then, and to write its
    state, which it cannot do if its workers die under it.
    """
    if not hasattr(signal, "sigwaitinfo"):  # macOS and Windows have no way to tell who sent a signal
        return

    def wait() -> None:
        while signal.sigwaitinfo({signal.SIGTERM}).si_pid != os.getppid():
            pass
        os._exit(0)

    # Threads that start from here on leave the signal to this one.
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
    threading.Thread(target=wait, daemon=True).start()
