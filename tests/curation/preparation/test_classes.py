"""datasets/prepare_images.py with classes of one's own: whose they are, their order and names, and what is refused."""

import ast
import json
import shlex

import pytest
from labelled_study import findings

from meddet_d2.curation.preparation.classes import ClassMap
from meddet_d2.curation.preparation.omissions import Findings
from meddet_d2.data import load_data_set
from meddet_d2.data.registration import parse_entry

NAMES = {"protrusion": "mass", "non-protrusion": "Zyste"}


@pytest.fixture
def chest(study):
    """Labels that are none of CDH-1848's, and a folder of another name."""
    study.scene = [
        (name, size, [(NAMES[label], box, level) for label, box, level in boxes]) for name, size, boxes in study.scene
    ]
    study.scene[0][2].append(("calcification", (1, 1, 9, 9), None))
    study.output = study.output.with_name("chest")
    study.annotate("coco")
    return study


def classes_of(study) -> dict[str, int]:
    """The classes in the order of their ids, with their numbers of boxes."""
    contents = study.contents().values()
    (categories,) = {json.dumps(content["categories"]) for content in contents}
    names = {category["id"]: category["name"] for category in json.loads(categories)}
    assert list(names) == list(range(1, len(names) + 1))
    counts = dict.fromkeys(names.values(), 0)
    for box in study.boxes_in():
        counts[names[box["category_id"]]] += 1
    return counts


@pytest.mark.parametrize("kind", ["labelme", "voc", "cvat", "yolo", "coco"])
def test_the_labels_are_the_classes_of_every_format(chest, kind):
    chest.annotate(kind)
    said = chest.run("--strict")
    assert classes_of(chest) == {"calcification": 1, "mass": 6, "Zyste": 10}
    assert "\n  classes: calcification, mass, Zyste\n" in said and "6 mass, 10 Zyste" in said
    assert all(box["level"] for box in chest.boxes_in() if box["category_id"] > 1), "levels are no part of a class"


def test_the_printed_command_registers_and_loads_them(chest):
    said = chest.run()
    words = shlex.split(next(line for line in said.splitlines() if "meddet train" in line))
    entries = ast.literal_eval(words[words.index("DATASETS.REGISTER") + 1])
    loaded = [load_data_set(*parse_entry(entry, "patient_id")) for entry in entries]
    assert [len(records) for records in loaded] == [10, 2]
    assert words[words.index("DATASETS.TRAIN") + 1] == "('my_chest_train',)"


def test_named_classes_have_their_order_and_renames_join_labels(chest):
    chest.run("--classes", "Zyste", "lesion", "mass=lesion", "calcification=lesion")
    assert classes_of(chest) == {"Zyste": 10, "lesion": 7}
    chest.run("--force", "--classes", "unseen", "MASS", "zyste=cyst", "--ignore-label", "Calcification")
    assert classes_of(chest) == {"unseen": 0, "MASS": 6, "cyst": 10}
    assert chest.counts()["ignored_labels"] == 1 and chest.counts()["classless_splits"] >= 2
    assert "labels without a class: 'calcification' (1)" in chest.error("--force", "--classes", "mass", "Zyste")


def test_spellings_of_one_label_are_one_class_and_named(chest):
    chest.scene[2] = (
        *chest.scene[2][:2],
        [
            ("Mass C2/3", (5, 5, 20, 20), None),
            ("Bulge (l.) C2/3", (5, 25, 20, 40), None),
            ("C2/3", (30, 5, 50, 20), None),
        ],
    )
    chest.annotate("coco")
    said = chest.run()
    assert list(classes_of(chest)) == ["Bulge (l.)", "C2/3", "calcification", "mass", "Zyste"]
    assert findings(said, "1 classes that several spellings of a label make:") == ["  mass: 'Mass', 'mass'"]


def test_cdh_1848s_labels_and_pairs_give_its_two_classes_in_any_folder(study):
    study.output = study.output.with_name("necks")
    study.run()
    assert classes_of(study) == {"protrusion": 6, "non-protrusion": 10}
    study.scene = [(name, size, [box for box in boxes if box[0] != "protrusion"]) for name, size, boxes in study.scene]
    study.annotate("coco")
    study.run("--force")
    assert classes_of(study) == {"protrusion": 0, "non-protrusion": 10}
    study.run("--force", "--classes", "Bandscheibe=protrusion")
    assert classes_of(study) == {"protrusion": 0, "non-protrusion": 10}
    study.run("--force", "--classes", "non-protrusion")
    assert classes_of(study) == {"non-protrusion": 10}


def test_the_folder_of_cdh_1848_takes_its_classes_alone(chest):
    chest.output = chest.output.with_name("cdh1848")
    line = chest.error()
    assert "labels without a class: 'Zyste' (10), 'mass' (6), 'calcification' (1)" in line and "--output" in line
    assert "choose a folder of another name by --output" in chest.error("--classes", "mass", "Zyste")
    chest.run("--classes", "mass=protrusion", "zyste=non-protrusion", "--ignore-label", "calcification")
    assert classes_of(chest) == {"protrusion": 6, "non-protrusion": 10}


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--classes", "=mass"), "--classes '=mass': write LABEL=CLASS"),
        (("--classes", "mass="), "the class '' is no name"),
        (("--classes", "mass", "Zyste", "calcification=mean"), "the class 'mean' is what tables call the mean"),
        (("--classes", "mass=-1"), "the class '-1' begins with one of =+-@"),
        (("--classes", "mass", "Zyste", "Mass=cyst"), "the label 'Mass' has two classes"),
        (("--classes", "mass", "Zyste", "--ignore-label", "MASS"), "take one of the two"),
    ],
)
def test_classes_that_cannot_be_are_one_line(chest, options, words):
    assert words in chest.error(*options) and not chest.output.exists()


@pytest.mark.parametrize("label", ["=HYPERLINK(1)", "mean", "a\tb"])
def test_a_label_that_can_be_no_class_says_what_to_do(label):
    classes = ClassMap()
    with pytest.raises(ValueError, match="so it can be no class; name one: --classes LABEL=CLASS") as caught:
        classes.settle(["mass", label], Findings())
    assert repr(label) in str(caught.value)
