"""The report that goes with a bug: complete, and without a secret."""

import ast
import os
import re
import shutil
import stat
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
import torch
from packaging.requirements import Requirement
from tiny_runs import ROOT

import meddet_d2
import detectron2
from meddet_d2 import env


def test_the_command_says_what_there_is(tmp_path):
    environment = {**os.environ, "DETECTRON2_DATASETS": str(tmp_path / "data"), "MEDDET_SALT": "a secret salt"}
    environment["PYTHONPATH"] = str(ROOT)
    command = [sys.executable, "-m", "meddet_d2.env"]
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=True)
    said = done.stdout
    first = said.splitlines()[0]
    assert first.startswith(f"meddet_d2 {meddet_d2.__version__} ") and first.endswith(f" from {ROOT / 'meddet_d2'}")
    for text in (detectron2.__version__, torch.__version__, sys.executable, f"working directory: {tmp_path}"):
        assert text in said
    assert f"data sets: {tmp_path / 'data'} ($DETECTRON2_DATASETS; not there)" in said
    assert "salt of pseudonyms: in $MEDDET_SALT\n" in said and "secret" not in said
    assert re.search(r"^GPU|CUDA", said, re.MULTILINE)


def test_the_salts_file_is_named_and_not_read(tmp_path, monkeypatch):
    monkeypatch.delenv("MEDDET_SALT", raising=False)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    place = tmp_path / "meddet_d2" / "salt"
    assert f"salt of pseudonyms: {place} (made on first use)\n" in env.report()
    place.parent.mkdir()
    place.write_text("a secret salt")
    said = env.report()
    assert f"salt of pseudonyms: {place}\n" in said and "secret" not in said
    assert "data sets: " in said and "weights from torch: " in said


def git(folder, *arguments):
    name = ["-c", "user.name=x", "-c", "user.email=x"]
    subprocess.run(["git", "-C", str(folder), *name, *arguments], check=True, capture_output=True)


@pytest.mark.skipif(shutil.which("git") is None, reason="needs git")
def test_the_commit_is_of_these_files_and_no_others(tmp_path, monkeypatch):
    package = tmp_path / "meddet_d2"
    package.mkdir()
    (package / "__init__.py").write_text("")
    monkeypatch.setattr(env, "__file__", str(package / "env.py"))
    git(tmp_path, "init")
    git(tmp_path, "commit", "--allow-empty", "-m", "an environment lies in this repository")
    assert env.source_commit() == (None, None) and "(commit" not in env.report().splitlines()[0]
    git(tmp_path, "add", ".")
    git(tmp_path, "commit", "-m", "now the package does")
    commit, changed = env.source_commit()
    assert re.fullmatch("[0-9a-f]{40}", commit) and changed is False
    assert f"(commit {commit})" in env.report().splitlines()[0]
    (tmp_path / "a result").write_text("")
    assert env.source_commit() == (commit, False)
    (package / "__init__.py").write_text("1")
    assert env.source_commit() == (commit, True)
    assert f"(commit {commit}, with changes)" in env.report().splitlines()[0]
    monkeypatch.setenv("PATH", "")
    assert env.source_commit() == (None, None)


def test_the_libraries_are_those_of_setup_py():
    calls = [node for node in ast.walk(ast.parse((ROOT / "setup.py").read_text())) if isinstance(node, ast.Call)]
    call = next(node for node in calls if getattr(node.func, "id", "") == "setup")
    values = {keyword.arg: keyword.value for keyword in call.keywords}
    extras = ast.literal_eval(values["extras_require"])
    listed = {"needed": ast.literal_eval(values["install_requires"])}
    listed |= {name: texts for name, texts in extras.items() if name not in ("test", "dev")}
    names = {group: [Requirement(text).name.replace("_", "-") for text in texts] for group, texts in listed.items()}
    assert names == {group: list(libraries) for group, libraries in env.LIBRARIES.items()}
    assert env.version_of("numpy") != "not installed" and env.version_of("no-such-thing") == "not installed"


def test_a_traceback_is_kept_for_its_owner(tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    try:
        raise ValueError("it broke \ud800")
    except ValueError:
        first, second = env.keep_traceback(), env.keep_traceback()
    assert first != second and first.parent == tmp_path
    assert stat.S_IMODE(first.stat().st_mode) == 0o600
    text = first.read_text(encoding="utf-8")
    assert text.index("meddet_d2 ") < text.index("Traceback (most recent call last)") < text.index("it broke")
    assert detectron2.__version__ in text and Path(__file__).name in text


def test_a_report_that_fails_does_not_hide_the_error(monkeypatch, tmp_path):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.setattr(env, "report", lambda: 1 / 0)
    try:
        raise KeyError("the real one")
    except KeyError:
        text = env.keep_traceback().read_text()
    assert "the real one" in text and "ZeroDivisionError" in text
