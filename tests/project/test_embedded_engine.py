"""The engine in use: an installed Detectron2, or the embedded one, which knows nothing of the project."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest
from project_sources import EMBEDDED, PACKAGE, ROOT, imported_modules, sources

EMBEDDED_LINES = 2500


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
