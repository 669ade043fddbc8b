"""A small data set of any classes, whose boxes are squares of different greys; not in this project's layout."""

import json
from pathlib import Path

import numpy as np
from PIL import Image

SIDE = 96
# In no order, with a gap, from 0, and a supercategory: as other tools write them.
FIVE = {40: "mass", 0: "cyst", 7: "calcification", 12: "nodule", 3: "lymph node"}
# In the order of the ids.
FIVE_NAMES = ["cyst", "lymph node", "calcification", "nodule", "mass"]


def write_coco(
    folder: Path, name: str, *, images: int = 5, categories=None, patients="case", first: int = 1, **keys
) -> Path:
    """``<name>.json`` and pictures in ``slices/``; ``patients`` is the key of an image's patient, None for none.

    ``keys`` of every annotation; one that can be called gets the annotation's number from 0.
    """
    categories = FIVE if categories is None else categories
    (folder / "slices").mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(first)
    ids, content = sorted(categories), {"images": [], "annotations": []}
    for number in range(first, first + images):
        pixels = rng.integers(0, 40, (SIDE, SIDE)).astype(np.uint8)
        image = {"id": number, "file_name": f"{number}.png", "width": SIDE, "height": SIDE}
        content["images"].append(image if patients is None else {**image, patients: f"p{number // 2}"})
        for place in range(3):
            count = len(content["annotations"])
            x, y, category = 4 + 30 * place, 8 + 20 * place, ids[count % len(ids)]
            pixels[y : y + 24, x : x + 24] = 60 + 35 * (count % len(ids))
            box = {"id": count, "image_id": number, "category_id": category, "bbox": [x, y, 24, 24]}
            box |= {key: value(count) if callable(value) else value for key, value in keys.items()}
            content["annotations"].append({**box, "area": 576, "iscrowd": 0})
        Image.fromarray(pixels).save(folder / "slices" / f"{number}.png")
    content["categories"] = [{"id": i, "name": text, "supercategory": "finding"} for i, text in categories.items()]
    path = folder / f"{name}.json"
    path.write_text(json.dumps(content))
    return path
