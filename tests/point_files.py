"""Tiny folders in the forms of the public sets of landmarks, made in the test."""

import json
from pathlib import Path

import numpy as np
from PIL import Image

WIDTH, HEIGHT = 200, 300


def picture(path: Path, seed: int = 0, size: tuple[int, int] = (WIDTH, HEIGHT)) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    values = np.random.default_rng(seed).integers(0, 256, (30, 20)).astype(np.uint8)
    Image.fromarray(values).resize(size).save(path)
    return path


def row(identity: str, points: np.ndarray) -> str:
    return ",".join([identity, *(f"{value:g}" for value in np.ravel(points))])


def whole_points(count: int, seed: int) -> np.ndarray:
    """(count, 2) whole numbers in a picture."""
    return np.random.default_rng(seed).integers(5, (WIDTH - 5, HEIGHT - 5), (count, 2))


def hand_atlas(root: Path, ids=(3142, 3143, 3144, 3145)) -> dict[str, np.ndarray]:
    points = {str(identity): whole_points(37, identity) for identity in ids}
    for identity in points:
        picture(root / f"{identity}.jpg", int(identity))
    (root / "all.csv").write_text("\n".join(row(identity, of) for identity, of in points.items()) + "\n")
    return points


def cephalograms(root: Path, form: str = "texts") -> dict[str, dict[str, np.ndarray]]:
    """Of the doctors, the points in whole pixels."""
    folders = {"001": "TrainingData", "002": "TrainingData", "003": "Test1Data", "004": "Test2Data"}
    points = {doctor: {} for doctor in ("junior", "senior")}
    for identity, folder in folders.items():
        picture(root / "RawImage" / folder / f"{identity}.bmp", int(identity))
        points["junior"][identity] = whole_points(19, int(identity))
        points["senior"][identity] = points["junior"][identity] + [2, -4]
    for doctor, of in points.items():
        if form == "csv":
            rows = [row(identity, 0.1 * one) for identity, one in of.items()]
            (root / f"all_{doctor}.csv").write_text("\n".join(rows))
            continue
        place = root / "AnnotationsByMD" / f"400_{doctor}"
        place.mkdir(parents=True)
        for identity, one in of.items():
            lines = [f"{x},{y}" for x, y in one] + ["1", "2", "1", "1", "4", "2", "1", "1"]
            (place / f"{identity}.txt").write_text("\r\n".join(lines) + "\r\n")
    return points


def aasce(root: Path) -> dict[str, np.ndarray]:
    """Of the files, the points as fractions."""
    found = {}
    for part, count in (("training", 3), ("test", 1)):
        labels = root / "labels" / part
        labels.mkdir(parents=True)
        names = [f"x-0{number}-Jan-2017-{number} A AP.jpg" for number in range(1, count + 1)]
        for number, name in enumerate(names):
            picture(root / "data" / part / name, number + 10 * count)
            found[f"{part}/{name}"] = np.random.default_rng(number).uniform(0.1, 0.9, (68, 2)).round(5)
        rows = [",".join(f"{v:g}" for v in found[f"{part}/{name}"].T.ravel()) for name in names]
        (labels / "filenames.csv").write_text("\n".join(names) + "\n")
        (labels / "landmarks.csv").write_text("\n".join(rows) + "\n")
    return found


def csxa(root: Path, names, images=("1001", "1002", "Smith")) -> dict[str, dict[str, list[float]]]:
    """Of the images, the points by label, as LabelMe has them."""
    found = {}
    (root / "json").mkdir(parents=True)
    for number, image in enumerate(images):
        picture(root / "png" / f"{image}.png", number)
        points = {name: [float(v) for v in p] for name, p in zip(names, whole_points(23, number) + 0.25, strict=True)}
        shapes = [{"label": name, "points": [point], "shape_type": "point"} for name, point in points.items()]
        content = {"shapes": shapes[::-1], "imagePath": f"..\\png\\{image}.png"}
        content |= {"imageWidth": WIDTH, "imageHeight": HEIGHT}
        (root / "json" / f"{image}.json").write_text(json.dumps(content))
        found[image] = points
    return found
