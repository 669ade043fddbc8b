"""Remembering the teachers' maps: an image that is shown again unchanged need not go through the teachers again."""

import hashlib
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from .feature_store import FeatureStore

# Maps of one image, (1, C, H, W) each, under its digest and its height and width with padding.
Maps = list[Tensor]
Key = tuple[bytes, tuple[int, ...]]


class FeatureCache:
    """Maps of images by their content, so that a stale or a wrong one cannot be handed out.

    The key is a digest of the image that the network is shown, and the size it is padded to. An augmentation that
    changes the image therefore costs the memory and gains nothing; one run over the data without any fills the cache,
    and from then on the frozen network is idle. When the memory is used up, what is there stays and nothing is added:
    with images drawn at random, whatever is thrown out would be as likely to come next as what replaces it.

    Each image is shown to the network by itself: a convolution over several rounds otherwise than over one, and then
    what a run learns would depend on which images it had remembered, and be another after a resume. Without a cache the
    teachers see a batch at once, so their maps are the same but for that rounding.

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
        self._maps: dict[Key, Maps] = {}

    def __len__(self) -> int:
        return len(self._maps)

    def __call__(
        self, digests: Sequence[bytes], images: Tensor, compute: Callable[[Tensor], Sequence[Tensor]]
    ) -> list[Tensor]:
        """The maps of a batch, from memory or disk where an image was seen before.

        Args:
            digests: N, each of an image, before what the network itself does to it.
            images: (N, C, H, W), the same images, normalised and padded.
            compute: called with each image (1, C, H, W) that is not in memory; returns its L maps (1, C, H_l, W_l).

        Returns:
            L maps (N, C, H_l, W_l) in the order of the images.
        """
        keys = [(one, tuple(images.shape[-2:])) for one in digests]
        # Those of this batch that memory has no room for.
        made = self._read({key for key in keys if key not in self._maps}, images.device)
        # A batch may hold one image twice; one of them is enough.
        missing = {key: i for i, key in enumerate(keys) if key not in self._maps and key not in made}
        self.hits += len(keys) - len(missing)
        self.misses += len(missing)
        for key, i in missing.items():
            made[key] = [x.clone() for x in compute(images[i : i + 1])]
            if self.store is not None:
                self.store.save(_name(key), made[key])
        for key, maps in made.items():
            self._keep(key, maps)
        found = [made[key] if key in made else self._maps[key] for key in keys]
        # Concatenation keeps the maps' memory layout, which stacking would not.
        return [torch.cat(level) for level in zip(*found, strict=True)]

    def _read(self, keys: set[Key], device: torch.device) -> dict[Key, Maps]:
        if self.store is None:
            return {}
        found = {key: self.store.load(_name(key), device) for key in keys}
        return {key: maps for key, maps in found.items() if maps is not None}

    def _keep(self, key: Key, maps: Maps) -> None:
        size = sum(x.numel() * x.element_size() for x in maps)
        if self.size + size <= self.capacity:
            self._maps[key] = maps
            self.size += size


def _name(key: Key) -> str:
    one, (height, width) = key
    return f"{one.hex()}-{height}x{width}"


def digest(image: Tensor) -> bytes:
    """Of an image's size, type and values."""
    values = image.detach().cpu().contiguous().numpy()
    hashed = hashlib.blake2b(f"{values.shape} {values.dtype}".encode(), digest_size=16)
    hashed.update(values)
    return hashed.digest()
