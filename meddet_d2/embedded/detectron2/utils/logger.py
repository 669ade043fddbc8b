"""Loggers: coloured on the terminal of the main process, plain in ``log.txt``."""

import functools
import logging
import os
import sys

from termcolor import colored

from .file_io import PathManager

_PREFIX = "[%(asctime)s %(name)s %(levelname)s]: "


@functools.lru_cache  # a second call with the same arguments must not print every line twice
def setup_logger(
    output: str | None = None, distributed_rank: int = 0, *, color: bool = True, name: str = "detectron2"
) -> logging.Logger:
    """Set up the logger ``name``, to the terminal and to ``output``: a .txt or .log file, or the folder of ``log.txt``.

    Processes other than the main one print nothing and append their rank to the file's name.
    """
    logger = logging.getLogger(name)
    logger.setLevel(logging.DEBUG)
    logger.propagate = False
    handlers: list[tuple[logging.Handler, str]] = []
    if distributed_rank == 0:
        handlers.append((logging.StreamHandler(sys.stdout), colored(_PREFIX, "green") if color else _PREFIX))
    if output is not None:
        path = output if output.endswith((".txt", ".log")) else os.path.join(output, "log.txt")
        PathManager.mkdirs(os.path.dirname(path) or ".")
        handlers.append((logging.FileHandler(path + f".rank{distributed_rank}" * (distributed_rank > 0)), _PREFIX))
    for handler, prefix in handlers:
        handler.setFormatter(logging.Formatter(prefix + "%(message)s", datefmt="%m/%d %H:%M:%S"))
        logger.addHandler(handler)
    return logger
