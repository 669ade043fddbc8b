"""A model card is a stranger's file: every field is of its type, and no name surprises a table or a page."""

import json

import fuzz_readers
import pytest

from meddet_d2.deploy import ModelCard


@pytest.fixture
def card(tmp_path):
    (path,) = fuzz_readers.make_card(tmp_path)
    return path


def told(path, **changes) -> str:
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))
    with pytest.raises(ValueError, match=path.name) as caught:
        ModelCard.read(path)
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize(
    "changes",
    [
        *(
            {name: 7}
            for name in ("name", "classes", "image", "thresholds", "network", "made_by", "trained_on", "files")
        ),
        {"classes": "protrusion"},
        {"classes": [["protrusion"]]},
        {"classes": [None]},
        {"trained_on": [{}]},
        {"intended_use": []},
        {"files": {"model.onnx": 7}},
        {"thresholds": {"score": True}},
        {"thresholds": {"score": 10**400}},
        {"thresholds": {"score": float("nan")}},
        {"image": {"order": "RGB", "min_size": True, "max_size": 900, "min_side": 32}},
        {"image": {"order": "RGB", "min_size": 512, "max_size": 8193, "min_side": 32}},
        {"image": {"order": ["RGB"], "min_size": 512, "max_size": 900, "min_side": 32}},
    ],
)
def test_values_of_another_type_or_size(card, changes):
    told(card, **changes)


@pytest.mark.parametrize("name", ["=HYPERLINK(1)", "+1", "-1", "@a", "", "a\nb", "a\tb", "a\u202eb", "\ud800"])
def test_names_that_are_none(card, name):
    for changes in ({"classes": [name]}, {"name": name}, {"trained_on": [name]}):
        assert "is no name" in told(card, **changes)
        fuzz_readers.make_card(card.parent)


def test_names_in_any_language(card):
    content = json.loads(card.read_text())
    card.write_text(json.dumps({**content, "classes": ["Vorfall (C5/6)", "突出", "class 0"]}))
    assert ModelCard.read(card).classes == ("Vorfall (C5/6)", "突出", "class 0")
