"""A person's own parts: files or modules that register a backbone, a fusion, a task, a method or an augmentation.

A plugin is a program, so it is loaded only where a person names it: by ``--plugin``, or in $MEDDET_PLUGINS. A config
lists the plugins that it was used with under PLUGINS, which loads none.
"""

import importlib
import importlib.util
import os
import sys
import traceback
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType

# os.pathsep between modules and absolute paths. Processes that a command starts inherit it and load the same.
VARIABLE = "MEDDET_PLUGINS"
_loaded: dict[str, ModuleType] = {}


def load_plugins(names: Sequence[str] = ()) -> None:
    """Load plugins, and those that this process has inherited; each of them once.

    Args:
        names: modules that can be imported, or Python files.

    Raises:
        ValueError: there is no such plugin, it fails, or it registers a name that is taken. One line.
    """
    lasting = [name for name in os.environ.get(VARIABLE, "").split(os.pathsep) if name]
    for name in [*lasting, *names]:
        path = Path(name).expanduser()
        is_file = path.suffix == ".py" or path.is_file()
        _load(_module_of(path) if is_file else name, name)
        kept = str(path.resolve()) if is_file else name
        if kept not in lasting:
            lasting.append(kept)
            os.environ[VARIABLE] = os.pathsep.join(lasting)


def loaded_plugins() -> tuple[str, ...]:
    """The modules of the plugins that were loaded, in order."""
    return tuple(_loaded)


def plugin_options() -> list[str]:
    """The options with which another command loads the same plugins."""
    names = [name for name in os.environ.get(VARIABLE, "").split(os.pathsep) if name]
    return [text for name in names for text in ("--plugin", name)]


def require_plugins(names: Sequence[str], where: str) -> None:
    """Refuse a config whose plugins are not loaded.

    Args:
        names: modules, as :func:`loaded_plugins` gives them.
        where: the config's file.

    Raises:
        ValueError: naming the first plugin that is missing.
    """
    missing = [name for name in names if name not in _loaded]
    if missing:
        raise ValueError(
            f"{where} was used with the plugin {missing[0]}, which is not loaded; add --plugin {missing[0]}, or"
            f" --plugin FOLDER/{missing[0]}.py if it is a file of yours."
        )


def _module_of(path: Path) -> str:
    """The name under which a file is imported: processes that unpickle its classes look for the same."""
    if not path.is_file():
        raise ValueError(f"--plugin {path}: there is no such file.")
    folder, name = str(path.resolve().parent), path.stem
    if path.suffix != ".py" or "." in name:
        raise ValueError(f"--plugin {path}: a plugin is a Python file, whose name has one dot, before py.")
    if folder not in sys.path:
        # At the end, so that the files beside a plugin hide no module.
        sys.path.append(folder)
    found = importlib.util.find_spec(name)
    if found is None or found.origin is None or Path(found.origin).resolve() != path.resolve():
        origin = found.origin if found else "nothing"
        raise ValueError(f"--plugin {path}: the module {name} is {origin} already; give the file another name.")
    return name


def _load(name: str, given: str) -> None:
    if name in _loaded:
        return
    try:
        _loaded[name] = importlib.import_module(name)
    except Exception as error:
        if isinstance(error, ModuleNotFoundError) and f"{name}.".startswith(f"{error.name}."):
            message = "there is no such module and no such file; give the path of a .py file, or install it."
        else:
            message = _taken(error) or _failure(error)
        raise ValueError(f"--plugin {given}: {message}") from error


def _taken(error: Exception) -> str | None:
    """What to say where a registry refused a second object of a name: which, and whose the first is."""
    found = [frame for frame, _ in traceback.walk_tb(error.__traceback__)][-1].f_locals
    registry, name = found.get("self"), found.get("name")
    # fvcore's Registry, which Detectron2 and this project use, asserts.
    if registry is None or not isinstance(error, AssertionError) or name not in getattr(registry, "_obj_map", {}):
        return None
    held = registry._obj_map[name]
    return (
        f"it registers {name} in the registry {registry._name}, where {held.__module__}.{held.__qualname__} has that"
        " name already; choose another."
    )


def _failure(error: Exception) -> str:
    """What went wrong in a plugin, with the last of its lines that took part."""
    steps = [step for step in traceback.extract_tb(error.__traceback__) if "importlib" not in step.filename]
    steps = [step for step in steps if step.filename != __file__]
    place = "it"
    if isinstance(error, SyntaxError):
        place = f"{error.filename}, line {error.lineno}"
    elif steps:
        last = [step for step in steps if step.filename == steps[0].filename][-1]
        place = f"{last.filename}, line {last.lineno}"
    return f"{place} fails: {type(error).__name__}: {' '.join(str(error).split())}"
