"""What happens during training, and those who write it down."""

import json
import logging
from collections import defaultdict
from datetime import timedelta
from itertools import takewhile

import torch
from fvcore.common.history_buffer import HistoryBuffer

from .file_io import PathManager

_STORAGES: list["EventStorage"] = []


def get_event_storage() -> "EventStorage":
    """The storage of the innermost ``with EventStorage(...)``."""
    assert _STORAGES, "get_event_storage() works inside `with EventStorage(...)` only"
    return _STORAGES[-1]


class EventStorage:
    """Scalars by name and iteration. The trainer keeps ``iter`` at its iteration."""

    def __init__(self, start_iter: int = 0):
        self.iter = int(start_iter)
        self._histories: dict[str, HistoryBuffer] = defaultdict(HistoryBuffer)
        self._smoothing_hints: dict[str, bool] = {}
        self._latest: dict[str, tuple[float, int]] = {}

    def put_scalar(self, name: str, value: float, smoothing_hint: bool = True, cur_iter: int | None = None) -> None:
        """Add a scalar. ``smoothing_hint`` says that it is noisy, and must be the same each time for a name."""
        value, iteration = float(value), self.iter if cur_iter is None else cur_iter
        hint = self._smoothing_hints.setdefault(name, smoothing_hint)
        assert hint == smoothing_hint, f"Scalar '{name}' was put with smoothing_hint={hint} before"
        self._histories[name].update(value, iteration)
        self._latest[name] = (value, iteration)

    def put_scalars(self, *, smoothing_hint: bool = True, cur_iter: int | None = None, **scalars: float) -> None:
        for name, value in scalars.items():
            self.put_scalar(name, value, smoothing_hint=smoothing_hint, cur_iter=cur_iter)

    def histories(self) -> dict[str, HistoryBuffer]:
        return self._histories

    def latest(self) -> dict[str, tuple[float, int]]:
        """The last value of each scalar and its iteration."""
        return self._latest

    def latest_with_smoothing_hint(self, window_size: int = 20) -> dict[str, tuple[float, int]]:
        """As ``latest``, but noisy scalars are medians over their last ``window_size`` iterations."""
        smoothed = {}
        for name, (value, iteration) in self._latest.items():
            if self._smoothing_hints[name]:
                value = self._histories[name].median(self.count_samples(name, window_size))
            smoothed[name] = (value, iteration)
        return smoothed

    def count_samples(self, name: str, window_size: int = 20) -> int:
        """How many of a scalar's last values fall into its last ``window_size`` iterations."""
        values = self._histories[name].values()
        return len(list(takewhile(lambda entry: entry[1] > values[-1][1] - window_size, reversed(values))))

    def __enter__(self) -> "EventStorage":
        _STORAGES.append(self)
        return self

    def __exit__(self, *exception) -> None:
        _STORAGES.remove(self)


class EventWriter:
    """Base of the writers: ``write`` is called every now and then inside the storage's context."""

    def __init__(self, window_size: int = 20):
        self._window_size, self._last_written = window_size, -1

    def write(self) -> None:
        raise NotImplementedError

    def close(self) -> None:
        pass

    def _new_scalars(self) -> list[tuple[str, float, int]]:
        """Name, smoothed value and iteration of the scalars put since the last call."""
        latest = get_event_storage().latest_with_smoothing_hint(self._window_size)
        new = [(name, value, step) for name, (value, step) in latest.items() if step > self._last_written]
        self._last_written = max((iteration for _, _, iteration in new), default=self._last_written)
        return new


class JSONWriter(EventWriter):
    """One json object a line, with "iteration" and the scalars; appended to ``json_file``."""

    def __init__(self, json_file: str, window_size: int = 20):
        super().__init__(window_size)
        self._file = PathManager.open(json_file, "a")

    def write(self) -> None:
        rows: dict[int, dict[str, float]] = defaultdict(dict)
        for name, value, iteration in self._new_scalars():
            rows[iteration][name] = value
        for iteration, row in sorted(rows.items()):
            self._file.write(json.dumps({**row, "iteration": iteration}, sort_keys=True) + "\n")
        self._file.flush()

    def close(self) -> None:
        self._file.close()


class TensorboardXWriter(EventWriter):
    """Scalars for tensorboard."""

    def __init__(self, log_dir: str, window_size: int = 20):
        super().__init__(window_size)
        from torch.utils.tensorboard import SummaryWriter  # slow to import

        self._writer = SummaryWriter(log_dir)

    def write(self) -> None:
        for name, value, iteration in self._new_scalars():
            self._writer.add_scalar(name, value, iteration)

    def close(self) -> None:
        self._writer.close()


class CommonMetricPrinter(EventWriter):
    """A line of progress: time left (given ``max_iter``), iteration, losses, "[metric]" scalars, times, lr, memory."""

    def __init__(self, max_iter: int | None = None, window_size: int = 20):
        super().__init__(window_size)
        self.logger, self._max_iter = logging.getLogger(__name__), max_iter

    def write(self) -> None:
        storage = get_event_storage()
        if storage.iter == self._max_iter:
            return  # training is over; the last iteration has been printed
        histories, parts = storage.histories(), [f"iter: {storage.iter}"]
        if "time" in histories and self._max_iter is not None:
            seconds = histories["time"].median(1000) * (self._max_iter - storage.iter - 1)
            storage.put_scalar("eta_seconds", seconds, smoothing_hint=False)
            parts.insert(0, f"eta: {timedelta(seconds=int(seconds))}")
        shown = [name for name in histories if "loss" in name] + [name for name in histories if "[metric]" in name]
        for name in dict.fromkeys(shown):
            parts.append(f"{name}: {histories[name].median(storage.count_samples(name, self._window_size)):.4g}")
        for name in ("time", "data_time"):
            if name in histories:
                average = histories[name].avg(storage.count_samples(name, self._window_size))
                parts += [f"{name}: {average:.4f}", f"last_{name}: {histories[name].latest():.4f}"]
        parts.append(f"lr: {histories['lr'].latest():.5g}" if "lr" in histories else "lr: N/A")
        if torch.cuda.is_available():
            parts.append(f"max_mem: {torch.cuda.max_memory_allocated() / 2**20:.0f}M")
        self.logger.info("  ".join(parts))
