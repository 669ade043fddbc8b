"""All mistakes of a json at once, the first of which is what loading raises; names that leave the image folder."""

import json

import pytest
from layouts import Layout

from meddet_d2.data import load_cdh_layout
from meddet_d2.layout.validate import find_mistakes, leaves_folder


def test_every_mistake_is_found_and_loading_raises_the_first(tmp_path):
    layout = Layout(tmp_path)

    def spoil(content):
        content["images"][1].update(height=0, patient_id=None)
        content["images"][2].update(file_name="nowhere.png")
        content["annotations"][0].update(bbox=[1, 2, 3], area=None, ignore=1)
        content["annotations"][8].update(category_id=[], image_id=3, bbox=[0, 0, 1e6, 1e6])
        content["annotations"][13].update(image_id={})

    layout.change(spoil)
    json_file = tmp_path / "train.json"
    content = json.loads(json_file.read_text())
    mistakes = list(find_mistakes(content, tmp_path / "images"))
    found = [(m.kind, (m.image or {}).get("id"), (m.annotation or {}).get("id")) for m in mistakes]
    assert found == [
        ("image-size", 3, None),
        ("no-patient", 3, None),
        ("file-missing", 4, None),
        ("box-malformed", 2, 1),
        ("annotation-key", 2, 1),
        ("ignore", 2, 1),
        # The box of an image without a size is not held against it.
        ("category-unknown", 3, 9),
        ("no-such-image", None, 14),
    ]
    assert all(
        str(tmp_path) not in mistake.text and str(json_file) in str(mistake.error(json_file)) for mistake in mistakes
    )
    with pytest.raises(ValueError) as caught:
        load_cdh_layout(json_file, tmp_path / "images", "spoilt")
    assert (
        str(caught.value)
        == str(mistakes[0].error(json_file))
        == f"{json_file}: image 3 (003.png) has height 0; " + ("give its size in pixels.")
    )


@pytest.mark.parametrize("name", ["../002.png", "/etc/passwd", "a/../../b.png", "..", "..\\secret.png", "C:\\a.png"])
def test_a_file_name_that_leaves_the_image_folder_is_refused_though_the_file_is_there(name, tmp_path):
    layout = Layout(tmp_path)
    (tmp_path / "002.png").write_bytes(layout.file(2).read_bytes())
    layout.change(lambda content: content["images"][1].update(file_name=name))
    with pytest.raises(ValueError, match=r"train\.json: image 3 .* leaves its folder of images") as caught:
        load_cdh_layout(tmp_path / "train.json", tmp_path / "images", "leaving")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["a.png", "sub/a.png", "a..b.png", "…/ü b.png", "...", "a:b.png"])
def test_other_names_stay_inside(name):
    assert not leaves_folder(name)


@pytest.mark.parametrize("value", [10**400, float("nan"), float("inf"), "1", None, True, [1], -1])
def test_no_value_of_a_json_makes_validation_fail(value, tmp_path):
    """Whatever stands in one place, it is a mistake or it is not; nothing else is raised."""
    layout = Layout(tmp_path)
    content = layout.contents["train"]
    for kind in ("images", "annotations", "categories"):
        record = content[kind][0]
        for key in [*record, "segmentation", "ignore"]:
            before = record.get(key)
            record[key] = value
            kinds = {mistake.kind for mistake in find_mistakes(content, tmp_path / "images")}
            free = ("id", "level", "spacing", "patient_id", "segmentation", "ignore", "area", "iscrowd")
            free = free if not isinstance(value, float) else free[:-2]
            # As everywhere in Python, True is 1; and "1" is a name.
            odd = (key == "category_id" and value is True) or (key == "name" and value == "1")
            assert kinds or key in free or odd
            record[key] = before
    content["annotations"][0]["bbox"] = [value, 1, 2, 3]
    kinds = [mistake.kind for mistake in find_mistakes(content, tmp_path / "images")]
    assert kinds == ["box-outside" if value == -1 else "box-malformed"]


def test_brackets_by_the_thousand_are_no_json(tmp_path):
    layout = Layout(tmp_path)
    (tmp_path / "train.json").write_text("[" * 100_000)
    with pytest.raises(ValueError, match=r"train\.json: not a json file"):
        load_cdh_layout(tmp_path / "train.json", tmp_path / "images", "deep")
    assert layout.contents


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda text: b"\xef\xbb\xbf" + text, "begins with a byte-order mark"),
        (lambda text: text.decode().encode("utf-16"), "begins with a byte-order mark"),
        (lambda text: text.replace(b'"categories"', b'"annotations": [], "categories"'), "'annotations' stands twice"),
        (lambda text: text.replace(b'"area": 240', b'"area": NaN', 1), "has area nan"),
        (lambda text: text.replace(b'"bbox": [30, 5, 24, 10]', b'"bbox": [0.3, 0.1, 0.3, 0.1]'), "are these fractions"),
        (lambda text: text.replace(b'"image_id": 2', b'"image_id": "2"', 1), "annotation 1 is of image '2'"),
        (lambda text: text.replace(b'"image_id": 2', b'"image_id": true', 1), "annotation 1 is of image True"),
        (lambda text: text.replace(b'"secret-1"', b'"\\u00a0"', 1), "has no patient_id"),
    ],
)
def test_what_would_be_read_otherwise_than_it_is_meant(change, words, tmp_path):
    Layout(tmp_path)
    path = tmp_path / "train.json"
    before = path.read_bytes()
    path.write_bytes(change(before))
    assert path.read_bytes() != before
    with pytest.raises(ValueError, match=words) as caught:
        load_cdh_layout(path, tmp_path / "images", "otherwise")
    assert str(path) in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize("other", [7, 7.0, "7", "007", " 7", "7\u00a0", "7.0", "\u200b7"])
def test_a_patient_written_in_two_ways_is_on_one_side(other, tmp_path):
    layout = Layout(tmp_path)
    layout.change(lambda content: content["images"][0].update(patient_id="7"))
    layout.change(lambda content: content["images"][0].update(patient_id=other), "test")
    with pytest.raises(ValueError, match=r"1 patients are also in test\.json \(7\)"):
        load_cdh_layout(tmp_path / "train.json", tmp_path / "images", "leaking")
