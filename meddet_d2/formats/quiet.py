"""What the file libraries say while they read does not get out: they quote the file, and a file names its patient.

Nor do their errors, which have dozens of types.
"""

import logging
import threading
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from .records import ReadError

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
            warnings.showwarning = lambda *_, **__: None
            for logger in loggers:
                logger.disabled, logger.propagate = True, False
                logger.addHandler(nowhere)
            yield
        finally:
            warnings.showwarning = shown
            for logger, (disabled, propagate) in zip(loggers, before, strict=True):
                logger.disabled, logger.propagate = disabled, propagate
                logger.removeHandler(nowhere)


@contextmanager
def reading(path: Path, damaged: Callable[[str], str]) -> Iterator[None]:
    """In the block, which is `quiet`, every error becomes a ReadError that names the file.

    Args:
        path: the file.
        damaged: a reason for an error of a library, by its type's name. The error's text may quote the file.

    Raises:
        ReadError: with the block's own reason, or that of ``damaged``.
    """
    with quiet():
        try:
            yield
        except ReadError as error:
            raise ReadError(error.reason, path) from None
        except Exception as error:
            raise ReadError(damaged(type(error).__name__), path) from None
