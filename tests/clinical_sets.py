"""Small made-up test sets for the clinical figures: as plain cases, and as files with pictures."""

import json

import numpy as np
from PIL import Image

from meddet_d2.evaluation.clinical import Case, Subject

CLASSES = ["protrusion", "non-protrusion"]
SUBJECT = Subject(classes=tuple(CLASSES), findings=("protrusion",), thing="disc")
SIZE = 96


def make_case(number=1, patient=1, boxes=(), found=(), crowd=(), levels=None):
    """A case from ``[(x, y, w, h, label), ...]`` and ``[(x, y, w, h, label, score), ...]``."""
    boxes, found = np.array(boxes, float).reshape(-1, 5), np.array(found, float).reshape(-1, 6)
    return Case(
        number=number,
        patient=patient,
        boxes=boxes[:, :4],
        labels=boxes[:, 4].astype(int),
        crowd=np.isin(np.arange(len(boxes)), crowd),
        levels=tuple(levels or [None] * len(boxes)),
        found_boxes=found[:, :4],
        found_labels=found[:, 4].astype(int),
        found_scores=found[:, 5],
    )


def random_cases(rng, images=6, patients=3, most=6, steps=12, crowds=True):
    """Boxes on a coarse grid and scores of few values, so that overlaps and scores tie often."""
    cases = []
    for index in range(images):
        boxes = [
            (*rng.integers(0, 5, 2) * 8, *rng.integers(1, 4, 2) * 8, rng.integers(2)) for _ in range(rng.integers(most))
        ]
        found = []
        for _ in range(rng.integers(2 * most)):
            near = boxes[rng.integers(len(boxes))][:4] if boxes and rng.random() < 0.7 else rng.integers(0, 40, 4) + 1
            shift = rng.integers(-2, 3, 4)
            x, y, w, h = (max(1, int(value)) for value in near + shift)
            found.append((x, y, w, h, rng.integers(2), rng.integers(1, steps) / steps))
        crowd = np.flatnonzero(rng.random(len(boxes)) < 0.15) if crowds else ()
        patient = index + 1 if index < patients else int(rng.integers(1, patients + 1))
        cases.append(make_case(index + 1, patient, boxes, found, crowd))
    return cases


def write_set(folder, cases, *, names=None, patients=None, extra=None):
    """Put test.json, images/ and detections.json of cases into a folder; returns the three paths.

    ``names`` of the image files, ``patients`` for the running numbers, ``extra`` keys of the json.
    """
    (folder / "images").mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(0)
    images, annotations, detections = [], [], []
    for index, case in enumerate(cases):
        name = names[index] if names else f"{case.number}.png"
        Image.fromarray(rng.integers(0, 256, (SIZE, SIZE), np.uint8)).save(folder / "images" / name)
        patient = patients[case.patient - 1] if patients else case.patient
        image = {"id": case.number, "file_name": name, "width": SIZE, "height": SIZE, "patient_id": patient}
        images.append(image)
        for box, label, crowd, level in zip(case.boxes, case.labels, case.crowd, case.levels, strict=True):
            record = {"id": len(annotations) + 1, "image_id": case.number, "category_id": int(label) + 1}
            record |= {"bbox": box.tolist(), "area": float(box[2] * box[3]), "iscrowd": int(crowd)}
            annotations.append(record if level is None else record | {"level": level})
        for box, label, score in zip(case.found_boxes, case.found_labels, case.found_scores, strict=True):
            record = {"image_id": case.number, "category_id": int(label) + 1, "bbox": box.tolist()}
            detections.append(record | {"score": float(score)})
    categories = [{"id": index + 1, "name": name} for index, name in enumerate(CLASSES)]
    content = {"info": {}, "images": images, "annotations": annotations, "categories": categories, **(extra or {})}
    paths = folder / "test.json", folder / "images", folder / "detections.json"
    paths[0].write_text(json.dumps(content))
    paths[2].write_text(json.dumps(detections))
    return paths
