"""Remembering the teachers' maps: an input that is shown again unchanged need not go through the teachers again."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from meddet_d2.config.arguments import require

from .feature_store import FeatureStore, bytes_of, digest


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

    """

    def __init__(self, capacity: int, store: FeatureStore | None = None):
        require(capacity >= 0, "The cache's capacity in bytes", capacity, "at least 0")
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
        # Those of this batch that memory has no room for, too. A batch may hold one input twice; one is enough.
        batch: dict[str, list[Tensor]] = {}
        for key, view in zip(keys, views, strict=True):
            maps = batch.get(key) or self._maps.get(key) or (self.store and self.store.load(key))
            if maps:
                self.hits += 1
            else:
                self.misses += 1
                maps = [x.clone() for x in compute(view)]
                if self.store:
                    self.store.save(key, maps)
            batch[key] = maps
            size = bytes_of(maps)
            if key not in self._maps and self.size + size <= self.capacity:
                self._maps[key] = maps
                self.size += size
        # Concatenation keeps the maps' memory layout, which stacking would not.
        return [torch.cat(level) for level in zip(*(batch[key] for key in keys), strict=True)]
