"""The table of readers: how sound files of each kind are made, how they are read, and what a reader may raise."""

import json
import math
import pickle
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from random import Random
from typing import Any

import annotation_files
import clinical_sets
import cv2
import dicom_files
import layouts
import nibabel
import numpy as np
import pydicom
import SimpleITK
import tiny_runs
import torch
import yaml
from fuzz_changes import (
    change_bytes,
    change_csv,
    change_inside_deflated,
    change_inside_gzip,
    change_json,
    change_text,
    change_xml,
    change_yaml,
)
from landmark_truths import landmark_json, write_landmark_set
from PIL import Image
from pydicom.uid import DeflatedExplicitVRLittleEndian, RLELossless
from safetensors.torch import save_file

import meddet_d2
from meddet_d2.benchmark.suite import load_suite
from meddet_d2.curation.checking.annotation_checks import read_splits
from meddet_d2.curation.preparation.annotation_files import match, read_annotations
from meddet_d2.curation.preparation.classes import ClassMap
from meddet_d2.curation.preparation.image_index import ImageIndex
from meddet_d2.curation.preparation.omissions import Findings
from meddet_d2.curation.preparation.shape_boxes import make_boxes, with_landmarks_alone, without_ignored
from meddet_d2.curation.preparation.spider import read_gradings, read_official_split
from meddet_d2.curation.preparation.table import read_table
from meddet_d2.curation.preparation.yolo import read_names
from meddet_d2.data import cdh_layout, load_cdh_layout
from meddet_d2.deploy.card import ModelCard
from meddet_d2.deploy.web_guard import Guard
from meddet_d2.evaluation.clinical.study import read_study
from meddet_d2.evaluation.landmarks import truth_of_json
from meddet_d2.evaluation.landmarks.landmark_predictions import read_predictions
from meddet_d2.formats import MRSlice, Problem, Pseudonyms, ReadError, collect, read_slices
from meddet_d2.formats.metaimage import read_volume
from meddet_d2.modeling.weights import read_checkpoint

PSEUDONYMS = Pseudonyms("a salt for tests")
VALUES = np.random.default_rng(0).integers(0, 4096, (12, 10), dtype=np.uint16)
SCENE = [("a b.png", (64, 48), [("protrusion", (4.25, 6.5, 20.75, 14.0), "C5/6")]), ("c.png", (64, 48), [])]
MISTAKES = (ValueError, FileNotFoundError)


@dataclass(frozen=True)
class Reader:
    """A row of the table.

    Attributes:
        name: of the kind of file.
        make: sound files of it, in a new folder; other files beside them stay for ``read``.
        read: reads one.
        errors: what it may raise; exactly these types, not those below them.
        change: makes another file of a sound one.
        names_file: whether each message must name the file.
    """

    name: str
    make: Callable[[Path], list[Path]]
    read: Callable[[Path], Any]
    errors: tuple[type[Exception], ...]
    change: Callable[[Random, bytes], bytes]
    names_file: bool = True


# --- sound files -----------------------------------------------------------------------------------------------------


def make_picture(kind: str, folder: Path) -> list[Path]:
    eight = (VALUES // 16).astype(np.uint8)
    Image.fromarray(eight).save(folder / f"eight.{kind}")
    Image.fromarray(np.stack([eight] * 3, axis=2)).save(folder / f"colour.{kind}")
    if kind in ("png", "tif"):
        Image.fromarray(VALUES).save(folder / f"grey.{kind}")
        cv2.imwrite(str(folder / f"deep.{kind}"), np.stack([VALUES] * 3, axis=2))
    return sorted(folder.glob(f"*.{kind}"))


SAMPLES = {
    "jpeg": "SC_rgb_jpeg_dcmtk.dcm",
    "jpeg2000": "MR_small_jp2klossless.dcm",
    "jpegls": "MR_small_jpeg_ls_lossless.dcm",
}


def make_dicom_file(kind: str, folder: Path) -> list[Path]:
    path = folder / f"{kind}.dcm"
    display = {"WindowCenter": 2000, "WindowWidth": 4000, "RescaleSlope": 1, "RescaleIntercept": 0}
    if kind == "plain":
        dicom_files.write_dicom(path, VALUES, **display)
        bare = folder / "bare.dcm"
        bare.write_bytes(path.read_bytes()[132:])
        return [path, bare]
    if kind == "frames":
        dicom_files.write_dicom(path, np.stack([VALUES] * 3), **display)
    elif kind == "deflated":
        dataset = dicom_files.make_dicom(VALUES, **display)
        dataset.file_meta.TransferSyntaxUID = DeflatedExplicitVRLittleEndian
        dicom_files.save(dataset, path)
    elif kind == "rle":
        dataset = dicom_files.make_dicom(VALUES)
        dataset.compress(RLELossless)
        dicom_files.save(dataset, path)
    elif kind == "lossless jpeg":
        dicom_files.write_lossless_jpeg(path, VALUES)
    else:
        # Copied by content: pydicom brings these files with it.
        path.write_bytes((Path(pydicom.__file__).parent / "data" / "test_files" / SAMPLES[kind]).read_bytes())
    return [path]


def make_nifti(kind: str, folder: Path) -> list[Path]:
    volume = np.stack([VALUES] * 3).astype(np.int16)
    nibabel.save(nibabel.Nifti1Image(volume, np.eye(4)), folder / f"one.{kind}")
    nibabel.save(nibabel.Nifti2Image(volume.astype(np.float32), np.eye(4)), folder / f"two.{kind}")
    return sorted(folder.glob(f"*.{kind}"))


def make_volume(folder: Path) -> list[Path]:
    paths = [folder / "plain.mha", folder / "packed.mha"]
    for path in paths:
        SimpleITK.WriteImage(SimpleITK.GetImageFromArray(np.stack([VALUES] * 3)), path, path.stem == "packed")
    return paths


def make_annotation(kind: str, folder: Path) -> list[Path]:
    images = folder / "images"
    images.mkdir()
    for name, size, _ in SCENE:
        Image.new("L", size).save(images / name)
    found = []
    for polygons in (False, True):
        options = {} if kind == "voc" else {"polygons": polygons}
        where = annotation_files.write_scene(folder / f"polygons {polygons}", kind, SCENE, **options)
        found += sorted(where.rglob("a b*")) if where.is_dir() else [where]
    return found


def read_annotation(kind: str, path: Path) -> None:
    """Everything that a preparation does with an annotation file before it looks at an image."""
    findings = Findings()
    names = path.parent / "classes.txt"
    if kind == "yolo" and not names.exists():
        names.write_text("protrusion C5/6\n")
    annotations = read_annotations(path, kind, findings, names_file=names if kind == "yolo" else None)
    images = [path.parent / "images" / name for name, _, _ in SCENE]
    index = ImageIndex(path.parent / "images", images)
    match(annotations, index, findings)
    marked = [with_landmarks_alone(annotation, ClassMap(["a"]), findings) for annotation in annotations]
    for annotation in marked:
        for point in (point for shape in annotation.shapes for point in shape.points):
            assert point.label and math.isfinite(point.x) and math.isfinite(point.y) and point.v in (1, 2)
    classes = ClassMap()
    annotations = [without_ignored(annotation, classes, findings) for annotation in annotations]
    annotations = [annotation for annotation in annotations if annotation.problem is None]
    try:
        classes.settle([shape.label for annotation in annotations for shape in annotation.shapes], findings)
    except ValueError:
        return
    for annotation in annotations:
        for box in make_boxes(annotation, (64, 48), classes, findings, annotation.where) or ():
            assert all(map(math.isfinite, box.box))
    list(findings.lines(verbose=True))


def make_names(folder: Path) -> list[Path]:
    listed, table = folder / "list.yaml", folder / "table.yaml"
    listed.write_text(yaml.safe_dump({"path": "x", "nc": 2, "names": ["protrusion", "non-protrusion"]}))
    table.write_text(yaml.safe_dump({"names": {0: "protrusion", 1: "non-protrusion"}}))
    return [listed, table]


def make_table(folder: Path) -> list[Path]:
    path = folder / "table.csv"
    path.write_text("image,patient,split\na b.png,7,train\nc.png,8,test\n")
    return [path]


def read_patients(path: Path) -> None:
    root = path.parent / "images"
    index = ImageIndex(root, [root / name for name, _, _ in SCENE])
    read_table(path, index, Findings(), ("patient", "image", "split"))


def make_gradings(folder: Path) -> list[Path]:
    path = folder / "gradings.csv"
    path.write_text("Patient,IVD label,Disc herniation,new_file_name,subset\n1,1,0,1_t2,training\n")
    return [path]


def read_release(path: Path) -> None:
    read_gradings(path, Findings())
    read_official_split(path)


def make_layout(folder: Path) -> list[Path]:
    layouts.Layout(folder / "data")
    return [folder / "data" / "train.json"]


def check_layout(path: Path) -> None:
    """tools/check_data.py reports mistakes instead of raising them."""
    splits, findings = read_splits(
        [(path, path.parent / "images"), (path.parent / "test.json", path.parent / "images")]
    )
    assert all(math.isfinite(sum(box.corners)) for split in splits for image in split.images for box in image.boxes)
    assert all("\n" not in finding.text for finding in findings)


def make_detections(folder: Path) -> list[Path]:
    cases = [
        clinical_sets.make_case(1, 1, [(10, 10, 20, 8, 0)], [(11, 10, 20, 8, 0, 0.9)], levels=["C5/6"]),
        clinical_sets.make_case(2, 2, [], [(40, 40, 20, 8, 1, 0.4)]),
    ]
    paths = clinical_sets.write_set(folder, cases)
    truth = json.loads(paths[0].read_text())
    named = folder / "named.json"
    named.write_text(json.dumps({"images": truth["images"], "annotations": json.loads(paths[2].read_text())}))
    return [paths[2], named]


def read_detections(path: Path) -> None:
    read_study(cdh_layout(path.parent / "test.json", path.parent / "images"), path)


def make_landmark_results(folder: Path) -> list[Path]:
    points = np.full((2, 4, 2), 9.5)
    return [write_landmark_set(folder, landmark_json(points), points)[2]]


def read_landmark_results(path: Path) -> None:
    truth = truth_of_json(landmark_json(np.full((2, 4, 2), 9.5)))
    found = read_predictions(path, truth, Path("test.json"))
    assert found.shape == (2, 4, 2) and not np.isinf(found).any()


def make_markups(folder: Path) -> list[Path]:
    point = {"label": "a", "position": [1.0, 2.0, 3.0], "positionStatus": "defined"}
    markup = {"type": "Fiducial", "coordinateSystem": "RAS", "coordinateUnits": "mm", "controlPoints": [point, point]}
    (folder / "a.mrk.json").write_text(json.dumps({"markups": [markup]}))
    return [folder / "a.mrk.json"]


def make_card(folder: Path) -> list[Path]:
    card = ModelCard(
        name="net",
        classes=("protrusion", "non-protrusion"),
        image={
            "order": "RGB",
            "min_size": 512,
            "max_size": 900,
            "min_side": 32,
            "mean": [1.0],
            "std": [1.0],
            "divisor": 32,
        },
        thresholds={"score": 0.05, "nms": 0.6, "topk": 1000, "max_detections": 100},
        network={"config": "a.yaml", "config_hash": "x", "nmode": "none", "parameters": 7},
        made_by={"version": "1", "commit": "x", "torch": "2", "engine": "x"},
        trained_on=("phantom",),
        files={"model.onnx": "0" * 64},
    )
    path = folder / "card.json"
    path.write_text(card.to_json())
    return [path]


def read_card(path: Path) -> None:
    """What is then done with a card: nothing in it may be a surprise."""
    card = ModelCard.read(path)
    assert all(isinstance(text, str) and text.isprintable() for text in (card.name, *card.classes, *card.trained_on))
    assert card.image["min_size"] * card.image["max_size"] < 2**30
    sorted(card.files)
    card.to_json()


def make_suite(folder: Path) -> list[Path]:
    path = folder / "suite.yaml"
    row = {"table": "I", "row": "a", "config": "../x.yaml", "seeds": [1, 2], "paper": {"map": 12.5}, "teacher": True}
    path.write_text(
        yaml.safe_dump({"seeds": [1], "teachers": {"seed": 3, "per_seed": True}, "rows": [row], "efficiency": [row]})
    )
    return [path]


def make_config(folder: Path) -> list[Path]:
    base, path = folder / "base.yaml", folder / "config.yaml"
    base.write_text("SOLVER:\n  MAX_ITER: 7\n")
    quickstart = (tiny_runs.ROOT / "configs" / "quickstart.yaml").read_text()
    path.write_text(quickstart.replace("quickstart/Base-Quickstart.yaml", "base.yaml"))
    return [path]


def make_weights(kind: str, folder: Path) -> list[Path]:
    weights = {"conv.weight": torch.arange(12.0).reshape(3, 4), "conv.bias": torch.zeros(3)}
    path = folder / f"weights.{'safetensors' if kind == 'safetensors' else 'pth'}"
    if kind == "safetensors":
        save_file(weights, path)
    else:
        torch.save({"model": weights, "iteration": 7}, path, _use_new_zipfile_serialization=kind == "zip")
    return [path]


def make_pickle(folder: Path) -> list[Path]:
    paths = []
    for protocol in (2, 4):
        paths.append(folder / f"{protocol}.pkl")
        paths[-1].write_bytes(pickle.dumps({"model": {"a": np.arange(6.0)}, "b_momentum": 1}, protocol=protocol))
    return paths


def make_request(folder: Path) -> list[Path]:
    path = folder / "request.json"
    upload = {"path": str(folder / "uploads" / "x.png"), "meta": {"_type": "gradio.FileData"}}
    path.write_text(json.dumps({"data": [[upload], 0.3], "fn_index": 1, "session_hash": "x"}))
    return [path]


def read_request(path: Path) -> None:
    assert Guard(None, path.parent / "uploads")._allows(path.read_bytes()) in (True, False)


def read_all_slices(path: Path) -> None:
    found = list(collect([path], pseudonyms=PSEUDONYMS, slices="all"))
    assert found and all(isinstance(one, MRSlice | Problem) for one in found)
    for one in read_slices(path, pseudonyms=PSEUDONYMS, slices="all"):
        assert isinstance(one, MRSlice) and one.pixels.dtype == np.uint8 and one.pixels.shape[2] == 3
        assert one.spacing is None or all(map(math.isfinite, one.spacing))


def _readers() -> Iterator[Reader]:
    for kind in ("png", "tif", "jpg", "jp2", "bmp", "gif", "webp", "ppm"):
        yield Reader(kind, partial(make_picture, kind), read_all_slices, (ReadError,), change_bytes)
    for kind in ("plain", "frames", "rle", "jpeg", "lossless jpeg", "jpeg2000", "jpegls"):
        yield Reader(f"dicom {kind}", partial(make_dicom_file, kind), read_all_slices, (ReadError,), change_bytes)
    deflated = partial(make_dicom_file, "deflated")
    yield Reader("dicom deflated", deflated, read_all_slices, (ReadError,), change_inside_deflated)
    yield Reader("nii", partial(make_nifti, "nii"), read_all_slices, (ReadError,), change_bytes)
    yield Reader("nii.gz", partial(make_nifti, "nii.gz"), read_all_slices, (ReadError,), change_inside_gzip)
    yield Reader("mha", make_volume, partial(read_volume, labels=False), (ValueError,), change_bytes)
    changes = {"labelme": change_json, "coco": change_json, "voc": change_xml, "cvat": change_xml, "yolo": change_text}
    for kind, change in changes.items():
        # A file that cannot be read is counted and named: nothing is raised.
        yield Reader(kind, partial(make_annotation, kind), partial(read_annotation, kind), (), change)
    yield Reader("slicer", make_markups, partial(read_annotation, "slicer"), (), change_json)
    yield Reader("landmarks", make_landmark_results, read_landmark_results, (ValueError,), change_json)
    yield Reader("yolo names", make_names, read_names, (ValueError,), change_yaml)
    yield Reader("patients csv", make_table, read_patients, (ValueError,), change_csv)
    yield Reader("gradings csv", make_gradings, read_release, (ValueError,), change_csv)
    yield Reader("split json", make_layout, load_layout, MISTAKES, change_json, names_file=False)
    yield Reader("check json", make_layout, check_layout, (), change_json)
    yield Reader("detections", make_detections, read_detections, (ValueError,), change_json)
    yield Reader("card", make_card, read_card, (ValueError,), change_json)
    yield Reader("suite", make_suite, load_suite, (ValueError,), change_yaml)
    # A config may name another file that is not there, by that file's name.
    yield Reader("config", make_config, lambda path: meddet_d2.load_config(str(path)), MISTAKES, change_yaml, False)
    for kind in ("safetensors", "zip", "legacy"):
        read = lambda path: read_checkpoint(str(path)).weights  # noqa: E731
        yield Reader(f"weights {kind}", partial(make_weights, kind), read, (ValueError,), change_bytes)
    yield Reader("pickle", make_pickle, tiny_runs.load_tool("convert_weights").read_arrays, (ValueError,), change_bytes)
    yield Reader("web request", make_request, read_request, (), change_json)


def load_layout(path: Path) -> None:
    load_cdh_layout(path, path.parent / "images", "meddet_fuzz")


READERS = {reader.name: reader for reader in _readers()}
