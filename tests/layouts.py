"""A small sound data set in CDH-1848's layout, which tests spoil in one place each."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image

WIDTH, HEIGHT = 96, 128
LEVELS = ("C2/3", "C3/4", "C4/5", "C5/6", "C6/7", "C7/T1")
CATEGORIES = [{"id": 1, "name": "protrusion"}, {"id": 2, "name": "non-protrusion"}]


def picture(seed: int) -> np.ndarray:
    """(HEIGHT, WIDTH) uint8: soft spots that no other seed has, from about 20 to 200, nothing saturated."""
    rng = np.random.default_rng(seed)
    spots = Image.fromarray(rng.uniform(0, 255, (16, 12)).astype(np.uint8)).resize(
        (WIDTH, HEIGHT), Image.Resampling.BICUBIC
    )
    return np.clip(20 + 0.7 * np.asarray(spots) + rng.normal(0, 3, (HEIGHT, WIDTH)), 0, 250).astype(np.uint8)


def split(first: int, patients: int) -> dict:
    """Two images for each patient; the last image is healthy. Image ids count from ``first``."""
    images, annotations = [], []
    for number in range(first, first + 2 * patients):
        record = {"id": number, "file_name": f"{number:03d}.png", "width": WIDTH, "height": HEIGHT}
        images.append({**record, "patient_id": f"secret-{number // 2}", "spacing": [0.8, 0.8]})
        if number == first + 2 * patients - 1:
            break
        for place, level in enumerate(LEVELS):
            box = [30 + place, 5 + 20 * place, 24 + number % 3, 10 + place % 2]
            annotation = {"id": len(annotations) + 1, "image_id": number, "category_id": 1 + (place + number) % 2}
            annotations.append({**annotation, "bbox": box, "area": box[2] * box[3], "iscrowd": 0, "level": level})
    return {"images": images, "annotations": annotations, "categories": [dict(record) for record in CATEGORIES]}


class Layout:
    """The data set in ``folder``: train.json with images 2 to 9, test.json with 20 to 23."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        (folder / "images").mkdir(parents=True)
        self.contents = {"train": split(2, 4), "test": split(20, 2)}
        for content in self.contents.values():
            for image in content["images"]:
                Image.fromarray(picture(image["id"])).save(folder / "images" / image["file_name"])
        self.write()

    def write(self) -> None:
        for name, content in self.contents.items():
            (self.folder / f"{name}.json").write_text(json.dumps(content))

    def change(self, change: Callable[[dict], object], name: str = "train") -> None:
        """Change a split's json by a function."""
        change(self.contents[name])
        self.write()

    def file(self, number: int) -> Path:
        """An image's file."""
        return self.folder / "images" / f"{number:03d}.png"
