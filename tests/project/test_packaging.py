"""How the project installs: the wheel, its dependencies and their tested versions."""

import ast
import json
import os
import re
import shutil
import subprocess
import sys
import zipfile

import pytest
from packaging.requirements import Requirement
from project_sources import PACKAGE, ROOT, imported_modules, sources

IMPORT_NAMES = {
    "pillow": "PIL",
    "opencv-python-headless": "cv2",
    "pyyaml": "yaml",
    "python-gdcm": "gdcm",
    "scikit-learn": "sklearn",
}


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
    # torch's packages for CUDA bring triton, and only with it is its module imported.
    given = {"detectron2", "meddet_d2", "triton"}
    allowed = set(direct_dependencies()) | set(sys.stdlib_module_names) | given
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
