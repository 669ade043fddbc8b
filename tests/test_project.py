"""The project's own promises: how it installs, what its files say, and which room may import which."""

import ast
import json
import os
import re
import shutil
import subprocess
import sys
import zipfile
from collections import Counter
from graphlib import CycleError, TopologicalSorter
from pathlib import Path
from statistics import median

import pytest
from packaging.requirements import Requirement

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "meddet_d2"
EMBEDDED = PACKAGE / "embedded"
EMBEDDED_LINES = 2500

# tools -> cli -> benchmark -> engine -> deploy, evaluation -> distillation -> modeling, and data beside them on the
# ground.
_FILES = {"formats", "layout"}
_NETWORKS = {"modeling", "distillation"}
ROOMS = {
    "formats": set(),
    "layout": {"formats"},
    "phantom": _FILES,
    "curation": _FILES,
    "data": _FILES | {"phantom"},
    "modeling": set(),
    "distillation": {"modeling"},
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
# Greatest lines of a file, and of a script in tools/ and datasets/; greatest median; greatest share of a room.
MOST_LINES, MOST_TOOL_LINES, MOST_MEDIAN, MOST_SHARE = 400, 80, 150, 0.15
MATHEMATICS = [
    "modeling/gfl/gfl_losses.py",
    "modeling/gfl/assigner.py",
    "modeling/nmode/nmode_block.py",
    "modeling/nmode/nmode_solvers.py",
    "modeling/nmode/flow_map.py",
    "distillation/methods/meddet/alignment.py",
    "distillation/methods/meddet/fusion.py",
    "distillation/methods/meddet/adversarial.py",
    "distillation/feature_cache.py",
    "distillation/distiller.py",
    "distillation/tasks/*.py",
    "distillation/methods/*.py",
    "distillation/methods/baselines/*.py",
    "distillation/methods/meddet/meddet_distiller.py",
]
IMPORT_NAMES = {
    "pillow": "PIL",
    "opencv-python-headless": "cv2",
    "pyyaml": "yaml",
    "python-gdcm": "gdcm",
    "scikit-learn": "sklearn",
}


def imported_modules(path: Path) -> set[str]:
    """Every module imported anywhere in a file, by its absolute name; ``from a import b`` gives both a and a.b."""
    package = path.relative_to(EMBEDDED if EMBEDDED in path.parents else ROOT).parent.parts
    names = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else ()
            module = ".".join((*base, *(node.module or "").split("."))).rstrip(".")
            names |= {module} | {f"{module}.{alias.name}" for alias in node.names}
    return names


def sources(folder: Path, *, embedded: bool = False) -> list[Path]:
    return [path for path in sorted(folder.rglob("*.py")) if embedded or EMBEDDED not in path.parents]


def direct_dependencies() -> dict[str, Requirement]:
    """setup.py's install_requires and what its extras for users add, by the name that is imported."""
    calls = [node for node in ast.walk(ast.parse((ROOT / "setup.py").read_text())) if isinstance(node, ast.Call)]
    call = next(node for node in calls if getattr(node.func, "id", "") == "setup")
    values = {keyword.arg: keyword.value for keyword in call.keywords}
    listed = ast.literal_eval(values["install_requires"])
    extras = ast.literal_eval(values["extras_require"])
    listed += [text for name, texts in extras.items() if name not in ("test", "dev") for text in texts]
    found = [Requirement(text) for text in listed]
    return {IMPORT_NAMES.get(requirement.name, requirement.name): requirement for requirement in found}


def constraints() -> list[Requirement]:
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    return [Requirement(line) for line in lines if line and not line.startswith("#")]


def normalized(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


# --- rooms -----------------------------------------------------------------------------------------------------------


def test_rooms_import_downward_only():
    wrong = []
    for room, below in ROOMS.items():
        for path in sources(PACKAGE / room):
            for name in imported_modules(path):
                parts = name.split(".")
                if parts[0] == "tools" or (parts[0] == "meddet_d2" and len(parts) > 1):
                    target = parts[1] if parts[0] == "meddet_d2" else "tools"
                    if target not in below | GROUND | {room}:
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


def lines_of(path: Path) -> int:
    return len(path.read_text(encoding="utf-8").splitlines())


def test_no_file_is_too_long():
    files = [path for name in ("meddet_d2", "tools", "datasets") for path in (ROOT / name).rglob("*.py")]
    doors = [path for path in files if path.parent in (ROOT / "tools", ROOT / "datasets")]
    too_long = [f"{path.relative_to(ROOT)}: {lines_of(path)}" for path in files if lines_of(path) > MOST_LINES]
    too_long += [f"{path.relative_to(ROOT)}: {lines_of(path)}" for path in doors if lines_of(path) > MOST_TOOL_LINES]
    assert not too_long
    assert median(map(lines_of, sources(PACKAGE))) < MOST_MEDIAN


def test_no_room_is_too_large():
    lines = {room: sum(map(lines_of, sources(PACKAGE / room))) for room in ROOMS}
    whole = sum(map(lines_of, sources(PACKAGE)))
    assert not {room: f"{share / whole:.1%}" for room, share in lines.items() if share > MOST_SHARE * whole}


def test_every_file_name_is_there_once():
    names = Counter(path.name for path in sources(PACKAGE) if not path.name.startswith("__"))
    assert not [name for name, count in names.items() if count > 1]


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
    r"AATM|[dD]iscriminator": [
        "config/distill_keys.py", "config/renamed_keys.py", "distillation/methods/meddet/*", "benchmark/plan.py",
        "benchmark/speed.py",
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


def test_nothing_points_into_the_embedded_engine():
    files = [*sources(PACKAGE), *sources(ROOT / "tools"), *sources(ROOT / "tests")]
    wrong = [str(path) for path in files for name in imported_modules(path) if name.startswith("meddet_d2.embedded")]
    assert not wrong


def test_the_embedded_engine_knows_nothing_of_the_project():
    wrong = [str(p) for p in sources(EMBEDDED, embedded=True) for n in imported_modules(p) if n.startswith("meddet_d2")]
    assert not wrong


def test_the_embedded_engine_is_within_its_budget():
    if not EMBEDDED.exists():
        pytest.skip("the embedded engine was taken out")
    lines = sum(len(path.read_text().splitlines()) for path in sources(EMBEDDED, embedded=True))
    assert lines <= EMBEDDED_LINES


@pytest.mark.parametrize("tool", sorted(path.name for path in (ROOT / "tools").glob("*.py")))
def test_tools_find_the_engine_before_they_import_it(tool):
    """``import meddet_d2`` (or from it) precedes the first import of detectron2."""
    body = ast.parse((ROOT / "tools" / tool).read_text()).body
    names = [
        node.module if isinstance(node, ast.ImportFrom) else node.names[0].name
        for node in body
        if isinstance(node, ast.Import | ast.ImportFrom)
    ]
    own = [i for i, name in enumerate(names) if name.split(".")[0] == "meddet_d2"]
    engine = [i for i, name in enumerate(names) if name.split(".")[0] == "detectron2"]
    assert not engine or (own and own[0] < engine[0])


# --- the engine in use -----------------------------------------------------------------------------------------------

PROBE = """
import sys
from importlib.machinery import PathFinder
before = PathFinder.find_spec("detectron2") is not None
sys.path.append(sys.argv[1])
try:
    import meddet_d2
except ImportError as error:
    # A fake detectron2 has none of the API. What counts is which one was found.
    assert "detectron2" in str(error), error
import detectron2
print(before, sys.path[-1].endswith("embedded"), detectron2.__file__)
"""


def probe(tmp_path, *, python_path: Path | None) -> tuple[str, str, str]:
    """Whether detectron2 was there before, whether embedded is the last of sys.path, and which detectron2 came."""
    script = tmp_path / "probe.py"
    script.write_text(PROBE)
    command = [sys.executable, str(script), str(ROOT)]
    environment = {"PATH": "/usr/bin:/bin", "HOME": str(tmp_path)}
    if python_path is not None:
        environment["PYTHONPATH"] = str(python_path)
    done = subprocess.run(command, capture_output=True, text=True, env=environment, cwd=tmp_path, timeout=300)
    assert done.returncode == 0, done.stderr
    before, last, file = done.stdout.strip().splitlines()[-1].split(" ", 2)
    return before, last, file


def test_an_installed_detectron2_is_not_hidden(tmp_path):
    fake = tmp_path / "installed" / "detectron2"
    fake.mkdir(parents=True)
    (fake / "__init__.py").write_text("__version__ = 'fake'\n")
    before, last, file = probe(tmp_path, python_path=fake.parent)
    assert (before, last) == ("True", "False")
    assert Path(file) == fake / "__init__.py"


def test_the_embedded_engine_stands_at_the_end_of_the_path(tmp_path):
    before, last, file = probe(tmp_path, python_path=None)
    if before == "True":
        assert last == "False" and EMBEDDED not in Path(file).parents
    else:
        assert last == "True" and Path(file) == EMBEDDED / "detectron2" / "__init__.py"


# --- packaging -------------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_the_wheel_holds_package_and_configs_and_works_from_any_folder(tmp_path):
    """Built from a copy, so that nothing is left in the checkout. Needs setuptools, which the extra "test" brings."""
    copy = tmp_path / "copy"
    copy.mkdir()
    for name in ("setup.py", "pyproject.toml", "MANIFEST.in", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, copy)
    shutil.copytree(ROOT / "configs", copy / "configs")
    shutil.copytree(PACKAGE, copy / "meddet_d2", ignore=shutil.ignore_patterns("__pycache__"))
    script = f"from setuptools import build_meta; print(build_meta.build_wheel({str(tmp_path)!r}))"
    subprocess.run([sys.executable, "-c", script], cwd=copy, check=True, capture_output=True, timeout=120)
    (wheel,) = tmp_path.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
        metadata = archive.read(next(name for name in names if name.endswith("METADATA"))).decode()
    code = {name for name in names if ".dist-info/" not in name}
    kinds = ("*.py", "*.j2", "py.typed")
    expected = {path.relative_to(ROOT).as_posix() for kind in kinds for path in PACKAGE.rglob(kind)}
    expected |= {f"meddet_d2/{path.relative_to(ROOT).as_posix()}" for path in (ROOT / "configs").rglob("*.yaml")}
    assert code == expected
    assert {name.split("/")[0] for name in code} == {"meddet_d2"}
    assert "Requires-Python: >=3.10" in metadata
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(tmp_path / "installed")
        entry = next(archive.read(name).decode() for name in names if name.endswith("entry_points.txt"))
    assert "meddet = meddet_d2.cli.console:main" in entry
    # As installed, and from a folder that is no checkout: the configs are those of the wheel.
    (tmp_path / "elsewhere").mkdir()
    command = [sys.executable, "-m", "meddet_d2", "analyze", "--config-file", "configs/quickstart.yaml", "--json"]
    environment = {**os.environ, "PYTHONPATH": str(tmp_path / "installed")}
    done = subprocess.run(
        command, cwd=tmp_path / "elsewhere", env=environment, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0 and json.loads(done.stdout)["params"] > 0, done.stderr
    assert {"Provides-Extra: test", "Provides-Extra: dev"} <= set(metadata.splitlines())
    version = re.search(r'__version__ = "(.+)"', (PACKAGE / "__init__.py").read_text()).group(1)
    assert f"Version: {version}\n" in metadata
    assert f"version: {version}\n" in (ROOT / "CITATION.cff").read_text()
    assert f"## {version}" in (ROOT / "CHANGELOG.md").read_text()


def test_every_imported_library_is_a_dependency():
    allowed = set(direct_dependencies()) | set(sys.stdlib_module_names) | {"detectron2", "meddet_d2"}
    files = [*sources(PACKAGE, embedded=True), *sources(ROOT / "tools")]
    missing = {f"{path.relative_to(ROOT)}: {name}" for path in files for name in imported_modules(path)}
    missing = {text for text in missing if text.split(": ")[1].split(".")[0] not in allowed}
    assert not missing


def test_dependencies_have_lower_bounds_and_no_addresses():
    for requirement in direct_dependencies().values():
        assert any(part.operator == ">=" for part in requirement.specifier), requirement
        assert requirement.url is None, requirement


def test_constraints_pin_and_satisfy_every_dependency():
    pins: dict[str, list[Requirement]] = {}
    for pin in constraints():
        (specifier,) = pin.specifier
        assert specifier.operator == "==" and pin.url is None, pin
        assert not normalized(pin.name).startswith(("nvidia", "cuda", "triton")), f"{pin} exists on some platforms only"
        pins.setdefault(normalized(pin.name), []).append(pin)
    for requirement in direct_dependencies().values():
        for python in ("3.10", "3.11", "3.12", "3.13"):
            valid = [
                next(iter(pin.specifier)).version
                for pin in pins.get(normalized(requirement.name), [])
                if pin.marker is None or pin.marker.evaluate({"python_version": python})
            ]
            assert len(valid) == 1, f"{requirement} has {len(valid)} pins on Python {python}"
            assert requirement.specifier.contains(valid[0]), f"{requirement} is pinned to {valid[0]}"
    assert {"pytest", "ruff"} <= set(pins)


def test_the_continuous_integration_uses_the_pins():
    for file in (ROOT / ".ci" / "run", ROOT / ".github" / "workflows" / "ci.yml"):
        lines = file.read_text().splitlines()
        installs = [line for line in lines if re.search(r"pip install .*(-e |torch|isolation)", line)]
        assert installs and all("-c constraints.txt" in line for line in installs), file


def test_the_readme_installs_trains_and_tests_by_commands_that_exist():
    blocks = re.findall(r"^```bash\n(.*?)^```", (ROOT / "README.md").read_text(), re.DOTALL | re.MULTILINE)
    install, test = blocks[:2]
    assert "-c constraints.txt" in install and "-c constraints.txt" in test and "pytest" in test
    assert (ROOT / re.search(r"--config-file (\S+)", install).group(1)).is_file()


def test_the_files_that_documents_name_exist():
    missing = []
    for document in [ROOT / "README.md", *(ROOT / "docs").rglob("*.md"), *(ROOT / "datasets").glob("*.md")]:
        text = document.read_text()
        linked = [document.parent / link for link in re.findall(r"\]\((?!https?:)([^)#]+)\)", text)]
        named = re.findall(r"\b((?:configs|tools|docs|datasets)/[\w./-]+\.(?:py|yaml|md))", text)
        code = re.findall(r"`((?:modeling|distillation|evaluation|engine|data)/[\w/]+\.py)`", text)
        linked += [ROOT / name for name in named]
        missing += [f"{document.name}: {path}" for path in linked if not path.exists()]
        missing += [f"{document.name}: {name}" for name in code if not (PACKAGE / name).exists()]
    assert not missing
