"""Random numbers that a run can stop and go on with: their state as plain values, and blocks that leave it alone."""

import random
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, cast

import numpy as np
import torch


def random_state() -> dict[str, Any]:
    """The state of Python's, numpy's and torch's global generators, and of the current CUDA device's if it is in use.

    Returns:
        Tensors and plain values alone, so that a checkpoint with them needs no pickle.
    """
    name, keys, position, has_gauss, gauss = cast(tuple, np.random.get_state())
    version, words, next_gauss = random.getstate()
    state = {
        "python": [version, list(words), next_gauss],
        "numpy": [name, torch.from_numpy(keys.astype(np.int64)), int(position), int(has_gauss), float(gauss)],
        "torch": torch.get_rng_state(),
    }
    if torch.cuda.is_initialized():
        state["cuda"] = torch.cuda.get_rng_state()
    return state


def set_random_state(state: dict[str, Any]) -> None:
    """Put back what :func:`random_state` gave; CUDA's only where there is CUDA."""
    version, words, next_gauss = state["python"]
    random.setstate((version, tuple(words), next_gauss))
    name, keys, *rest = state["numpy"]
    np.random.set_state((name, keys.numpy().astype(np.uint32), *rest))
    torch.set_rng_state(state["torch"])
    if "cuda" in state and torch.cuda.is_available():
        torch.cuda.set_rng_state(state["cuda"])


@contextmanager
def preserved_randomness() -> Iterator[None]:
    """After the block the generators are as they were before it: what happens in it has no influence on training."""
    state = random_state()
    try:
        yield
    finally:
        set_random_state(state)


@contextmanager
def seeded_randomness(*numbers: int) -> Iterator[None]:
    """Within the block the CPU's generators start from these numbers, all >= 0; after it all are as before."""
    # Different words for each generator: Python's and numpy's would give the same numbers from the same ones.
    words = np.random.SeedSequence(numbers).generate_state(10)
    with preserved_randomness():
        random.seed(words[:4].tobytes())
        np.random.seed(words[4:8])
        # Not torch.manual_seed, which seeds CUDA's generators too.
        torch.random.default_generator.manual_seed(int.from_bytes(words[8:].tobytes(), "little") % 2**63)
        yield
