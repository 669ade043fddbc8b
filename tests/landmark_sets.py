"""A small sound landmark set, which tests spoil in one place each."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image

NAMES = ["front", "back", "left horn", "right horn"]
WIDTH, HEIGHT = 80, 60


class LandmarkSet:
    """train.json with images 1 to 4 of two patients and test.json with 5 and 6, in ``folder``."""

    def __init__(self, folder: Path, **category) -> None:
        self.folder = folder
        (folder / "images").mkdir(parents=True)
        self.contents = {"train": self._split(range(1, 5), category), "test": self._split(range(5, 7), category)}
        self.write()

    def _split(self, numbers: range, category: dict) -> dict:
        images, annotations = [], []
        for number in numbers:
            name = f"{number}.png"
            pixels = np.random.default_rng(number).integers(0, 256, (HEIGHT // 4, WIDTH // 4)).astype(np.uint8)
            Image.fromarray(pixels).resize((WIDTH, HEIGHT)).save(self.folder / "images" / name)
            record = {"id": number, "file_name": name, "width": WIDTH, "height": HEIGHT}
            images.append({**record, "patient_id": f"p{(number + 1) // 2}", "spacing": [0.5, 0.4]})
            points = [10.5 + number, 20.25, 2, 60, 30, 2, 30, 12, 1, 35, 50, 2]
            box = {"bbox": [10.5 + number, 12, 49.5 - number, 38], "area": 38 * (49.5 - number), "iscrowd": 0}
            annotations.append({"id": number, "image_id": number, "category_id": 1, **box, "landmarks": points})
        categories = [{"id": 1, "name": "beetle", "keypoints": list(NAMES), "skeleton": [[1, 2]], **category}]
        return {"images": images, "annotations": annotations, "categories": categories}

    def write(self) -> None:
        for name, content in self.contents.items():
            (self.folder / f"{name}.json").write_text(json.dumps(content))

    def change(self, change: Callable[[dict], object], name: str = "train") -> None:
        """Change a split's json by a function."""
        change(self.contents[name])
        self.write()
