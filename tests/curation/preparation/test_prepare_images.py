"""datasets/prepare_images.py: what comes out, from every format, and that it loads and trains as any data set here."""

import json
import os
import stat

import numpy as np
import pytest
from dicom_files import CANARIES, ROOT_UID, canary_dicom, write_dicom
from labelled_study import BOXES, SIZE, write_png
from PIL import Image

from meddet_d2.data import load_cdh_layout
from meddet_d2.formats import Pseudonyms


def test_what_comes_out(study):
    said = study.run()
    contents = study.contents()
    assert {name: len(content["images"]) for name, content in contents.items()} == {"test": 2, "train": 10}
    pseudonyms = Pseudonyms("a salt for tests")
    by_patient = {pseudonyms.patient(f"Patient {number}"): number for number in range(6)}
    for content in contents.values():
        assert [category["name"] for category in content["categories"]] == ["protrusion", "non-protrusion"]
        assert content["images"] == sorted(
            content["images"], key=lambda image: (image["patient_id"], image["file_name"])
        )
        for image in content["images"]:
            assert (image["width"], image["height"]) == SIZE and "spacing" not in image
            patient = by_patient[image["patient_id"]]
            boxes = [box for box in content["annotations"] if box["image_id"] == image["id"]]
            expected = [] if patient == 5 else BOXES[patient % 2 :]
            assert [(box["category_id"], box["level"]) for box in boxes] == [
                (1 if label == "protrusion" else 2, level) for label, _, level in expected
            ]
            for box, (_, (left, top, right, bottom), _) in zip(boxes, expected, strict=True):
                assert box["bbox"] == [left, top, right - left, bottom - top]
                assert box["area"] == (right - left) * (bottom - top) and box["iscrowd"] == 0
    written = {path.read_bytes() for path in (study.output / "images").iterdir()}
    pixels = {np.asarray(Image.open(path)).tobytes() for path in (study.output / "images").iterdir()}
    sources = {np.asarray(Image.open(path)).tobytes() for path in study.images.rglob("*.png")}
    assert pixels == sources and len(written) == 12
    for split in contents:
        assert load_cdh_layout(study.output / f"{split}.json", study.output / "images", f"prepared_{split}")
    account = json.loads((study.output / "preparation.json").read_text())
    assert account["splits"]["train"]["patients"] == 5 and account["settings"]["patients_from"] == "folder"
    assert f"meddet check-data {study.output}" in said and "meddet train" in said
    assert f"DETECTRON2_DATASETS={study.output.parent}" in said


@pytest.mark.parametrize("polygons", [False, True])
def test_all_formats_of_one_scene_give_the_same_files(study, tmp_path, polygons):
    found = {}
    for kind in ("labelme", "voc", "cvat", "yolo", "coco"):
        if kind == "voc" and polygons:
            continue
        study.annotate(kind, **({"polygons": polygons} if polygons else {}))
        study.run("--force")
        assert len(study.boxes_in()) == 16 and all("level" in box for box in study.boxes_in())
        found[kind] = study.files()
        account = json.loads(found[kind].pop("preparation.json"))
        assert account["settings"].pop("format") == kind
        found[kind]["account"] = account
    assert all(files == found["coco"] for files in found.values())


def test_the_split_is_the_same_whatever_the_order_of_files_and_other_for_another_seed(study, tmp_path):
    study.run()
    expected = study.files()
    study.scene.reverse()
    study.annotate("coco")
    (study.images / "Patient 3").rename(study.images / "moved")
    (study.images / "moved").rename(study.images / "Patient 3")
    study.run("--force")
    assert study.files() == expected
    seeds = set()
    for seed in range(6):
        study.run("--force", "--seed", seed)
        seeds.add(tuple(sorted({image["patient_id"] for image in study.contents()["test"]["images"]})))
    assert len(seeds) > 1


def test_three_parts_a_list_and_a_column_of_splits(study, tmp_path):
    study.run("--split", "0.5", "0.2", "0.3")
    account = json.loads((study.output / "preparation.json").read_text())["splits"]
    assert {name: of["patients"] for name, of in account.items()} == {"train": 3, "val": 1, "test": 2}
    assert (study.output / "val.json").is_file()

    pseudonyms = Pseudonyms("a salt for tests")
    listed = tmp_path / "test patients.txt"
    listed.write_text("Patient 1\nPatient 4\n\nPatient 77\n")
    said = study.run("--force", "--test-patients", listed)
    test = {image["patient_id"] for image in study.contents()["test"]["images"]}
    assert test == {pseudonyms.patient("Patient 1"), pseudonyms.patient("Patient 4")}
    assert "1 patients of the list for the test that have no image:\n  'Patient 77'" in said

    table = tmp_path / "table.csv"
    splits = ["Training", "test", "val", "train", "", "train"]
    rows = [f"Ä {p} b{n}.png;{p + 100};{splits[p] or ('train', 'test')[n]}" for p in range(6) for n in range(2)]
    table.write_text("\n".join(["Bild;Patient;Seite", *rows]), encoding="utf-8-sig")
    said = study.run(
        "--force", "--patients", table, "--image-column", "Bild", "--patient-column", "Patient",
        "--split-column", "Seite", owner=(),
    )  # fmt: skip
    account = json.loads((study.output / "preparation.json").read_text())
    assert {name: of["patients"] for name, of in account["splits"].items()} == {"train": 3, "val": 1, "test": 1}
    assert account["findings"]["no_split"] == 2 and "test, train" in said
    assert {image["patient_id"] for image in study.images_in()} <= {pseudonyms.patient(str(p + 100)) for p in range(6)}
    assert len(list((study.output / "images").iterdir())) == 10


def test_a_pattern_names_the_patient(study):
    study.run("--patient-pattern", r"Ä (\d) b", owner=())
    pseudonyms = Pseudonyms("a salt for tests")
    assert {image["patient_id"] for image in study.images_in()} == {pseudonyms.patient(str(p)) for p in range(6)}


def test_labels_of_ones_own(study):
    study.scene = [
        (name, size, [({"protrusion": "Hernie", "non-protrusion": "Non Protrusion"}[a], b, c) for a, b, c in boxes])
        for name, size, boxes in study.scene
    ]
    study.scene[0][2].append(("Artefakt", (1, 1, 9, 9), None))
    study.annotate("coco")
    line = study.error()
    assert "labels without a class: 'Hernie' (6), 'Artefakt' (1)" in line and not list(study.output.parent.iterdir())
    said = study.run("--classes", "hernie=protrusion", "--ignore-label", "artefakt")
    assert len(study.boxes_in()) == 16 and study.counts()["ignored_labels"] == 1 and "'Artefakt'" in said


def test_boxes_are_cut_at_the_border_and_slips_leave_their_image_out(study):
    """Without the box its disc would be healthy."""
    study.scene[0] = (*study.scene[0][:2], [("protrusion", (-3.5, 40.004, 10.0, 50.0), None)])
    for place, slip in ((1, (10.0, 10.0, 10.5, 30.0)), (2, (-9.0, 5.0, -2.0, 30.0)), (3, (70.0, 5.0, 90.0, 30.0))):
        study.scene[place] = (*study.scene[place][:2], [*BOXES, ("protrusion", slip, None)])
    study.annotate("coco")
    said = study.run()
    assert [0.0, 40.0, 10.0, 8.0] in [box["bbox"] for box in study.boxes_in()] and len(study.images_in()) == 9
    counts = study.counts()
    assert (counts["degenerate_boxes"], counts["clipped_boxes"]) == (3, 1)
    assert "Ä 0 b1.png: 'protrusion' at (10, 10) to (10.5, 30)" in said


def test_an_image_without_annotation_is_left_out_or_healthy_as_asked(study):
    write_png(study.images / "Patient 1" / "new.png", 77)
    write_png(study.images / "Patient 1" / "stale.png", 78)
    study.annotations = study.annotate("labelme")
    (study.annotations / "stale.json").write_text("{")
    said = study.run()
    assert study.counts()["unannotated_images"] == 1 and "new.png" in said
    assert "stale.png (stale.json): is no json" in said
    assert len(study.images_in()) == 12
    study.run("--force", "--healthy-without-annotation")
    assert len(study.images_in()) == 13, "the one whose annotation cannot be read is not healthy"
    assert study.counts()["unannotated_kept"] == 1 and study.counts()["unusable_annotations"] == 1


# --- DICOM and what must not get out ----------------------------------------------------------------------------------


def dicom_study(study, make=write_dicom) -> None:
    """The same study as DICOM files named by a scanner, annotated on exported PNGs, patients by PatientID."""
    for path in list(study.images.rglob("*.png")):
        path.unlink()
    scene = []
    for patient in range(6):
        folder = study.images / f"CANARY^Petunia {patient}"
        folder.mkdir()
        for number in range(2):
            name = f"IM{patient}{number}"
            pixels = np.random.default_rng(10 * patient + number).integers(0, 4096, SIZE[::-1], np.uint16)
            make(
                folder / name, pixels, PatientID=f"canary-{patient}", PixelSpacing=[0.7, 0.4],
                SOPInstanceUID=f"{ROOT_UID}.{patient}.{number}",
            )  # fmt: skip
            scene.append((f"CANARY^Petunia {patient}/{name}.png", SIZE, BOXES[patient % 2 :]))
    study.scene = scene
    study.annotate("coco")


def test_dicom_names_its_patients_and_gives_the_spacing(study, tmp_path):
    dicom_study(study)
    key = tmp_path / "secret" / "key.csv"
    study.run("--key", key, owner=())
    images = study.images_in()
    pseudonyms = Pseudonyms("a salt for tests")
    assert {image["patient_id"] for image in images} == {pseudonyms.patient(f"canary-{n}") for n in range(6)}
    assert {tuple(image["spacing"]) for image in images} == {(0.7, 0.4)}
    with Image.open(study.output / "images" / images[0]["file_name"]) as image:
        assert image.mode == "L" and image.size == SIZE and len(np.unique(image)) > 200
    assert stat.S_IMODE(os.stat(key).st_mode) == 0o600
    rows = key.read_text().splitlines()
    assert len(rows) == 13 and rows[0] == "image,patient,source,source patient"
    assert {row.split(",")[0] for row in rows[1:]} == {image["file_name"] for image in images}
    assert all("CANARY^Petunia" in row for row in rows[1:])


def test_no_canary_gets_into_any_file(study, tmp_path):
    dicom_study(study)
    # One file with a canary in every tag; it takes long to write and to read.
    canary_dicom(
        study.images / "CANARY^Petunia 0" / "IM00",
        np.random.default_rng(99).integers(0, 4096, SIZE[::-1], np.uint16),
        PatientID="canary-0",
    )
    table = tmp_path / "table canary.csv"
    rows = [f"IM{p}{n}.dcm,Canary Petunia {p}" for p in range(6) for n in range(2)]
    table.write_text("\n".join(["image,patient", *rows]))
    for number, owner in enumerate([(), ("--patients", table)]):
        study.output = tmp_path / str(number) / "cdh1848"
        study.run(owner=owner)
        files = study.files()
        assert len(files) == 15 and len(study.images_in()) == 12
        for name, content in files.items():
            found = [canary for canary in CANARIES if canary.encode() in content.lower() + name.lower().encode()]
            assert not found, (name, found)
            assert str(tmp_path).encode() not in content and b"IM0" not in content
        for path in (study.output / "images").iterdir():
            with Image.open(path) as image:
                assert image.info == {}
            # Signature, then header, pixels and end: no chunk that could hold a text.
            data, offset, chunks = path.read_bytes(), 8, []
            while offset < len(data):
                chunks.append(data[offset + 4 : offset + 8])
                offset += 12 + int.from_bytes(data[offset : offset + 4], "big")
            assert set(chunks) == {b"IHDR", b"IDAT", b"IEND"}


def test_two_names_of_one_person_are_joined(study, tmp_path):
    dicom_study(study)
    table = tmp_path / "table.csv"
    # The table takes the two images of patient 3 for two people; DICOM knows better.
    rows = [f"IM{p}{n},{p}{n if p == 3 else ''}" for p in range(6) for n in range(2)]
    table.write_text("\n".join(["image,patient", *rows]))
    said = study.run("--patients", table, owner=())
    assert len({image["patient_id"] for image in study.images_in()}) == 6
    assert study.counts()["joined_patients"] == 1 and "two patients with one PatientID" in said
    # A PatientID that somebody has put into all files joins nobody.
    for path in study.images.rglob("IM*"):
        digit = path.name[2:]
        pixels = np.random.default_rng(int(digit)).integers(0, 4096, SIZE[::-1], np.uint16)
        write_dicom(path, pixels, PatientID="ANONYMOUS", SOPInstanceUID=f"{ROOT_UID}.1{digit}")
    study.run("--force", "--patients", table, owner=())
    assert len({image["patient_id"] for image in study.images_in()}) == 7
    assert "joined_patients" not in study.counts() and study.counts()["remarks"] == 1


def test_images_that_share_an_identifier_keep_apart(study):
    dicom_study(study)
    for path in study.images.rglob("IM*"):
        pixels = np.random.default_rng(int(path.name[2:])).integers(0, 4096, SIZE[::-1], np.uint16)
        write_dicom(path, pixels, PatientID=path.name[2], SOPInstanceUID=f"{ROOT_UID}.1")
    study.run(owner=())
    assert len({image["file_name"] for image in study.images_in()}) == 12
    assert len(list((study.output / "images").iterdir())) == 12
