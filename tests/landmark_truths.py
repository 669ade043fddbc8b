"""Small made-up sets of landmarks: as a json with pictures, and as predictions near the truth."""

import json
from pathlib import Path

import numpy as np
from PIL import Image

NAMES = ("C2/3", "C3/4", "C4/5", "C7 lower rear corner")
HEIGHT, WIDTH = 120, 90


def random_points(rng, images=4):
    """(I, K, 2) inside the images, at least a few pixels apart in each."""
    base = np.array([[30.0, 20.0], [32.0, 45.0], [35.0, 70.0], [50.0, 95.0]])
    return base + rng.uniform(-4, 4, (images, len(NAMES), 2))


def landmark_json(points, *, spacing=(0.5, 0.4), patients=None, visible=None):
    """The content of a landmark json of (I, K, 2) points; ``visible`` (I, K) holds v, 2 by default."""
    visible = np.full(points.shape[:2], 2) if visible is None else np.asarray(visible)
    images, annotations = [], []
    for index, (places, flags) in enumerate(zip(points, visible, strict=True)):
        image = {"id": index + 1, "file_name": f"scan_{index + 1}.png", "width": WIDTH, "height": HEIGHT}
        image["patient_id"] = patients[index] if patients else f"patient {index + 1}"
        if spacing is not None:
            image["spacing"] = list(spacing)
        images.append(image)
        values = [value for (x, y), v in zip(places.tolist(), flags.tolist(), strict=True) for value in (x, y, v)]
        low, high = places.min(axis=0), places.max(axis=0)
        annotation = {"id": index + 1, "image_id": index + 1, "category_id": 1, "iscrowd": 0, "landmarks": values}
        box = [*low.tolist(), *(high - low).tolist()]
        annotations.append(annotation | {"bbox": box, "area": float(np.prod(high - low))})
    categories = [{"id": 1, "name": "spine", "keypoints": list(NAMES)}]
    return {"info": {}, "images": images, "annotations": annotations, "categories": categories}


def results_of(found):
    """(I, K, 2) as predictions' records, image ids from 1."""
    scored = np.concatenate([found, np.full((*found.shape[:2], 1), 0.9)], axis=2)
    return [
        {"image_id": index + 1, "landmarks": one.flatten().tolist(), "score": 0.9} for index, one in enumerate(scored)
    ]


def write_landmark_set(folder: Path, content, found, *, names=None):
    """Put test.json, images/ and predictions.json into a folder; returns the three paths."""
    (folder / "images").mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(0)
    for index, image in enumerate(content["images"]):
        image["file_name"] = names[index] if names else image["file_name"]
        pixels = rng.integers(0, 90, (HEIGHT, WIDTH), np.uint8)
        Image.fromarray(pixels).save(folder / "images" / image["file_name"])
    paths = folder / "test.json", folder / "images", folder / "predictions.json"
    paths[0].write_text(json.dumps(content))
    paths[2].write_text(json.dumps(results_of(found)).replace("NaN", "null"))
    return paths
