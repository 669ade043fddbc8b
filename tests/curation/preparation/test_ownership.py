"""Whose an image is, and what may be one patient or one image: datasets/prepare_images.py on tables and copies."""

import pytest
from labelled_study import BOXES, SIZE, findings, write_png
from PIL import Image


def test_a_table_with_unknown_images_and_images_without_a_patient(study, tmp_path):
    rows = [f'"Ä {p} b{n}.png",{p}' for p in range(6) for n in range(2)]
    rows[0] = '"Ä 0 b0.png",'
    rows[2:4] = ['"Ä 1 b0.png",1', '"Ä 1 b0.png","1, or 7"', "stranger.png,99", "twin.png,3"]
    for patient in (3, 4):
        write_png(study.images / f"Patient {patient}" / "twin.png", 100 + patient)
    table = tmp_path / "table.csv"
    table.write_text("\n".join(["image,patient", *rows]), encoding="utf-8")
    said = study.run("--patients", table, owner=())
    assert findings(said, "1 rows of the table whose image is not there:") == [f"  {table}, row 6: 'stranger.png'"]
    assert len(findings(said, "2 images left out, because nothing says whose they are:")) == 2
    (line,) = findings(said, "1 images left out, because they have several patients:")
    assert "Ä 1 b0.png: 2 patients" in line
    (line,) = findings(said, "1 annotations or rows that fit several images:")
    assert "row 7: " in line and "Patient 3/twin.png or " in line
    assert len(study.images_in()) == 9
    assert study.counts()["no_patient"] == 2, "Ä 0 b0 and Ä 1 b1"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (b"image;patient\nM\xfcller.png;1\n", "not UTF-8 text"),
        (b"picture,patient\na.png,1\n", "no column 'image'; its columns are picture, patient"),
        (b"", "no column 'patient'"),
        (b'image,patient\n"a.png,1\n', "cannot be read as a table"),
        (b"image,patient,patient\na.png,1,2\n", "2 columns 'patient'"),
        (b"image,patient\na.png,Doe, J.\n", "row 2: more cells than the heading has"),
        (b"image,patient\na.png,1.23457E+11\n", "row 2: the patient is a number that a spreadsheet has shortened"),
    ],
)
def test_tables_that_cannot_be_used(study, tmp_path, text, words):
    (tmp_path / "table.csv").write_bytes(text)
    line = study.error("--patients", tmp_path / "table.csv", owner=())
    assert words in line and str(tmp_path / "table.csv") in line


def test_ways_of_writing_that_may_be_one_patient_are_on_one_side(study, tmp_path):
    """Spreadsheets make 12.0 of 12 and 7 of 007, and people add blanks: all of them are one patient, and named."""
    ways = ["12", "12.0", "007", "7", "7\u00a0", " 7 ", "A\u00a07", "a  7", "Ä", "A\u0308", "\u200bx", "x"]
    rows = [f"Ä {n // 2} b{n % 2}.png;{way}" for n, way in enumerate(ways)]
    table = tmp_path / "table.csv"
    table.write_bytes("\n".join(["sep=;", "image;patient", *rows]).encode("utf-16"))
    listed = tmp_path / "listed.txt"
    listed.write_text("0012\nA 7\n")
    said = study.run("--patients", table, "--test-patients", listed, owner=())
    assert len({image["patient_id"] for image in study.images_in()}) == 5
    assert len(study.contents()["test"]["images"]) == 4 and "unknown_test_patients" not in study.counts()
    assert study.counts()["joined_patients"] == 5
    assert "one patient, written in two ways, for example" in said
    folders = {"Patient 1": "003", "Patient 3": "3", "Patient 4": "3.0"}
    for name, new in folders.items():
        (study.images / name).rename(study.images / new)
    study.run("--force")
    assert len({image["patient_id"] for image in study.images_in()}) == 4


def test_a_blank_of_any_kind_is_no_patient(study, tmp_path):
    rows = [f"Ä {p} b{n}.png,{p if n else chr(0x200B)}" for p in range(6) for n in range(2)]
    (tmp_path / "table.csv").write_text("\n".join(["image,patient", *rows]), encoding="utf-8")
    study.run("--patients", tmp_path / "table.csv", owner=())
    assert study.counts()["no_patient"] == 6 and len(study.images_in()) == 6


def test_without_a_source_of_patients_there_is_nothing(study):
    said = study.run(owner=(), status=1)
    assert len(findings(said, "12 images left out, because nothing says whose they are:")) == 12
    assert "error: no image can be used; what was left out is named above." in said
    study.run("--patient-folder", "2", owner=(), status=1)


def test_copies_of_an_image_join_their_patients(study):
    source = study.images / "Patient 1" / "Ä 1 b0.png"
    for name, patient in (("same.png", 1), ("other.png", 3)):
        # The same pixels in another file.
        Image.open(source).save(study.images / f"Patient {patient}" / name, compress_level=1)
        study.scene.append((name, SIZE, BOXES[1:]))
    study.annotate("coco")
    said = study.run()
    assert len(findings(said, "2 copies of an image left out:")) == 2
    assert "other.png" in findings(said, "1 patients joined, because they share a DICOM patient or an image:")[0]
    assert len(study.images_in()) == len(list((study.output / "images").iterdir())) == 12
    assert len({image["patient_id"] for image in study.images_in()}) == 5


def test_copies_with_other_boxes_are_left_out(study):
    Image.open(study.images / "Patient 1" / "Ä 1 b0.png").save(study.images / "Patient 1" / "same.png")
    study.scene.append(("same.png", SIZE, BOXES[:1]))
    study.annotate("coco")
    said = study.run()
    assert len(findings(said, "2 copies of an image left out, because their boxes differ:")) == 2
    assert len(study.images_in()) == 11


def test_mistakes_of_the_owner(study):
    assert "folders are counted from 1" in study.error(owner=("--patient-folder", "0"))
    assert "is no regular expression" in study.error(owner=("--patient-pattern", "("))
    study.images = study.root / "nowhere"
    assert "nowhere: no such folder of images" in study.error()
