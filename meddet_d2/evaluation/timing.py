"""How long calls take, side by side.

A machine's speed drifts (other programs, heat), by more than networks differ. So the timed calls are interleaved in
rounds, A B C D A B C D ..., and all are compared under the same drift. torch.utils.benchmark times one call after the
other, each after its warm-up calls, and cannot do this.
"""

import statistics
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial

import torch
from torch import nn
from tqdm import tqdm

# Fewer values have no quartiles.
LEAST_ROUNDS = 3


@contextmanager
def inferring(*models: nn.Module) -> Iterator[None]:
    """In the block the models are in eval mode, and no gradients are kept; then each is in the mode it was in."""
    training = [model.training for model in models]
    for model in models:
        model.eval()
    try:
        with torch.no_grad():
            yield
    finally:
        for model, mode in zip(models, training, strict=True):
            model.train(mode)


def throughputs(
    models: Mapping[str, nn.Module],
    batch: list[dict],
    *,
    rounds: int = 11,
    warmup: int = 2,
    max_seconds: float = float("inf"),
) -> dict[str, dict[str, float]]:
    """Images per second of several detectors, from decoded images to boxes, interleaved.

    Args:
        models: by name, on their device; each is left in the mode it was in.
        batch: what each is called with.
        rounds, warmup, max_seconds: as in :func:`interleaved_seconds`.

    Returns:
        :func:`quartiles` of each.

    Raises:
        ValueError: an empty batch, fewer than 3 rounds, or no model.
    """
    if not batch:
        raise ValueError("Timing got an empty batch; give it at least one image.")
    with inferring(*models.values()):
        calls = {name: partial(model, batch) for name, model in models.items()}
        seconds = interleaved_seconds(calls, rounds=rounds, warmup=warmup, max_seconds=max_seconds)
    return {name: quartiles([len(batch) / value for value in values]) for name, values in seconds.items()}


def quartiles(values: Sequence[float]) -> dict[str, float]:
    """ "median", and the quartiles "low" and "high" on either side of it."""
    low, median, high = statistics.quantiles(values, n=4, method="inclusive")
    return {"median": median, "low": low, "high": high}


def interleaved_seconds(
    calls: Mapping[str, Callable[[], object]],
    *,
    rounds: int,
    warmup: int = 2,
    pause: float = 0.0,
    prime: bool = False,
    max_seconds: float = float("inf"),
    label: str = "",
    clock: Callable[[], float] = time.perf_counter,
) -> dict[str, list[float]]:
    """Time several calls in rounds, on a GPU each to the end of its kernels.

    Args:
        calls: by name.
        rounds: timed calls of each, at least 3.
        warmup: rounds before the first timed one (caches, memory, kernel selection).
        pause: seconds before each call, for calls of different libraries: one's idle threads spin for a while, and
            would take the cores from the next.
        prime: make each call once untimed before it is timed, so that the caches are its own and it does not matter
            what ran before.
        max_seconds: end after this time of timed rounds, but not before the third.
        label: what is timed, for the progress bar.
        clock: gives seconds.

    Returns:
        Seconds of each call, one for each round.

    Raises:
        ValueError: fewer than 3 rounds, or nothing to call.
    """
    if rounds < LEAST_ROUNDS or not calls:
        raise ValueError(f"Timing needs at least one network and 3 rounds for a median and quartiles, got {rounds}.")
    seconds: dict[str, list[float]] = {name: [] for name in calls}
    start = clock()
    for turn in tqdm(range(-warmup, rounds), desc=f"Timing {label}".strip(), unit="round", disable=None, leave=False):
        if turn == 0:
            start = clock()
        if turn >= LEAST_ROUNDS and clock() - start >= max_seconds:
            break
        for name, call in calls.items():
            time.sleep(pause)
            if prime:
                call()
            _synchronize()
            begin = clock()
            call()
            _synchronize()
            if turn >= 0:
                seconds[name].append(clock() - begin)
    return seconds


def noise_batch(size: int, images: int = 1, seed: int = 0) -> list[dict]:
    """Images of noise, in a detector's input format.

    Args:
        size: height and width in pixels.
        images: how many.
        seed: of the noise.

    Raises:
        ValueError: a size or a number below 1.
    """
    if size < 1 or images < 1:
        raise ValueError(f"Timing needs images of at least one pixel, and at least one; got {images} of size {size}.")
    generator = torch.Generator().manual_seed(seed)
    shape = (images, 3, size, size)
    noise = torch.randint(0, 256, shape, generator=generator, dtype=torch.uint8)
    return [{"image": image, "height": size, "width": size} for image in noise]


def _synchronize() -> None:
    if torch.cuda.is_initialized():
        torch.cuda.synchronize()
