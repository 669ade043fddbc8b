"""A hospital's folder of tiny images of several patients, and datasets/prepare_images.py as it is called on it."""

import json
from pathlib import Path

import numpy as np
from annotation_files import write_scene
from PIL import Image

ROOT = Path(__file__).resolve().parents[1]
SIZE = (64, 48)
# One protruding disc in every second patient; the last is healthy.
BOXES = [("protrusion", (4.25, 6.5, 20.75, 14.0), "C5/6"), ("non-protrusion", (30.0, 7.0, 60.0, 15.5), "C7/T1")]


def write_png(path: Path, seed: int, size: tuple[int, int] = SIZE) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(seed).integers(0, 256, size[::-1], np.uint8)
    Image.fromarray(pixels).save(path)
    return path


def findings(said: str, headline: str) -> list[str]:
    """The names below a headline of the summary."""
    lines = said.splitlines()
    start = next(index for index, line in enumerate(lines) if line == headline)
    rest = lines[start + 1 :]
    return rest[: next((index for index, line in enumerate(rest) if not line.startswith("  ")), len(rest))]


class Study:
    """A hospital's folder: images/<patient>/<name>.png, and the annotations of all of them.

    Attributes:
        scene: as in annotation_files.py; change it, then `annotate`.
        output: where `run` lets the script write.
    """

    def __init__(self, root: Path, script, capsys) -> None:
        self.root, self.images, self.output = root, root / "images", root / "out" / "cdh1848"
        self._script, self._capsys = script, capsys
        self.scene = []
        for patient in range(6):
            for slice_number in range(2):
                name = f"Ä {patient} b{slice_number}.png"
                write_png(self.images / f"Patient {patient}" / name, 10 * patient + slice_number)
                self.scene.append((name, SIZE, [] if patient == 5 else BOXES[patient % 2 :]))
        self.annotations = self.annotate("coco")

    def annotate(self, kind: str, **options) -> Path:
        self.kind, self.annotations = kind, write_scene(self.root / "annotations", kind, self.scene, **options)
        return self.annotations

    def run(self, *options, owner=("--patient-folder", "1"), status: int = 0) -> str:
        """Run the script; returns stdout and stderr."""
        arguments = [self.images, "--annotations", self.annotations, "--format", self.kind, "--output", self.output]
        assert self._script.main([str(value) for value in (*arguments, *owner, *options)]) == status
        return "\n".join(self._capsys.readouterr())

    def error(self, *options, **others) -> str:
        """Run the script, which must fail; returns its one line."""
        (line,) = [line for line in self.run(*options, status=1, **others).splitlines() if line.startswith("error: ")]
        return line

    def contents(self) -> dict[str, dict]:
        return {path.stem: json.loads(path.read_text()) for path in sorted(self.output.glob("t*.json"))}

    def images_in(self) -> list[dict]:
        return [image for content in self.contents().values() for image in content["images"]]

    def boxes_in(self) -> list[dict]:
        return [box for content in self.contents().values() for box in content["annotations"]]

    def counts(self) -> dict[str, int]:
        return json.loads((self.output / "preparation.json").read_text())["findings"]

    def files(self) -> dict[str, bytes]:
        return {str(p.relative_to(self.output)): p.read_bytes() for p in self.output.rglob("*") if p.is_file()}
