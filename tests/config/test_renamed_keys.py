"""Files and commands with the old names of keys mean what they meant."""

import logging

import pytest
import yaml

from meddet_d2.config import load_config
from meddet_d2.config.renamed_keys import RENAMED, renamed

# As version 0.1.0's files had them (commit 812ff40), none with its default.
OLD = """
DISTILL:
  ENABLED: true
  DIST_SCHEDULE: linear
  SIGMA: 0.1
  TAU: 0.89
  GAIN: 10.0
  LEVEL_WEIGHTS: [1.0, 0.25, 0.0, 0.0, 0.0]
  DIST_REDUCTION: relative
  DIST_FOREGROUND: 0.3
  FUSION: {NAME: Sum, SHARE: 0.5}
  AATM:
    ENABLED: false
    HIDDEN: [16, 8]
"""


def flat(node, prefix=""):
    for key, value in node.items():
        if isinstance(value, dict):
            yield from flat(value, f"{prefix}{key}.")
        else:
            yield prefix + key, value


def test_every_old_name_leads_to_a_key(tmp_path, caplog):
    path = tmp_path / "old.yaml"
    path.write_text(OLD)
    with caplog.at_level(logging.WARNING):
        cfg = load_config(str(path))
    default = load_config(str(write(tmp_path / "empty.yaml", "{}")))
    changed = {key: value for key, value in flat(cfg) if value != dict(flat(default))[key]}
    assert changed == {
        "DISTILL.ENABLED": True,
        "DISTILL.DIST_SCHEDULE": "linear",
        "DISTILL.MEDDET.SIGMA": 0.1,
        "DISTILL.MEDDET.TAU": 0.89,
        "DISTILL.MEDDET.GAIN": 10.0,
        "DISTILL.MEDDET.LEVEL_WEIGHTS": (1.0, 0.25, 0.0, 0.0, 0.0),
        "DISTILL.MEDDET.DIST_REDUCTION": "relative",
        "DISTILL.MEDDET.DIST_FOREGROUND": 0.3,
        "DISTILL.MEDDET.FUSION.NAME": "Sum",
        "DISTILL.MEDDET.FUSION.SHARE": 0.5,
        "DISTILL.MEDDET.AATM.ENABLED": False,
        "DISTILL.MEDDET.AATM.HIDDEN": (16, 8),
    }
    (record,) = caplog.records
    line = record.getMessage()
    assert str(path) in line and "\n" not in line
    assert all(f"{old} is {new}" in line for old, new in RENAMED.items())
    # What is written now is written in new names, and says nothing when it is read.
    caplog.clear()
    # A tuple inside of a tuple, as Detectron2's config has one, comes back as a list.
    again = load_config(str(write(tmp_path / "new.yaml", cfg.dump())))
    assert yaml.safe_load(again.dump()) == yaml.safe_load(cfg.dump()) and not caplog.records


def write(path, text):
    path.write_text(text)
    return path


@pytest.mark.parametrize("below", ["SIGMA: 0.3, FUSION: {NAME: Sum}", "MEDDET: {SIGMA: 0.3, FUSION: {NAME: Sum}}"])
@pytest.mark.parametrize("above", ["SIGMA: 0.4, FUSION: {SHARE: 0.2}", "MEDDET: {SIGMA: 0.4, FUSION: {SHARE: 0.2}}"])
def test_what_is_written_later_counts_by_either_name(tmp_path, below, above):
    write(tmp_path / "below.yaml", f"DISTILL: {{{below}}}")
    path = write(tmp_path / "above.yaml", f"_BASE_: below.yaml\nDISTILL: {{{above}}}")
    meddet = load_config(str(path)).DISTILL.MEDDET
    assert (meddet.SIGMA, meddet.FUSION.NAME, meddet.FUSION.SHARE) == (0.4, "Sum", 0.2)


def test_overrides_and_teachers_options_know_old_names(tmp_path, caplog):
    path = str(write(tmp_path / "a.yaml", "{}"))
    with caplog.at_level(logging.WARNING):
        cfg = load_config(path, ["DISTILL.AATM.LR", "0.1", "DISTILL.GAIN", 2.0, "DISTILL.MEDDET.TAU", 0.5])
    meddet = cfg.DISTILL.MEDDET
    assert (meddet.AATM.LR, meddet.GAIN, meddet.TAU) == (0.1, 2.0, 0.5)
    (record,) = caplog.records
    assert "DISTILL.AATM.LR is DISTILL.MEDDET.AATM.LR, DISTILL.GAIN is DISTILL.MEDDET.GAIN" in record.getMessage()
    # A longer name that begins alike is another key, and none.
    with pytest.raises(ValueError, match=r"DISTILL\.GAINS"):
        load_config(path, ["DISTILL.GAINS", 2.0])


def test_a_wrong_value_under_an_old_name_is_told_by_its_key(tmp_path):
    with pytest.raises(ValueError, match=r"DISTILL\.MEDDET\.AATM\.LR must be of type float"):
        load_config(str(write(tmp_path / "a.yaml", "DISTILL: {AATM: {LR: [1]}}")))


@pytest.mark.parametrize("content", [{}, {"DISTILL": None}, {"DISTILL": {"GAINS": 1}}, {"MODEL": {"FUSION": 1}}])
def test_other_contents_stay_as_they_are(content, caplog):
    assert renamed(content, "a.yaml") == [content] and not caplog.records


def test_sections_of_both_names_become_one(tmp_path):
    text = "DISTILL: {FUSION: {NAME: Sum}, MEDDET: {GAIN: 2.0, FUSION: {NAME: Concat, SHARE: 0.5}}}"
    meddet = load_config(str(write(tmp_path / "both.yaml", text))).DISTILL.MEDDET
    assert (meddet.GAIN, meddet.FUSION.NAME, meddet.FUSION.SHARE) == (2.0, "Sum", 0.5)


def test_what_is_given_is_not_changed():
    content = {"DISTILL": {"FUSION": {"NAME": "Sum"}, "ENABLED": True}}
    parts = renamed(content, "a.yaml")
    assert parts == [{"DISTILL": {"ENABLED": True}}, {"DISTILL": {"MEDDET": {"FUSION": {"NAME": "Sum"}}}}]
    assert content == {"DISTILL": {"FUSION": {"NAME": "Sum"}, "ENABLED": True}}
