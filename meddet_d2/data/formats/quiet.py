"""What the file libraries say while they read does not get out: they quote the file, and a file names its patient."""

import logging
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

# Their loggers and those below them.
LIBRARIES = ("pydicom", "nibabel", "nibabel.global", "PIL")
# The filters of warnings and the switches of loggers are the process's: two threads would restore each other's.
_LOCK = threading.RLock()


@contextmanager
def quiet() -> Iterator[None]:
    """No warning and no log record of LIBRARIES gets out of the block. One thread at a time is in it."""
    with _LOCK, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        loggers = [logging.getLogger(name) for name in LIBRARIES]
        before = [(logger.disabled, logger.propagate) for logger in loggers]
        # Without any handler, logging prints a child's warnings to the terminal.
        nowhere = logging.NullHandler()
        try:
            for logger in loggers:
                logger.disabled, logger.propagate = True, False
                logger.addHandler(nowhere)
            yield
        finally:
            for logger, (disabled, propagate) in zip(loggers, before, strict=True):
                logger.disabled, logger.propagate = disabled, propagate
                logger.removeHandler(nowhere)
