"""What the file libraries say while they read does not get out: they quote the file, and a file names its patient."""

import logging
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

# Their loggers; what is below them ends at them.
LIBRARIES = ("pydicom", "nibabel", "nibabel.global", "PIL")
# How warnings are shown and the switches of loggers are the process's: two threads would restore each other's.
_LOCK = threading.RLock()


@contextmanager
def quiet() -> Iterator[None]:
    """No warning and no log record of LIBRARIES gets out of the block. One thread at a time is in it."""
    loggers = [logging.getLogger(name) for name in LIBRARIES]
    # Without any handler, logging prints a child's warnings to the terminal.
    nowhere = logging.NullHandler()
    with _LOCK:
        # Not catch_warnings: it makes Python forget which warnings of others were shown, once for every image.
        shown = warnings.showwarning
        before = [(logger.disabled, logger.propagate) for logger in loggers]
        try:
            warnings.showwarning = _not_shown
            for logger in loggers:
                logger.disabled, logger.propagate = True, False
                logger.addHandler(nowhere)
            yield
        finally:
            warnings.showwarning = shown
            for logger, (disabled, propagate) in zip(loggers, before, strict=True):
                logger.disabled, logger.propagate = disabled, propagate
                logger.removeHandler(nowhere)


def _not_shown(*_: Any, **__: Any) -> None:
    """In the place of warnings.showwarning."""
