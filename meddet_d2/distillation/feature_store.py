"""The teachers' maps on disk, for runs over the same images again and again."""

import hashlib
import logging
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from meddet_d2.config.arguments import require
from meddet_d2.files import replacing

logger = logging.getLogger(__name__)


class FeatureStore:
    """A folder with a file of maps for each image of each teacher.

    A teacher's folder is named after its weights (:func:`fingerprint`) and a file after the image it was shown, so that
    another teacher, another training of the same one or another augmentation never meets a stale file. Files are whole
    or not there. Nothing is ever thrown out: when the space is used up, nothing is added; delete the folder to start
    again.

    Args:
        folder: made if it does not exist; processes may share it.
        capacity: bytes that the files of all teachers in ``folder`` may take, as far as one process fills it.
        teacher: :func:`fingerprint` of the teacher.
        stores: how many of them, one for each teacher, have the space that is left between them.
        device: where the maps are wanted.

    Raises:
        ValueError: the folder is a file, or the capacity is negative.
    """

    def __init__(self, folder: str | os.PathLike, capacity: int, teacher: str, stores: int = 1, device: Any = "cpu"):
        root = Path(folder)
        require(capacity >= 0, "DISTILL.TEACHERS.CACHE_DIR_GIB", capacity / 2**30, "at least 0")
        try:
            (root / teacher).mkdir(parents=True, exist_ok=True)
        except (FileExistsError, NotADirectoryError):
            raise ValueError(f"DISTILL.TEACHERS.CACHE_DIR {root} is, or lies under, a file; name a folder.") from None
        self.folder = root / teacher
        self.device = str(device)
        self.size = sum(path.stat().st_size for path in root.glob("*/*.safetensors"))
        # None of them sees what the others add.
        self.capacity = self.size + max(0, capacity - self.size) // stores
        self.full = False

    def load(self, name: str) -> list[Tensor] | None:
        """The maps (1, C, H, W) under a name, or None if there are none, or none that can be read."""
        path = self.folder / f"{name}.safetensors"
        if not path.is_file():
            return None
        try:
            content = load_file(path, device=self.device)
            maps = [content[str(level)] for level in range(len(content))]
            # As a network gives them; a file has no memory layout.
            return [x.contiguous(memory_format=torch.channels_last) for x in maps]
        except (SafetensorError, KeyError, RuntimeError) as error:
            logger.warning("%s holds no maps (%s); they are computed again.", path, error)
            return None

    def save(self, name: str, maps: list[Tensor]) -> None:
        """Keep the maps (1, C, H, W) of an image, unless the space is used up.

        Raises:
            OSError: the disk is full, or the folder cannot be written.
        """
        size = bytes_of(maps)
        if self.size + size > self.capacity:
            if not self.full:
                logger.warning(
                    "DISTILL.TEACHERS.CACHE_DIR %s has reached CACHE_DIR_GIB: the maps of further images are computed "
                    "each time.",
                    self.folder.parent,
                )
            self.full = True
            return
        with replacing(self.folder / f"{name}.safetensors") as temporary:
            save_file({str(level): x.contiguous() for level, x in enumerate(maps)}, temporary)
        self.size += size


def bytes_of(maps: Sequence[Tensor]) -> int:
    return sum(x.numel() * x.element_size() for x in maps)


def fingerprint(detector: nn.Module, *settings: object) -> str:
    """A name for what a frozen detector makes of an image: of its weights, its normalisation and further settings."""
    return digest([str(settings), {**detector.state_dict(), **dict(detector.named_buffers())}])


def digest(content: Any) -> str:
    """A name for tensors (by size, type and values), numbers and texts, alone or in lists and dicts.

    Raises:
        TypeError: something else is in it, which nothing could tell from its like.
    """
    hashed = hashlib.blake2b(digest_size=16)
    _feed(hashed, content)
    return hashed.hexdigest()


def _feed(hashed: Any, content: Any) -> None:
    if isinstance(content, Tensor):
        values = content.detach().cpu().contiguous()
        hashed.update(f"{tuple(values.shape)} {values.dtype} ".encode())
        hashed.update(values.flatten().view(torch.uint8).numpy())
    elif isinstance(content, Mapping):
        hashed.update(f"{len(content)} named ".encode())
        for name in sorted(content):
            _feed(hashed, name)
            _feed(hashed, content[name])
    elif isinstance(content, list | tuple):
        hashed.update(f"{len(content)} in order ".encode())
        for item in content:
            _feed(hashed, item)
    elif content is None or isinstance(content, bool | int | float | str):
        text = repr(content)
        hashed.update(f"{len(text)} {text} ".encode())
    else:
        raise TypeError(
            f"The teachers' cache cannot tell one {type(content).__name__} from another; leave it out of "
            "what the task shows a teacher, or set DISTILL.TEACHERS.CACHE_GIB 0 and CACHE_DIR ''."
        )
