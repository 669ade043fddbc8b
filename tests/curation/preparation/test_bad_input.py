"""Bad input to datasets/prepare_images.py: counted, named, never fatal to the rest unless --strict."""

import json
import os
import subprocess
import sys

import numpy as np
import pytest
from dicom_files import write_dicom
from labelled_study import BOXES, ROOT, SIZE, findings, write_png
from PIL import Image

from meddet_d2.formats import Pseudonyms


def test_a_clean_study_is_strict_and_nothing_is_overwritten_without_force(study):
    study.run("--strict")
    before = study.files()
    assert "add --force to replace it" in study.error()
    assert study.files() == before
    study.run("--force", "--strict", "--seed", "3")
    assert study.files().keys() == before.keys() and study.files() != before
    assert [path.name for path in study.output.parent.iterdir()] == ["cdh1848"], "nothing hidden stays"


def test_a_folder_that_is_no_prepared_data_set_is_never_replaced(study):
    study.output.mkdir(parents=True)
    (study.output / "thesis.docx").write_text("years of work")
    assert "did not make" in study.error("--force")
    assert (study.output / "thesis.docx").read_text() == "years of work"


@pytest.mark.parametrize("place", [".", "images", "images/Patient 0", "annotations/coco", ".."])
def test_the_output_and_the_sources_do_not_lie_in_each_other(study, place):
    study.output = study.root / place
    before = sorted(study.root.rglob("*"))
    assert "one lies in the other" in study.error("--force")
    assert sorted(study.root.rglob("*")) == before


def test_annotations_of_images_that_are_not_there(study):
    (study.images / "Patient 2" / "Ä 2 b0.png").unlink()
    said = study.run()
    assert findings(said, "1 annotations of images that are not there:") == ["  instances.json: Ä 2 b0.png"]
    assert len(study.images_in()) == 11 and study.counts()["missing_images"] == 1


def test_unreadable_and_constant_images(study):
    (study.images / "Patient 0" / "Ä 0 b0.png").write_bytes(b"\x89PNG\r\n\x1a\nbroken")
    (study.images / "Patient 0" / "Ä 0 b1.png").write_bytes(b"")
    Image.new("L", SIZE, 7).save(study.images / "Patient 1" / "Ä 1 b0.png")
    said = study.run()
    unreadable = findings(said, "2 images that cannot be read:")
    assert "Ä 0 b0.png" in unreadable[0] and "Ä 0 b1.png: is empty" in unreadable[1]
    assert "Ä 1 b0.png" in findings(said, "1 images left out, because all their pixels are the same:")[0]
    assert len(study.images_in()) == len(list((study.output / "images").iterdir())) == 9


def test_an_annotation_of_another_size(study):
    study.scene[0] = (study.scene[0][0], (48, 64), study.scene[0][2])
    study.annotate("voc")
    said = study.run()
    (line,) = findings(said, "1 images left out, because their annotation is of another size:")
    assert "Ä 0 b0.png: 64 x 48, but 48 x 64 in Ä 0 b0.xml" in line and len(study.images_in()) == 11


def test_rotated_boxes_leave_their_image_out_and_not_the_rest(study):
    study.annotate("yolo")
    (study.annotations / "Ä 0 b0.txt").write_text("0 0.1 0.1 0.2 0.15 0.15 0.25 0.05 0.2\n")
    said = study.run()
    (line,) = findings(said, "1 images left out, because their annotation cannot be used:")
    assert "rotated (OBB)" in line and len(study.images_in()) == 11


@pytest.mark.parametrize("kind", ["labelme", "cvat", "coco", "voc"])
def test_boxes_in_fractions_make_no_image_healthy(study, kind):
    study.scene = [
        (name, size, [(label, tuple(value / 64 for value in box), level) for label, box, level in boxes])
        for name, size, boxes in study.scene
    ]
    study.annotate(kind)
    # The two images of the healthy patient stay: too few to split.
    said = study.run(status=1)
    assert said.count("are these fractions of the image? Export pixels") == 10
    assert "error: 1 patients cannot be split" in said


@pytest.mark.parametrize("kind", ["labelme", "cvat"])
def test_shapes_of_ignored_labels_may_be_of_any_kind(study, kind):
    study.annotate(kind)
    if kind == "labelme":
        for path in study.annotations.glob("*.json"):
            content = json.loads(path.read_text(encoding="utf-8"))
            content["shapes"].append({"label": "Cord", "shape_type": "point", "points": [[3, 4]]})
            path.write_text(json.dumps(content))
    else:
        text = study.annotations.read_text(encoding="utf-8")
        text = text.replace("</image>", '<points label="Cord" points="3,4"/></image>').replace(
            'height="48" />', 'height="48"><points label="Cord" points="3,4"/></image>'
        )
        study.annotations.write_text(text, encoding="utf-8")
    assert "labels without a class: 'Cord' (12)" in study.error()
    study.run("--ignore-label", "cord")
    assert len(study.images_in()) == 12 and len(study.boxes_in()) == 16
    assert study.counts()["ignored_labels"] == 12
    said = study.run("--force", "--classes", "cord=protrusion", status=1)
    assert len(findings(said, "12 images left out, because their annotation cannot be used:")) == 12


def test_a_file_that_cannot_be_read_makes_no_image_healthy(study):
    content = json.loads(study.annotations.read_text(encoding="utf-8"))
    content["annotations"][0]["image_id"] = 99
    study.annotations.write_text(json.dumps(content))
    assert "cannot be read, so that the images it annotates would be healthy" in study.error(
        "--healthy-without-annotation"
    )
    said = study.run(status=1)
    assert "instances.json: has no image 99, which is the image_id of annotation 1" in said


def test_a_console_without_a_names_letters_is_no_error(study):
    environment = {**os.environ, "PYTHONIOENCODING": "ascii"}
    study.output = study.output.with_name("椎间盘")
    command = [sys.executable, "datasets/prepare_images.py", study.images, "--annotations", study.annotations]
    options = ["--format", "coco", "--patient-folder", "1", "--output", study.output]
    done = subprocess.run([*command, *options], env=environment, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0 and "\\u690e" in done.stdout, done.stderr
    assert len(study.images_in()) == 12


def test_two_annotations_of_one_image(study):
    study.annotate("labelme")
    (study.annotations / "again").mkdir()
    text = (study.annotations / "Ä 3 b1.json").read_text(encoding="utf-8")
    (study.annotations / "again" / "other.json").write_text(text, encoding="utf-8")
    said = study.run()
    (line,) = findings(said, "1 images left out, because they have several annotations:")
    assert "other.json" in line and "Ä 3 b1.json" in line and len(study.images_in()) == 11


def test_paths_in_annotations_are_names_and_nothing_else(study):
    outside = study.root / "secret.png"
    write_png(outside, 1)
    study.scene = [(f"C:\\Users\\..\\..\\x/../{name}", size, boxes) for name, size, boxes in study.scene]
    study.scene.append(("../secret.png", SIZE, BOXES))
    study.scene.append((str(outside), SIZE, BOXES))
    study.annotate("coco")
    before = sorted(study.root.rglob("*"))
    said = study.run()
    assert len(findings(said, "2 annotations of images that are not there:")) == 2
    assert len(study.images_in()) == 12
    after = [path for path in study.root.rglob("*") if study.output.parent not in (path, *path.parents)]
    assert sorted(after) == before


def test_names_that_occur_in_several_folders(study):
    """Scanners call every patient's first image IM0001: the folders decide, or the image is left out."""
    for path in list(study.images.rglob("*.png")):
        path.unlink()
    for patient in range(6):
        for number in range(2):
            write_png(study.images / f"Patient {patient}" / f"IM{number}.png", 10 * patient + number)
    study.scene = [(f"Patient {p}/IM{n}.png", SIZE, BOXES[p % 2 :]) for p in range(6) for n in range(2)]
    study.scene[3] = ("IM1.png", SIZE, BOXES)
    study.annotate("coco")
    said = study.run()
    assert "IM1.png" in findings(said, "1 annotations or rows that fit several images:")[0]
    assert len(study.images_in()) == 11 and "unannotated_images" not in study.counts()

    # LabelMe's files in folders like those of the images; one patient's images are not there.
    for patient in range(6):
        for number in range(2):
            shapes = [
                {"label": label, "points": [box[:2], box[2:]], "shape_type": "rectangle"}
                for label, box, _ in BOXES[patient % 2 :]
            ]
            folder = study.root / "mirrored" / f"Patient {patient}"
            folder.mkdir(parents=True, exist_ok=True)
            (folder / f"IM{number}.json").write_text(json.dumps({"shapes": shapes, "imagePath": f"IM{number}.png"}))
    study.annotations, study.kind = study.root / "mirrored", "labelme"
    study.run("--force", "--strict")
    protruding = {image["patient_id"] for image in study.images_in()}
    assert len(protruding) == 6 and sum(box["category_id"] == 1 for box in study.boxes_in()) == 6
    (study.images / "Patient 2").rename(study.root / "elsewhere")
    said = study.run("--force")
    assert len(findings(said, "2 annotations of images that are not there:")) == 2
    assert len(study.images_in()) == 10


def test_a_decomposed_umlaut_is_the_same_name(study):
    study.scene = [(name.replace("Ä", "A\u0308"), size, boxes) for name, size, boxes in study.scene]
    study.annotate("coco")
    study.run("--strict")
    assert len(study.images_in()) == 12


def test_files_among_the_images_that_are_none(study):
    study.annotate("labelme")
    for path in study.annotations.iterdir():
        path.rename(study.images / path.name)
    study.annotations = study.images
    said = study.run()
    assert study.counts()["other_files"] == 12 and len(study.images_in()) == 12
    assert "... and" not in said


def test_links_are_followed_once_and_hidden_files_are_counted(study):
    (study.images / "Patient 5").rename(study.root / "elsewhere")
    (study.images / "Patient 5").symlink_to(study.root / "elsewhere")
    (study.images / "Patient 4" / "round").symlink_to(study.images)
    (study.images / "Patient 4" / "._IM0001").write_bytes(b"AppleDouble")
    said = study.run("--strict")
    assert len(study.images_in()) == 12
    (line,) = findings(said, "1 files and folders that are neither images nor annotations:")
    assert line.endswith("._IM0001: begins with a dot")


def test_a_folder_that_cannot_be_opened(study, monkeypatch):
    scandir = os.scandir

    def refuse(path):
        if str(path).endswith("Patient 3"):
            raise PermissionError(13, "Permission denied", str(path))
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refuse)
    said = study.run()
    assert "Patient 3: the folder cannot be opened (Permission denied)" in said
    assert study.counts()["missing_images"] == 2 and len(study.images_in()) == 10


def test_many_findings_are_shortened_unless_verbose(study):
    study.scene += [(f"missing {number}.png", SIZE, []) for number in range(50)]
    study.annotate("coco")
    names = findings(study.run(), "50 annotations of images that are not there:")
    assert len(names) == 21 and names[-1] == "  ... and 30 more (--verbose names them)"
    assert len(findings(study.run("--force", "--verbose"), "50 annotations of images that are not there:")) == 50


def test_strict_writes_nothing_and_keeps_what_was_there(study):
    study.run()
    before = study.files()
    (study.images / "Patient 2" / "Ä 2 b0.png").unlink()
    said = study.run("--strict", "--force", status=1)
    assert "error: 1 problems, named above, and --strict: nothing was written." in said
    assert study.files() == before and [path.name for path in study.output.parent.iterdir()] == ["cdh1848"]


def test_too_few_patients(study):
    for patient in range(1, 6):
        (study.images / f"Patient {patient}").rename(study.root / f"away {patient}")
    assert "1 patients cannot be split into 2 parts (train, test)" in study.error()
    assert not study.output.exists()


def test_the_key_is_not_in_the_data_set_and_not_replaced(study, tmp_path):
    assert "which is to be passed on" in study.error("--key", study.output / "images" / "key.csv")
    key = tmp_path / "key.csv"
    key.write_text("precious")
    assert "is there already" in study.error("--key", key) and key.read_text() == "precious"
    study.scene = []
    study.annotate("coco")
    study.run("--key", tmp_path / "new.csv", status=1)
    assert not (tmp_path / "new.csv").exists(), "no key without a data set"


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--split", "0.8", "0.3"), "--split 0.8 0.3: give two or three fractions"),
        (("--split", "1"), "--split 1: give two or three"),
        (("--split", "1", "0"), "greater than 0"),
        (("--split", "nan", "0.5"), "greater than 0"),
        (("--seed", "-1"), "--seed -1: give a whole number"),
        (("--classes", "a=b"), "--classes 'a=b': write LABEL=CLASS"),
        (("--classes", "a=protrusion", "A=non-protrusion"), "has two classes"),
        (("--ignore-label", "Protrusion"), "take one of the two"),
        (("--split-column", "split"), "column of the table of --patients"),
        (("--test-patients", "nowhere.txt"), "nowhere.txt"),
        (("--test-patients", "nowhere.txt", "--split", "0.5", "0.5"), "exclude each other"),
        (("--annotations", "nowhere"), "nowhere: no such file or folder of annotations"),
    ],
)
def test_mistakes_of_the_command_line_are_one_line(study, options, words):
    assert words in study.error(*options)
    assert not study.output.exists()


def test_a_series_of_many_slices_of_which_one_is_annotated(study):
    """The rest of a series is not healthy: it is left out unless somebody says that it is."""
    for number in range(5):
        pixels = np.random.default_rng(number).integers(0, 4096, SIZE[::-1], np.uint16)
        write_dicom(study.images / "Patient 4" / f"slice{number}.dcm", pixels, SOPInstanceUID=f"1.2.3.{number}")
    study.scene.append(("slice2.png", SIZE, BOXES))
    study.annotate("coco")
    said = study.run()
    assert len(findings(said, "4 images left out, because nothing annotates them:")) == 4
    assert len(study.images_in()) == 13
    patient = Pseudonyms("a salt for tests").patient("Patient 4")
    assert sum(image["patient_id"] == patient for image in study.images_in()) == 3
