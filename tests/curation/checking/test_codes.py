"""Every code is found where one thing is wrong, alone, and in the right place; the docs list them all."""

import re
from pathlib import Path

import numpy as np
import pytest
from layouts import HEIGHT, WIDTH, Layout, picture
from PIL import Image

from meddet_d2.curation.checking import check_data
from meddet_d2.curation.checking.annotation_checks import find_json_files
from meddet_d2.curation.checking.findings import CODES, LONGEST_TEXT, Finding, count, in_order, printable

ROOT = Path(__file__).resolve().parents[3]


def check(folder):
    return check_data([(file, file.parent / "images") for file in find_json_files([folder])], progress=False)


def image(**values):
    """Changes the record of image 3."""
    return lambda layout: layout.change(lambda content: content["images"][1].update(values))


def annotation(**values):
    """Changes annotation 2, which is the second box of image 2."""
    return lambda layout: layout.change(lambda content: content["annotations"][1].update(values))


def without(kind, index, key):
    return lambda layout: layout.change(lambda content: content[kind][index].pop(key))


def pixels(change, number=3):
    """Changes the pixels of an image, (HEIGHT, WIDTH) uint8."""
    return lambda layout: Image.fromarray(change(picture(number))).save(layout.file(number))


def copy(source, target):
    return lambda layout: layout.file(target).write_bytes(layout.file(source).read_bytes())


def copy_pixels(source, target):
    return lambda layout: Image.fromarray(picture(source)).convert("RGB").save(layout.file(target))


def copy_as_jpeg(source, target):
    """Half as large, brighter and compressed, under the target's name."""
    small = Image.fromarray(picture(source)).resize((WIDTH // 2, HEIGHT // 2)).point(lambda value: 0.8 * value + 40)
    return lambda layout: small.resize((WIDTH, HEIGHT)).save(layout.file(target), "JPEG", quality=60)


def one_class(layout):
    layout.change(lambda content: [box.update(category_id=2) for box in content["annotations"]], "test")


def fewer_protrusions(layout):
    """30 annotations of 36 protrude in train, 2 of 18 in test."""
    layout.change(lambda c: [box.update(category_id=1 if box["id"] > 6 else 2) for box in c["annotations"]])
    layout.change(lambda c: [box.update(category_id=1 if box["id"] > 16 else 2) for box in c["annotations"]], "test")


def more_boxes(layout):
    def change(content):
        for number in range(3):
            box = {"bbox": [2, 5 + 20 * number, 24, 10], "image_id": 3, "category_id": 1, "area": 240, "iscrowd": 0}
            content["annotations"].append({"id": 100 + number, **box})

    layout.change(change)


def painted(values):
    colours = np.repeat(values[:, :, None], 3, axis=2)
    colours[10:14, 10:20] = (255, 220, 0)
    return colours


def cut_off(values, share):
    return np.where(values > np.quantile(values, share), 255, values).astype(np.uint8)


def other_names(layout):
    layout.change(lambda content: [category.update(name="disc") for category in content["categories"]])


def leak(layout):
    layout.change(lambda content: [image.update(patient_id="secret-1") for image in content["images"]], "test")


def two_levels_exchanged(layout):
    def change(content):
        for index, level in ((1, "C4/5"), (2, "C3/4")):
            content["annotations"][index]["level"] = level

    layout.change(change)


def narrow(layout):
    for number in range(2, 10):
        values = picture(number)
        Image.fromarray(np.where(values > np.quantile(values, 0.95), 255, values).astype(np.uint8)).save(
            layout.file(number)
        )


def sixteen_bits(layout):
    Image.fromarray(picture(3).astype(np.uint16) * 16 + 7).save(layout.file(3))


def clipped_sixteen_bits(values):
    return np.minimum(values.astype(np.uint16) * 20, np.uint16(np.quantile(values, 0.97) * 20))


def landmarks(change, split="train"):
    """Makes landmarks of the boxes' places, one annotation an image with its id, and then changes a split's json."""

    def convert(content):
        categories = [{"id": 1, "name": "spine", "keypoints": ["top", "bottom"]}]
        points = {"landmarks": [40, 20, 2, 45, 90, 2], "bbox": [40, 20, 5, 70], "area": 350, "iscrowd": 0}
        ids = [one["id"] for one in content["images"]]
        content["annotations"] = [{"id": n, "image_id": n, "category_id": 1, **points} for n in ids]
        content["categories"] = categories

    def provoke(layout):
        for name in ("train", "test"):
            layout.change(convert, name)
        layout.change(change, split)

    return provoke


def points(**values):
    """Changes the landmarks' annotation of image 3."""
    return landmarks(lambda content: content["annotations"][1].update(values))


# By the name of a code: what is done to a sound data set, and split, image and annotation of what is found. None of
# them stands for a finding of no image or no annotation. A name may be found several times.
PROVOKED = {
    "json-missing": (lambda layout: [file.unlink() for file in layout.folder.glob("*.json")], ("train", None, None)),
    "json-broken": (lambda layout: (layout.folder / "train.json").write_text('{"images": ['), ("train", None, None)),
    "categories": (other_names, ("train", None, None)),
    "no-images": (lambda layout: layout.change(lambda c: c.update(images=[], annotations=[])), ("train", None, None)),
    "folder-missing": (lambda layout: (layout.folder / "images").rename(layout.folder / "img"), ("train", None, None)),
    "image-id": (without("images", 7, "id"), ("train", None, None)),
    "file-name": (without("images", 1, "file_name"), ("train", 3, None)),
    "file-twice": (image(file_name="002.png"), ("train", 3, None)),
    "outside-folder": (image(file_name="../../etc/passwd"), ("train", 3, None)),
    "image-size": (image(width="96"), ("train", 3, None)),
    "no-patient": (without("images", 1, "patient_id"), ("train", 3, None)),
    "file-missing": (lambda layout: layout.file(3).unlink(), ("train", 3, None)),
    "leak": (leak, ("test", 20, None)),
    "annotation-id": (annotation(id=1), ("train", 2, 1)),
    "no-such-image": (annotation(image_id=99), ("train", None, 2)),
    "category-unknown": (annotation(category_id=7), ("train", 2, 2)),
    "box-malformed": (annotation(bbox=[float("nan"), 25, 24, 10]), ("train", 2, 2)),
    "box-empty": (annotation(bbox=[31, 25, 0, 10]), ("train", 2, 2)),
    "box-outside": (annotation(bbox=[80, 25, 24, 10]), ("train", 2, 2)),
    "annotation-key": (without("annotations", 1, "iscrowd"), ("train", 2, 2)),
    "ignore": (annotation(ignore=1), ("train", 2, 2)),
    "polygon": (annotation(segmentation=[[1, 2, 3, 4]]), ("train", 2, 2)),
    "landmark-names": (
        landmarks(lambda content: content["categories"][0].update(keypoints=["top", "end"]), "test"),
        ("test", None, None),
    ),
    "landmarks": (points(landmarks=[40, 20, 2, 45, 90]), ("train", 3, 3)),
    "landmark-outside": (points(landmarks=[40, 20, 2, 45, 900, 2]), ("train", 3, 3)),
    "landmark-count": (landmarks(lambda content: content["annotations"].pop(1)), ("train", 3, None)),
    "landmark-spacing": (landmarks(lambda content: content["images"][1].pop("spacing")), ("train", 3, None)),
    "structures": (points(structures=[[[1, 2, 3, 4, 5, 6]]]), ("train", 3, 3)),
    "unreadable": (lambda layout: layout.file(3).write_bytes(layout.file(3).read_bytes()[:900]), ("train", 3, None)),
    "other-size": (pixels(lambda values: values[:, :90]), ("train", 3, None)),
    "same-image": (copy(3, 21), ("test", 21, None)),
    "same-file": (copy(3, 5), ("train", 5, None)),
    "same-pixels": (copy_pixels(3, 5), ("train", 5, None)),
    "near-duplicate": (copy_as_jpeg(3, 21), ("test", 21, None)),
    "saturated": (pixels(lambda values: cut_off(values, 0.85)), ("train", 3, None)),
    "narrow-window": (narrow, ("train", None, None)),
    "empty": (pixels(lambda values: np.full_like(values, 7)), ("train", 3, None)),
    "low-contrast": (pixels(lambda values: 100 + values // 8), ("train", 3, None)),
    "colour": (pixels(painted), ("train", 3, None)),
    "unusual-size": (annotation(bbox=[5, 22, 80, 38], level=None), ("train", 2, 2)),
    "unusual-aspect": (annotation(bbox=[31, 25, 9, 24], level=None), ("train", 2, 2)),
    "unusual-mm": (image(spacing=[0.8, 3.0]), ("train", 3, 7)),
    "overlap": (annotation(bbox=[31, 7, 24, 11], level=None), ("train", 2, 2)),
    "many-boxes": (more_boxes, ("train", 3, None)),
    "level-order": (two_levels_exchanged, ("train", 2, 3)),
    "level-twice": (annotation(level="C2-3"), ("train", 2, 2)),
    "level-unknown": (annotation(level="<script>"), ("train", 2, 2)),
    "spacing": (image(spacing=[0.8, "0.8"]), ("train", 3, None)),
    "class-balance": (fewer_protrusions, ("test", None, None)),
    "class-absent": (one_class, ("test", None, None)),
    "more-bits": (sixteen_bits, ("train", None, None)),
    "at-border": (annotation(bbox=[72, 25, 24, 11]), ("train", None, None)),
    "crowd": (annotation(iscrowd=1), ("train", None, None)),
    "unlisted": (lambda layout: (layout.folder / "images" / "more.png").write_bytes(b"x"), ("train", None, None)),
    "some-spacing": (without("images", 1, "spacing"), ("train", None, None)),
}
# What else these do, because one thing follows from the other.
ALSO = {
    "no-images": {"unlisted"},
    "file-name": {"unlisted"},
    "file-twice": {"unlisted", "same-file"},
    "outside-folder": {"unlisted"},
    "class-absent": {"class-balance"},
    "spacing": {"some-spacing"},
    "landmark-spacing": {"some-spacing"},
    "json-broken": {"unlisted"},
}


def test_a_sound_data_set_has_no_findings(tmp_path):
    report = check(Layout(tmp_path / "sound").folder)
    assert [finding.line() for finding in report.findings] == []
    assert len(report.readable) == 12 and not report.failed(strict=True)


def test_landmarks_are_counted_and_are_no_boxes(tmp_path):
    layout = Layout(tmp_path / "sound")
    landmarks(lambda content: content["annotations"][1].update(landmarks=[40, 20, 2, 0, 0, 0]))(layout)
    report = check(layout.folder)
    assert [finding.line() for finding in report.findings] == []
    counts = report.counts["train"]
    assert (counts["landmarks"], counts["missing_landmarks"]) == (15, 1)
    assert counts["missing_by_landmark"] == {"bottom": 1} and report.counts["test"]["missing_by_landmark"] == {}
    assert (counts["boxes"], counts["unusable_boxes"], counts["images_with_spacing"]) == (0, 0, 8)


@pytest.mark.parametrize("name", CODES)
def test_what_is_wrong_is_found_alone_and_in_its_place(name, tmp_path):
    provoke, place = PROVOKED[name]
    layout = Layout(tmp_path / "data")
    provoke(layout)
    report = check(layout.folder)
    found = {finding.name for finding in report.findings}
    assert found == {name, *ALSO.get(name, ())}
    assert place in {(f.split, f.image, f.annotation) for f in report.findings if f.name == name}
    assert report.failed(strict=False) == (
        CODES[name].severity == "error" or any(CODES[n].code[0] == "E" for n in found)
    )
    for finding in report.findings:
        assert finding.line().startswith(f"{finding.code.code} {finding.name} ")
        assert str(tmp_path) not in finding.line() and "secret" not in finding.line()


def test_deep_images_that_were_clipped_before_are_saturated(tmp_path):
    layout = Layout(tmp_path / "data")
    pixels(clipped_sixteen_bits)(layout)
    assert {finding.name for finding in check(layout.folder).findings} == {"saturated", "more-bits"}


def test_codes_are_unique_and_the_docs_list_them_with_their_meanings():
    codes = [code.code for code in CODES.values()]
    assert len(set(codes)) == len(codes) and codes == sorted(codes, key=lambda code: ("EWN".index(code[0]), code))
    text = (ROOT / "docs" / "how_to" / "check_data.md").read_text()
    listed = re.findall(r"^\| `([EWN]\d{3}) ([a-z-]+)` \| ([^|]+) \| ([^|]+) \|$", text, re.MULTILINE)
    assert [row[:3] for row in listed] == [(code.code, code.name, code.meaning) for code in CODES.values()]
    assert all(len(row[3].strip()) > 5 for row in listed)


def test_findings_stand_errors_first_and_are_counted():
    names = ["unlisted", "colour", "leak", "saturated", "json-missing"]
    ordered = in_order([Finding(name, "text") for name in names])
    assert [finding.name for finding in ordered] == ["json-missing", "leak", "saturated", "colour", "unlisted"]
    assert count(ordered) == {"error": 2, "warning": 2, "note": 1}


def test_a_line_is_one_line_that_steers_no_terminal():
    finding = Finding("colour", "a\nb\x1b[31m\ud800", "train", 3, None, "evil\r\n\x07.png")
    assert finding.line() == "W225 colour train image 3 (evil ?.png): a b?[31m?"
    assert len(printable("x" * 9999)) == LONGEST_TEXT
