"""Paths as people write them."""

import argparse
from pathlib import Path

import pytest

from meddet_d2.places import datasets_root, expanded, given_path


def test_home_and_variables(monkeypatch):
    monkeypatch.setenv("HOME", "/home/someone")
    monkeypatch.setenv("MEDDET_TEST", "data")
    assert expanded("~/a/$MEDDET_TEST/${MEDDET_TEST}_b") == "/home/someone/a/data/data_b"
    assert expanded("a/~/b") == "a/~/b" and expanded("") == "" and expanded("costs_5$/x") == "costs_5$/x"
    assert expanded("https://host/~a/$MEDDET_NONE") == "https://host/~a/$MEDDET_NONE"
    assert given_path("--x=~") == Path("--x=~") and given_path("~/x") == Path("/home/someone/x")
    monkeypatch.setenv("DETECTRON2_DATASETS", "$MEDDET_TEST/sets")
    assert datasets_root() == Path("data/sets")


def test_what_stands_for_nothing_is_named(monkeypatch):
    monkeypatch.delenv("MEDDET_NONE", raising=False)
    with pytest.raises(ValueError, match=r"\$MEDDET_NONE, which is not set"):
        expanded("/data/$MEDDET_NONE/x")
    with pytest.raises(ValueError, match=r"~nobody_at_all/x begins with no user's home"):
        expanded("~nobody_at_all/x")
    with pytest.raises(argparse.ArgumentTypeError, match="MEDDET_NONE"):
        given_path("$MEDDET_NONE")
    monkeypatch.setenv("DETECTRON2_DATASETS", "${MEDDET_NONE}")
    with pytest.raises(ValueError, match=r"\$DETECTRON2_DATASETS: .*MEDDET_NONE"):
        datasets_root()
