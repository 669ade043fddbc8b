"""Remembering the teachers' maps: an input that is shown again unchanged need not go through the teachers again."""

import hashlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from .feature_store import FeatureStore


class FeatureCache:
    """Maps of inputs by their content, so that a stale or a wrong one cannot be handed out.

    The key is a digest of all that the network is shown of an input: its task's view, with the size that pictures are
    padded to. An augmentation that changes it therefore costs the memory and gains nothing; one run over the data
    without any fills the cache, and from then on the frozen network is idle. When the memory is used up, what is there
    stays and nothing is added: with images drawn at random, whatever is thrown out would be as likely to come next as
    what replaces it.

    Each input is shown to the network by itself: batch size changes rounding, and then a resumed run would differ from
    one that was not stopped. Without a cache the teachers see a batch at once, so their maps are the same but for that
    rounding.

    Args:
        capacity: bytes of maps to keep in memory, on the device that made them.
        store: where maps are kept on disk as well, and looked for when they are not in memory; or None.

    Raises:
        ValueError: a negative capacity.
    """

    def __init__(self, capacity: int, store: FeatureStore | None = None):
        if capacity < 0:
            raise ValueError(f"A cache of {capacity} bytes is none; give at least 0.")
        self.capacity = capacity
        self.store = store
        self.size = 0
        self.hits = 0
        self.misses = 0
        # Of each input its L maps, (1, C, H, W).
        self._maps: dict[str, list[Tensor]] = {}

    def __len__(self) -> int:
        return len(self._maps)

    def __call__(
        self, views: Sequence[Mapping], compute: Callable[[Any], Sequence[Tensor]], settings: Any = None
    ) -> list[Tensor]:
        """The maps of a batch, from memory or disk where an input was seen before.

        Args:
            views: N, all that the network is shown of each input; see :func:`digest`.
            compute: called with each view that is not there; returns its L maps (1, C, H_l, W_l).
            settings: what else decides the maps.

        Returns:
            L maps (N, C, H_l, W_l) in the order of the views.
        """
        keys = [digest((view, settings)) for view in views]
        # Those of this batch that memory has no room for. A batch may hold one input twice; one of them is enough.
        made: dict[str, list[Tensor]] = {}
        for key, view in zip(keys, views, strict=True):
            if key in self._maps or key in made:
                self.hits += 1
                continue
            found = None if self.store is None else self.store.load(key)
            if found is None:
                self.misses += 1
                found = [x.clone() for x in compute(view)]
                if self.store is not None:
                    self.store.save(key, found)
            else:
                self.hits += 1
            made[key] = found
        for key, maps in made.items():
            self._keep(key, maps)
        batch = [made[key] if key in made else self._maps[key] for key in keys]
        # Concatenation keeps the maps' memory layout, which stacking would not.
        return [torch.cat(level) for level in zip(*batch, strict=True)]

    def _keep(self, key: str, maps: list[Tensor]) -> None:
        size = sum(x.numel() * x.element_size() for x in maps)
        if self.size + size <= self.capacity:
            self._maps[key] = maps
            self.size += size


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
