"""Reading a config file: its bases, its overrides, and one line for every mistake in it."""

import difflib
import functools
import os
import re
import shlex
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from detectron2.config import CfgNode as CN
from detectron2.config import get_cfg

from ..files import read_yaml
from ..places import expanded, find_config
from ..plugins import load_plugins, loaded_plugins, require_plugins
from .keys import add_meddet_config
from .renamed_keys import renamed, renamed_overrides

# The keys that hold a path, or several. In them ~ and $VARIABLES are replaced.
PATHS = (
    "OUTPUT_DIR",
    "MODEL.WEIGHTS",
    "DISTILL.TEACHERS.CONFIGS",
    "DISTILL.TEACHERS.WEIGHTS",
    "DISTILL.TEACHERS.CACHE_DIR",
)
# A config and all the files under it.
MOST_BASES = 100
# What a config says of a value of another type; between these words it quotes both values, a whole section even.
_WRONG_TYPE = re.compile(
    r"Type mismatch \(<class '(?P<expected>[^']*)'> vs\. <class '(?P<given>[^']*)'>\) .* for config key: (?P<key>\S+)",
    re.DOTALL,
)


def load_config(path: str, overrides: Sequence = (), *, overlay: str | None = None) -> CN:
    """Read a config file of this project.

    The teachers' config files that it names are looked up beside it and then beside the files under it (``_BASE_``);
    one that is not there is left as it is, to be found from the working directory.

    Args:
        path: a yaml file, or the name of one of the project's own (:func:`meddet_d2.places.find_config`).
        overrides: KEY, VALUE, KEY, VALUE, ...
        overlay: a second yaml file, read after the first and before the overrides.

    Returns:
        The whole config, not frozen. Its paths have no ``~`` and no ``$VARIABLES`` in them.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: a key does not exist, a value is of the wrong type, the overrides do not pair up, a path names a
            variable that is not set, the file is no yaml, or a plugin that it was used with is not loaded.
    """
    load_plugins()
    if len(overrides) % 2:
        raise ValueError(f"The overrides must be KEY VALUE pairs, but the last one has no value: {overrides[-1]}.")
    cfg = get_cfg()
    add_meddet_config(cfg)
    optional = {key for key, value in entries(cfg) if value is None}
    try:
        for given in [path] if overlay is None else [path, overlay]:
            where = find_config(str(given))
            if not Path(where).is_file():
                raise FileNotFoundError(
                    f"The config file {where or '(none)'} does not exist; configs/ has the project's."
                )
            files = _with_bases(Path(where))
            for where, content in reversed(files):
                for part in renamed(content, str(where)):
                    cfg.merge_from_other_cfg(CN(part))
                _check_values(cfg, optional, where)
            folders = dict.fromkeys(file.parent for file, _ in files)
            cfg.DISTILL.TEACHERS.CONFIGS = tuple(
                _find_teacher(entry, folders) for entry in cfg.DISTILL.TEACHERS.CONFIGS
            )
        where = f"{where} with its overrides"
        cfg.merge_from_list(renamed_overrides(overrides))
        _check_values(cfg, optional, where)
    except (KeyError, AssertionError) as error:
        message = str(error.args[0]) if error.args else "a key that does not exist"
        raise ValueError(f"{where}: {message}{_suggestion(cfg, message)}") from error
    except (MemoryError, RecursionError, TypeError) as error:
        # Texts are read as Python's literals, whose parser says these of brackets by the hundred and of lists as keys.
        raise ValueError(f"{where}: one of the values cannot be read, for its brackets; see configs/.") from error
    except ValueError as error:
        wrong = _WRONG_TYPE.fullmatch(str(error))
        if wrong is None:
            raise
        is_section = wrong["expected"].endswith("CfgNode")
        expected = "a section of keys" if is_section else f"of type {wrong['expected']}"
        given = "nothing" if wrong["given"] == "NoneType" else wrong["given"]
        raise ValueError(f"{where}: {wrong['key']} must be {expected}, not {given}.") from error
    require_plugins(cfg.PLUGINS, where.removesuffix(" with its overrides"))
    cfg.PLUGINS = loaded_plugins()
    return cfg


def split_teacher(entry: str) -> tuple[str, list[str]]:
    """The config file and the overrides of an entry of ``DISTILL.TEACHERS.CONFIGS``, "FILE KEY VALUE KEY VALUE ...".

    A key has a dot in it, so that a file's name may have spaces.

    Raises:
        ValueError: a quotation mark is not closed.
    """
    file, *overrides = re.split(r"\s+(?=[A-Z][A-Z0-9_]*(?:\.[A-Z0-9_]+)+(?:\s|$))", entry.strip(), maxsplit=1)
    try:
        return file, shlex.split(overrides[0]) if overrides else []
    except ValueError as error:
        raise ValueError(f"DISTILL.TEACHERS.CONFIGS: {entry} cannot be read ({error}).") from error


def _find_teacher(entry: str, folders: Iterable[Path]) -> str:
    """An entry of DISTILL.TEACHERS.CONFIGS, its file in the first of ``folders`` that has it."""
    file, _ = split_teacher(entry)
    places = (os.path.normpath(folder / file) for folder in folders)
    return next((place for place in places if os.path.isfile(place)), file) + entry.strip()[len(file) :]


def _check_values(cfg: CN, optional: set[str], where: str) -> None:
    """Replace ~ and $VARIABLES in the values of PATHS.

    Raises:
        ValueError: a key has no value, which a config takes for any type, or a path cannot be one.
    """
    empty = [key for key, value in entries(cfg) if value is None and key not in optional]
    if empty:
        raise ValueError(f"{where}: {empty[0]} has no value; give it one, or leave it out.")
    for key in PATHS:
        *sections, name = key.split(".")
        node = functools.reduce(getattr, sections, cfg)
        value = node[name]
        if not all(isinstance(path, str) for path in ([value] if isinstance(value, str) else value)):
            raise ValueError(f"{where}: {key} must name files, but it is {value}.")
        try:
            node[name] = expanded(value) if isinstance(value, str) else tuple(map(expanded, value))
        except ValueError as error:
            raise ValueError(f"{where}: {key}: {error}.") from error


def _with_bases(path: Path) -> list[tuple[Path, dict]]:
    """A config file and those that its ``_BASE_`` names, each with its keys: what is written later goes first.

    Raises:
        FileNotFoundError: a file under it is not there.
        ValueError: one of the files is no yaml of keys and values, or there is no end to them.
    """
    found: list[tuple[Path, dict]] = []
    waiting = [path]
    while waiting:
        file = waiting.pop()
        if len(found) == MOST_BASES:
            raise ValueError(f"{path} stands on more than {MOST_BASES} files; does a _BASE_ lead back to its own file?")
        content = read_yaml(file)
        if not isinstance(content, dict) or not _all_texts(content):
            raise ValueError(f"{file} holds no keys and values, or a key that is no text; see configs/.")
        found.append((file, content))
        bases = content.pop("_BASE_", [])
        bases = [bases] if isinstance(bases, str) else bases
        if not isinstance(bases, list) or not all(isinstance(base, str) for base in bases):
            raise ValueError(f"{file}: _BASE_ is {bases!r}; give the name of a config file, or a list of them.")
        for base in bases:
            try:
                beside, own = file.parent / expanded(base), find_config(base)
            except ValueError as error:
                raise ValueError(f"{file}: _BASE_: {error}.") from error
            # One of the project's own configs, for files that lie elsewhere.
            waiting.append(Path(own) if os.path.isfile(own) and not os.path.isfile(beside) else beside)
            # A name that is too long for the system is no file either.
            if not os.path.isfile(waiting[-1]):
                raise FileNotFoundError(f"{file}: its _BASE_ {waiting[-1]} does not exist; correct it.")
    return found


def _all_texts(content: dict) -> bool:
    """Whether all keys of a table, and of the tables in it, are texts."""
    return all(
        isinstance(key, str) and (not isinstance(value, dict) or _all_texts(value)) for key, value in content.items()
    )


def _suggestion(cfg: CN, message: str) -> str:
    """The existing keys that look most like the one a message ends with."""
    close = difflib.get_close_matches(message.split()[-1], [key for key, _ in entries(cfg)], n=2)
    return f"; did you mean {' or '.join(close)}?" if close else ""


def entries(node: Mapping, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Every key of a config or of its plain dicts, by its whole name, with its value; sections too."""
    for key, value in node.items():
        yield prefix + key, value
        if isinstance(value, dict):
            yield from entries(value, f"{prefix}{key}.")
