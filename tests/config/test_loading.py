"""Paths in a config: ``~`` and ``$VARIABLES``."""

import functools
import re
from pathlib import Path

import pytest

from meddet_d2.config import load_config
from meddet_d2.config.loading import PATHS, entries


def value_of(cfg, key):
    value = functools.reduce(getattr, key.split("."), cfg)
    return value if isinstance(value, str) else value[0]


def as_yaml(key, value):
    """A yaml of one key."""
    text = f"'{value}'" if key in ("OUTPUT_DIR", "MODEL.WEIGHTS") or key.endswith("_DIR") else f"['{value}']"
    for name in reversed(key.split(".")):
        text = f"{{{name}: {text}}}"
    return text


def test_every_key_of_a_path_is_known():
    """By their names: another key of a path belongs into PATHS."""
    cfg = load_config(str(Path(__file__).resolve().parents[2] / "configs" / "meddet.yaml"))
    ends = ("DIR", "WEIGHTS", "CONFIGS", "CONFIG", "FILE", "FOLDER", "PATH", "ROOT")
    named = {key for key, value in entries(cfg) if key.split(".")[-1].split("_")[-1] in ends}
    # Weights of losses, not files; Detectron2's own networks have some, too.
    named = {key for key in named if not key.endswith(("LEVEL_WEIGHTS", "BBOX_REG_WEIGHTS"))}
    assert named == {key for key in PATHS if key.split(".")[-1].split("_")[-1] in ends}


@pytest.mark.parametrize("key", PATHS)
@pytest.mark.parametrize("given", ["~/x.pth", "$MEDDET_TEST/x.pth", "${MEDDET_TEST}/x.pth"])
def test_home_and_variables_in_every_path(key, given, tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("MEDDET_TEST", str(tmp_path))
    config, expected = tmp_path / "a.yaml", str(tmp_path / "x.pth")
    config.write_text(as_yaml(key, given))
    assert value_of(load_config(str(config)), key) == expected
    config.write_text("{}")
    override = given if "[" not in as_yaml(key, given) else (given,)
    assert value_of(load_config(str(config), [key, override]), key) == expected
    overlay = tmp_path / "b.yaml"
    overlay.write_text(as_yaml(key, given))
    assert value_of(load_config(str(config), overlay=str(overlay)), key) == expected


@pytest.mark.parametrize("key", PATHS)
def test_a_variable_that_is_not_set_is_named(key, tmp_path, monkeypatch):
    monkeypatch.delenv("MEDDET_TEST", raising=False)
    config = tmp_path / "a.yaml"
    config.write_text(as_yaml(key, "${MEDDET_TEST}/x"))
    words = rf"a\.yaml: {re.escape(key)}: the path \$\{{MEDDET_TEST\}}/x names \$MEDDET_TEST, which is not set"
    with pytest.raises(ValueError, match=words):
        load_config(str(config))


@pytest.mark.parametrize("given", ["~/under.yaml", "$MEDDET_TEST/under.yaml"])
def test_home_and_variables_in_the_file_under_a_config_and_in_its_own_name(given, tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("MEDDET_TEST", str(tmp_path / "home"))
    (tmp_path / "home").mkdir()
    (tmp_path / "home" / "under.yaml").write_text("{SEED: 77, DISTILL: {TEACHERS: {CONFIGS: [teacher.yaml]}}}")
    (tmp_path / "home" / "teacher.yaml").write_text("{}")
    config = tmp_path / "a.yaml"
    config.write_text(f"_BASE_: {given}")
    cfg = load_config(str(config))
    assert cfg.SEED == 77 and value_of(cfg, "DISTILL.TEACHERS.CONFIGS") == str(tmp_path / "home" / "teacher.yaml")
    assert load_config(given).SEED == 77
    monkeypatch.delenv("MEDDET_TEST")
    config.write_text("_BASE_: $MEDDET_TEST/under.yaml")
    with pytest.raises(ValueError, match=r"a\.yaml: _BASE_: .*\$MEDDET_TEST"):
        load_config(str(config))


def test_of_several_files_under_a_config_the_later_wins_and_the_config_over_all(tmp_path):
    for name, text in {
        "low": "{SEED: 1, OUTPUT_DIR: low, SOLVER: {MAX_ITER: 1}}",
        "left": "{_BASE_: low.yaml, SEED: 2, TEST: {EVAL_PERIOD: 2}}",
        "right": "{SEED: 3, SOLVER: {MAX_ITER: 3}}",
        "top": "{_BASE_: [left.yaml, right.yaml], SEED: 4}",
    }.items():
        (tmp_path / f"{name}.yaml").write_text(text)
    cfg = load_config(str(tmp_path / "top.yaml"))
    assert (cfg.SEED, cfg.SOLVER.MAX_ITER, cfg.TEST.EVAL_PERIOD, cfg.OUTPUT_DIR) == (4, 3, 2, "low")
