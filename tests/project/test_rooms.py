"""Which room may import which, and who may name what of a method or of a kind of network."""

import ast
import re
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest
from project_sources import PACKAGE, ROOT, imported_modules, lines_of, sources

# tools -> cli -> benchmark -> engine -> deploy, evaluation -> distillation -> modeling, and data beside them on the
# ground.
_FILES = {"formats", "layout"}
_NETWORKS = {"hardware", "modeling", "distillation"}
ROOMS = {
    "formats": set(),
    "layout": {"formats"},
    "phantom": _FILES,
    "curation": _FILES,
    "data": _FILES | {"phantom"},
    "hardware": set(),
    "modeling": {"hardware"},
    "distillation": {"hardware", "modeling"},
    "evaluation": _FILES | _NETWORKS | {"data"},
    "deploy": _FILES | _NETWORKS | {"data"},
    "engine": _FILES | _NETWORKS | {"data", "deploy", "evaluation"},
    "benchmark": _FILES | _NETWORKS | {"data", "deploy", "evaluation", "engine"},
    "cli": _FILES | _NETWORKS | {"data", "phantom", "curation", "deploy", "evaluation", "engine", "benchmark"},
}
# Files beside the rooms. Every room may use these; they use no room.
GROUND = {
    "command",
    "config",
    "drawing",
    "env",
    "files",
    "library_settings",
    "pages",
    "places",
    "plugins",
    "provenance",
}
# The greatest share of the lines that a room may have.
MOST_SHARE = 0.15
MATHEMATICS = [
    "modeling/gfl/gfl_losses.py",
    "modeling/gfl/assigner.py",
    "modeling/heatmap/gaussian_targets.py",
    "modeling/heatmap/heatmap_losses.py",
    "modeling/heatmap/peaks.py",
    "modeling/heatmap/dark.py",
    "modeling/heatmap/auxiliary_tasks.py",
    "modeling/heatmap/heatmap_head.py",
    "modeling/nmode/nmode_block.py",
    "modeling/nmode/nmode_solvers.py",
    "modeling/nmode/flow_map.py",
    "distillation/methods/meddet/fusion.py",
    "distillation/methods/meddet/adversarial.py",
    "distillation/feature_cache.py",
    "distillation/distiller.py",
    "distillation/tasks/*.py",
    "distillation/methods/*.py",
    "distillation/methods/baselines/*.py",
    "distillation/methods/meddet/meddet_distiller.py",
]


def test_rooms_import_downward_only():
    wrong = []
    for room, below in ROOMS.items():
        for path in sources(PACKAGE / room):
            for name in imported_modules(path):
                parts = name.split(".")
                if parts[0] == "tools" or (parts[0] == "meddet_d2" and len(parts) > 1):
                    target = parts[1] if parts[0] == "meddet_d2" else "tools"
                    if target not in below | GROUND | {room, "__version__"}:
                        wrong.append(f"{path.relative_to(ROOT)} imports {name}")
    assert not wrong


def test_ground_imports_no_room():
    for name in GROUND:
        paths = sources(PACKAGE / name) or [PACKAGE / f"{name}.py"]
        for path in paths:
            modules = [module.split(".") for module in imported_modules(path)]
            assert not [
                parts for parts in modules if parts[0] == "meddet_d2" and len(parts) > 1 and parts[1] not in GROUND
            ], path


def test_every_folder_of_the_package_is_a_room_or_ground():
    folders = {path.name for path in PACKAGE.iterdir() if path.is_dir() and sources(path)}
    files = {path.stem for path in PACKAGE.glob("*.py")} - {"__init__", "__main__"}
    assert folders | files == set(ROOMS) | GROUND


def module_imports(path: Path) -> set[Path]:
    """The package's files that a file imports when it is itself imported, not later in a function."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    later = [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)]
    later += [node for node in ast.walk(tree) if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.dump(node.test)]
    left_out = {id(inner) for node in later for inner in ast.walk(node)}
    package, found = path.relative_to(ROOT).parent.parts, set()
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and id(node) not in left_out:
            base = package[: len(package) - node.level + 1] if node.level else ()
            folder = ROOT.joinpath(*base, *(node.module or "").split("."))
            for alias in node.names:
                choices = (folder / f"{alias.name}.py", folder / alias.name / "__init__.py")
                choices += (folder.with_suffix(".py"), folder / "__init__.py")
                found |= {choice for choice in choices if choice.is_file() and choice.is_relative_to(PACKAGE)}
                found -= {folder / "__init__.py"} if any(choice.is_file() for choice in choices[:2]) else set()
    # Importing the package itself finds the engine; all of it begins with that.
    return found - {PACKAGE / "__init__.py", path}


def test_imports_make_no_circle():
    graph = {path: module_imports(path) for path in sources(PACKAGE)}
    try:
        list(TopologicalSorter(graph).static_order())
    except CycleError as error:
        pytest.fail(" -> ".join(str(path.relative_to(ROOT)) for path in error.args[1]))


def test_no_room_is_too_large():
    lines = {room: sum(map(lines_of, sources(PACKAGE / room))) for room in ROOMS}
    whole = sum(map(lines_of, sources(PACKAGE)))
    assert not {room: f"{share / whole:.1%}" for room, share in lines.items() if share > MOST_SHARE * whole}


@pytest.mark.parametrize("pattern", MATHEMATICS)
def test_mathematics_knows_no_engine(pattern):
    paths = list(PACKAGE.glob(pattern))
    assert paths
    wrong = [str(path) for path in paths for name in imported_modules(path) if name.split(".")[0] == "detectron2"]
    assert not wrong


# Who may name a kind of network, a part of a method, or an evaluator's metrics; all others ask the task, the method or
# the evaluator.
SEAM = {
    r"\bGFL\b": [
        "config/class_names.py", "config/model_keys.py", "modeling/*",
        "distillation/tasks/boxes_gfl.py", "distillation/methods/baselines/ld.py",
        "deploy/gfl_export.py", "deploy/graph.py", "deploy/prediction_run.py",
        # They read or name MODEL.GFL.NUM_CLASSES, until the number of classes is a key of all kinds of networks.
        "config/class_names.py", "data/registration.py", "deploy/torch_predictor.py",
    ],
    r"\bLandmarkDetector\b": ["modeling/*", "distillation/tasks/heatmap.py"],
    r"AATM|[dD]iscriminator": [
        "config/distill_keys.py", "config/renamed_keys.py", "distillation/methods/meddet/*",
    ],
    r"[\"'f]bbox/": ["evaluation/detection_evaluator.py"],
}  # fmt: skip


def words_of(path: Path) -> str:
    """A file's names and texts, without its comments and docstrings, which may tell about anything."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef) and ast.get_docstring(node) is not None:
            node.body = node.body[1:] or [ast.Pass()]
    return ast.unparse(tree)


@pytest.mark.parametrize("pattern", SEAM)
def test_the_seam_has_no_gap(pattern):
    allowed = {path for place in SEAM[pattern] for path in PACKAGE.glob(place)}
    allowed |= {file for path in allowed if path.is_dir() for file in path.rglob("*.py")}
    wrong = [path for path in sources(PACKAGE) if path not in allowed and re.search(pattern, words_of(path))]
    assert not [path.relative_to(PACKAGE).as_posix() for path in wrong]
