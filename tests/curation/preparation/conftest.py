"""The fixture of the scripts that prepare data."""

import pytest
from labelled_study import Study
from tiny_runs import load_tool


@pytest.fixture
def study(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("MEDDET_SALT", "a salt for tests")
    return Study(tmp_path, load_tool("prepare_images"), capsys)
