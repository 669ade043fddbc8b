"""Results on disk: a file is there in full or not at all. And text, json and yaml, read so that none can do harm."""

import codecs
import hashlib
import json
import math
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TextIO

# Why `walk` leaves something out.
HIDDEN, AGAIN = "begins with a dot", "was read already"


def walk(root: Path, seen: set[tuple[int, int]] | None = None) -> Iterator[tuple[Path, str]]:
    """What lies below a folder and the folders that it links to, in the order of names, a folder's files first.

    Args:
        root: the folder.
        seen: device and inode of the folders that are not entered again; gets those of this walk.

    Yields:
        A file and "", or what is left out and why: HIDDEN, AGAIN (of a folder), or that a folder cannot be opened.
    """
    seen = set() if seen is None else seen
    refused: list[OSError] = []
    # Not Path.walk, which Python 3.10 has not.
    for name, folders, files in os.walk(root, followlinks=True, onerror=refused.append):
        here = os.stat(name)
        if (here.st_dev, here.st_ino) in seen:
            # A link to a folder above it, or the same folder given twice.
            folders.clear()
            yield Path(name), AGAIN
            continue
        seen.add((here.st_dev, here.st_ino))
        yield from ((Path(name, entry), HIDDEN) for entry in sorted(folders + files) if entry.startswith("."))
        folders[:] = sorted(entry for entry in folders if not entry.startswith("."))
        yield from ((Path(name, entry), "") for entry in sorted(files) if not entry.startswith("."))
    yield from ((Path(error.filename), f"cannot be opened ({error.strerror})") for error in refused)


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


def refuse_existing(output: Path, names: Iterable[str], *, force: bool) -> None:
    """Look, before any work, whether a folder for results can take them.

    Raises:
        ValueError: it is a file, or holds some of ``names`` and ``force`` is not set. One line.
    """
    if output.exists() and not output.is_dir():
        raise ValueError(f"{output} is a file; give --output a folder.")
    there = [name for name in names if (output / name).exists()]
    if there and not force:
        raise ValueError(f"{output} holds {', '.join(there)} already; add --force to replace earlier results.")


def check_key(key: Path, output: Path, *, force: bool) -> None:
    """Look, before any work, whether the secret table of who is who can be written.

    Raises:
        ValueError: it would lie in the folder of results, or replace a file and ``force`` is not set. One line.
    """
    if key.resolve().is_relative_to(output.resolve()):
        raise ValueError(f"--key {key} lies in {output}, which is to be passed on; put it elsewhere.")
    if key.exists() and not force:
        raise ValueError(f"--key {key} is there already; add --force to replace it.")


@contextmanager
def new_table(path: str | os.PathLike, *, mode: int = 0o666) -> Iterator[TextIO]:
    """A file for csv, made at once, so that a place that cannot be written is known, and in place when it is complete.

    A file's name in it may hold bytes that are no text.

    Args:
        path: as for `replacing`.
        mode: who may use the file, as chmod has it.
    """

    def create(name: str, flags: int) -> int:
        return os.open(name, flags | os.O_EXCL, mode)

    with (
        replacing(path) as temporary,
        open(temporary, "w", encoding="utf-8", errors="surrogateescape", newline="", opener=create) as file,
    ):
        yield file


def read_text(path: str | os.PathLike) -> str:
    """A text file in UTF-8, with or without byte-order mark, or in UTF-16 with one, as spreadsheets write it.

    Raises:
        OSError: it cannot be read.
        ValueError: it is in another encoding. One line without a full stop, which names no file.
    """
    data = Path(path).read_bytes()
    wide = data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
    try:
        return data.decode("utf-16" if wide else "utf-8-sig")
    except UnicodeDecodeError as error:
        raise ValueError("is not UTF-8 text; save it as UTF-8") from error


def read_json_object(path: str | os.PathLike) -> dict[str, Any]:
    """A json file that holds one object. NaN and Infinity, which some tools write, are left for its user to refuse.

    Raises:
        OSError: it cannot be read.
        ValueError: it is none, or a key stands twice in one object: json's readers then drop the first without a word.
            One line without a full stop, which names no file.
    """

    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        found = dict(pairs)
        if len(found) < len(pairs):
            keys = [key for key, _ in pairs]
            raise ValueError(f"the key '{next(key for key in keys if keys.count(key) > 1)}' stands twice in one object")
        return found

    text = read_text(path)
    try:
        content = json.loads(text, object_pairs_hook=unique)
    # RecursionError: brackets nested by the thousand.
    except (ValueError, RecursionError) as error:
        raise ValueError(f"is no json ({error})") from error
    if not isinstance(content, dict):
        raise ValueError("is json, but not an object")
    return content


# Bytes of a yaml: a hundred times the largest of this project's, and some seconds of work for the parser.
MAX_YAML = 2**20


def read_yaml(path: str | os.PathLike) -> Any:
    """A yaml file of plain values; see `parse_yaml`.

    Raises:
        OSError: it cannot be read.
        ValueError: it is no such yaml. One line, naming the file.
    """
    with open(path, "rb") as file:
        data = file.read(MAX_YAML + 1)
    try:
        return parse_yaml(data.decode("utf-8-sig"))
    except UnicodeDecodeError as error:
        raise ValueError(f"{path} is not UTF-8 text; save it as UTF-8.") from error
    except ValueError as error:
        raise ValueError(f"{path} {error}.") from error


def parse_yaml(text: str) -> Any:
    """Numbers, texts, lists and tables of a yaml.

    Raises:
        ValueError: it is none, asks for objects (!!python), is larger than MAX_YAML, or would be with its aliases
            (*name) written out: a few lines of them can stand for gigabytes. One line without a full stop, which names
            no file.
    """
    # Here, because a deployed detector does without the package.
    import yaml

    size: float = len(text)
    if size <= MAX_YAML:
        try:
            loader = yaml.SafeLoader(text)
            node = loader.get_single_node()
            size = 0 if node is None else _written_out(node, {})
            if size <= MAX_YAML:
                return None if node is None else loader.construct_document(node)
        except Exception as error:
            # Damaged numbers, dates and tags make the parser raise a dozen types.
            deep = isinstance(error, RecursionError)
            reason = "nested too deeply" if deep else " ".join(str(error).split()) or type(error).__name__
            raise ValueError(f"is not valid yaml: {reason}") from error
    raise ValueError(f"has more than {MAX_YAML} characters, with what its aliases (*name) stand for, and is not read")


def _written_out(node: Any, known: dict[int, float]) -> float:
    """The characters of a node of a yaml, and one for each node, with its aliases written out."""
    if id(node) not in known:
        known[id(node)] = math.inf  # of what holds itself
        below = [part for one in node.value for part in (one if isinstance(one, tuple) else (one,))]
        is_text = isinstance(node.value, str)
        known[id(node)] = 1 + (len(node.value) if is_text else sum(_written_out(part, known) for part in below))
    return known[id(node)]


def checksum(path: str | os.PathLike) -> str:
    """The SHA-256 of a file, in hexadecimal digits."""
    hashed = hashlib.sha256()
    with open(path, "rb") as file:
        while block := file.read(2**20):
            hashed.update(block)
    return hashed.hexdigest()


def write_text(path: str | os.PathLike, text: str) -> None:
    """Write a text file in UTF-8, whole or not at all."""
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_json(path: str | os.PathLike, content: Any) -> None:
    """Write ``content`` as json with every digit. What is not a finite number becomes null, since json has no NaN."""
    write_text(path, json.dumps(_finite(content), indent=2, allow_nan=False) + "\n")


def _finite(content: Any) -> Any:
    if isinstance(content, Mapping):
        return {key: _finite(value) for key, value in content.items()}
    if isinstance(content, Sequence) and not isinstance(content, str):
        return [_finite(value) for value in content]
    if isinstance(content, float) and not math.isfinite(content):
        return None
    return content
