"""What a speed benchmark has found, by group: seconds, ratios of medians, operators, memory, and what failed."""

import statistics
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch

from meddet_d2.evaluation.timing import interleaved_seconds, quartiles


class SpeedReport:
    """Figures by group and name. A group's figures are of one device.

    Args:
        rounds: timed calls of each part, at least 3.

    Attributes:
        seconds: of every timed call.
        images: that one call has, where it is a throughput.
        ratios: of medians; None where a call of the two has none.
        launches: of 2 and 16 images, by part: {"kernels", "waits"}.
        memory: peaks in GiB.
        devices: of each group.
        notes: what was not measured, and why; one sentence each.
    """

    def __init__(self, rounds: int) -> None:
        self.rounds = rounds
        self.seconds: dict[str, dict[str, list[float]]] = {}
        self.images: dict[str, dict[str, int]] = {}
        self.ratios: dict[str, dict[str, float | None]] = {}
        self.launches: dict[str, dict[str, dict[int, dict[str, int]]]] = {}
        self.memory: dict[str, dict[str, float]] = {}
        self.devices: dict[str, str] = {}
        self.notes: list[str] = []

    def group(self, name: str, device: str) -> str:
        """The name of a group of a device, see :func:`named`."""
        group = named(name, device)
        self.devices[group] = device
        return group

    @contextmanager
    def allowing_failure(self, what: str) -> Iterator[None]:
        """In the block a GPU may run out of memory: the block ends there, and a note says so."""
        try:
            yield
            return
        except torch.cuda.OutOfMemoryError:
            self.notes.append(f"{what} was not measured: the GPU has not enough memory.")
        # Here the error and what it refers to are gone.
        torch.cuda.empty_cache()

    def time(
        self, group: str, calls: Mapping[str, Callable[[], object]], *, images: int | None = None, **options: Any
    ) -> None:
        """Time some calls of a group in rounds, with options of :func:`interleaved_seconds`.

        A call for which the GPU has not enough memory is left out, and a note says so.

        Args:
            group: as :meth:`group` names it.
            calls: by name.
            images: that each call has; None: no throughput.
        """
        able = {}
        for name, call in calls.items():
            with self.allowing_failure(f"{group}, {name},"):
                call()
                able[name] = call
        if able:
            # The calls before were a round of warming up.
            found = interleaved_seconds(able, rounds=self.rounds, warmup=1, label=group, **options)
            self.seconds.setdefault(group, {}).update(found)
            if images:
                self.images.setdefault(group, {}).update(dict.fromkeys(found, images))

    def median(self, group: str, name: str) -> float | None:
        """Seconds of one call; None if it has no figure."""
        values = self.seconds.get(group, {}).get(name)
        return statistics.median(values) if values else None

    def ratio(self, group: str, name: str, dividend: str, *divisors: str, timed_in: str = "") -> None:
        """Keep a median over the sum of others, of a group or of the group ``timed_in``, under ``group.name``."""
        over, *under = (self.median(timed_in or group, call) for call in (dividend, *divisors))
        known = [value for value in under if value is not None]
        value = over / sum(known) if over is not None and len(known) == len(under) else None
        self.ratios.setdefault(group, {})[name] = value

    def to_json(self) -> dict[str, Any]:
        """The ratios by group; "milliseconds", median and quartiles of every call; and all else by its name."""
        spread = {
            group: {name: quartiles([1000 * value for value in values]) for name, values in calls.items()}
            for group, calls in self.seconds.items()
        }
        rates = {
            group: {name: count / statistics.median(self.seconds[group][name]) for name, count in calls.items()}
            for group, calls in self.images.items()
        }
        return {
            **self.ratios,
            "milliseconds": spread,
            "images_per_second": rates,
            "launches": self.launches,
            "memory_gib": self.memory,
            "devices": self.devices,
            "rounds": self.rounds,
            "notes": self.notes,
        }


def named(name: str, device: str) -> str:
    """What belongs to the CPU has the plain name, and what belongs to a GPU "name_cuda"."""
    return name if device == "cpu" else f"{name}_{device}"
