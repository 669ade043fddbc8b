"""Results on disk: a file is there in full or not at all."""

import hashlib
import json
import math
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any


@contextmanager
def replacing(path: str | os.PathLike) -> Iterator[Path]:
    """A temporary file beside ``path``, to be written in the block and renamed to ``path`` at its end.

    After an error in the block, whatever ``path`` held before is untouched and the temporary file is gone.

    Args:
        path: its folder is made if it does not exist.

    Yields:
        The temporary file's path, with the suffix of ``path``.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.stem}.{os.getpid()}{path.suffix}")
    try:
        yield temporary
        with open(temporary, "rb+") as file:
            # Or a crash could leave the new name on content that never reached the disk.
            os.fsync(file.fileno())
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def checksum(path: str | os.PathLike) -> str:
    """The SHA-256 of a file, in hexadecimal digits."""
    hashed = hashlib.sha256()
    with open(path, "rb") as file:
        while block := file.read(2**20):
            hashed.update(block)
    return hashed.hexdigest()


def write_json(path: str | os.PathLike, content: Any) -> None:
    """Write ``content`` as json with every digit. What is not a finite number becomes null, since json has no NaN."""
    with replacing(path) as temporary:
        temporary.write_text(json.dumps(_finite(content), indent=2, allow_nan=False) + "\n", encoding="utf-8")


def _finite(content: Any) -> Any:
    if isinstance(content, Mapping):
        return {key: _finite(value) for key, value in content.items()}
    if isinstance(content, Sequence) and not isinstance(content, str):
        return [_finite(value) for value in content]
    if isinstance(content, float) and not math.isfinite(content):
        return None
    return content
