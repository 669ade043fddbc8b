"""The phantom data set: synthetic sagittal T2 images of the cervical spine in CDH-1848's layout.

CDH-1848 is not public, so this is what the project trains and tests on by default. Every result on it is a result on
a phantom. A patient is a pure function of the seed, the split and the patient's number: more or fewer patients change
nobody. A data set is a pure function of its parameters, whose hash names its folder.
"""

import hashlib
import json
import logging
from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

import cv2
import numpy as np
from tqdm import tqdm

from ..layout.data_set import CDH_CLASSES
from ..layout.data_set_writer import Box, Record, coco_content, new_folder
from .acquisition import acquire
from .anatomy import Disc, Neck, draw_neck, neighbouring_slice
from .canvas import Canvas
from .painting import paint_neck

logger = logging.getLogger(__name__)

# Counts the changes of the generator that change pixels or boxes; part of the folder's name.
GENERATOR_VERSION = 1
SPLITS = ("train", "test")
SLICES_PER_PATIENT = 2
# What a ZOOM above 1 magnifies about: a little above the middle of the neck, so that at 1.4 the thoracic discs, which
# carry no box, lie at the border. At ZOOM 1 it is the middle of the whole field of view.
ZOOMED_CENTRE = (0.47, 0.505)
# The whole field of view, which gives the pixels a size in millimetres. A disc is about 19 mm wide in it.
FIELD_OF_VIEW_MM = 230.0
# Boxes as a reader draws them: around disc and endplates, this much wider (in fractions of the field of view).
MARGIN_ALONG, MARGIN_ACROSS = 0.0045, 0.0015
# A disc of which less than this share of the box lies in the picture (at a high ZOOM) carries no box.
LEAST_VISIBLE = 0.6
# Least and greatest value of each parameter.
_LIMITS = (
    ("seed", 0, 2**63 - 1),
    ("size", 64, 4096),
    ("zoom", 0.5, 4.0),
    ("train_patients", 1, 10**6),
    ("test_patients", 1, 10**6),
    ("protrusion_rate", 0.0, 1.0),
    ("protrusion_depth", 0.0, 0.045),
    ("healthy_depth", 0.0, 0.045),
    ("noise", 0.0, 0.5),
)


@dataclass(frozen=True, kw_only=True)
class PhantomParams:
    """What a phantom data set is made from; the same keys, in capitals, stand under DATASETS.PHANTOM.

    Raises:
        ValueError: a value outside its range; the message names the key.
    """

    seed: int
    size: int
    zoom: float
    train_patients: int
    test_patients: int
    protrusion_depth: tuple[float, float]
    healthy_depth: tuple[float, float]
    protrusion_rate: float
    noise: tuple[float, float]

    def __post_init__(self) -> None:
        for key, low, high in _LIMITS:
            value = getattr(self, key)
            name = f"DATASETS.PHANTOM.{key.upper()}"
            if isinstance(value, int | float):
                if not low <= value <= high:
                    raise ValueError(f"{name} is {value}; give a value in [{low}, {high}].")
            elif len(value) != 2 or not low <= value[0] <= value[1] <= high:
                raise ValueError(f"{name} is {value}; give (low, high) with {low:g} <= low <= high <= {high}.")

    @classmethod
    def from_config(cls, cfg) -> "PhantomParams":
        """Read DATASETS.PHANTOM of a config."""
        values = {key.lower(): value for key, value in cfg.DATASETS.PHANTOM.items()}
        for key, value in values.items():
            if isinstance(value, list | tuple):
                values[key] = tuple(map(float, value))
            elif key in ("zoom", "protrusion_rate"):
                values[key] = float(value)
        return cls(**values)

    @property
    def patients(self) -> dict[str, int]:
        """How many patients each split has."""
        return {"train": self.train_patients, "test": self.test_patients}

    def digest(self) -> str:
        """Ten hexadecimal digits that name these parameters and the generator's version."""
        text = json.dumps([GENERATOR_VERSION, asdict(self)], sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:10]

    def folder(self, root: str | Path) -> Path:
        """Where the data set lies under the root of all data sets."""
        return Path(root) / "cdh_phantom" / self.digest()


@dataclass(frozen=True)
class Slice:
    """One image of a patient.

    Attributes:
        image: (SIZE, SIZE) uint8.
        boxes: for each annotated disc in the picture (disc, (x, y, width, height)) in pixels, the first pixel
            covering [0, 1).
        neck: the geometry it was painted from.
        canvas: maps that geometry to pixels.
    """

    image: np.ndarray
    boxes: list[tuple[Disc, tuple[float, float, float, float]]]
    neck: Neck
    canvas: Canvas


def make_patient(params: PhantomParams, split: str, number: int) -> list[Slice]:
    """Make the slices of one patient.

    Args:
        params: the data set's parameters; the numbers of patients do not matter here.
        split: "train" or "test".
        number: 0, 1, ... within the split.
    """
    necks, rng = draw_patient(params, split, number)
    return [_make_slice(params, neck, rng) for neck in necks]


def draw_patient(params: PhantomParams, split: str, number: int) -> tuple[list[Neck], np.random.Generator]:
    """The anatomy of a patient's slices, and the source of randomness to paint them with; as for `make_patient`."""
    rng = np.random.default_rng([params.seed, SPLITS.index(split), number])
    depths = params.healthy_depth, params.protrusion_depth
    neck = draw_neck(rng, params.protrusion_rate, depths)
    return [neck, *(neighbouring_slice(neck, rng, depths) for _ in range(SLICES_PER_PATIENT - 1))], rng


def new_canvas(params: PhantomParams, neck: Neck) -> Canvas:
    """The map from a neck to the pixels of its image, and what it is painted on."""
    # Gliding from the middle of the field of view, so that no ZOOM shows much beyond its border.
    reach = min(max(params.zoom - 1.0, 0.0) / 0.2, 1.0)
    x, y = (0.5 + reach * (middle - 0.5) for middle in ZOOMED_CENTRE)
    return Canvas(params.size, params.zoom, (x, y), neck.spine)


def _make_slice(params: PhantomParams, neck: Neck, rng: np.random.Generator) -> Slice:
    canvas = new_canvas(params, neck)
    paint_neck(canvas, neck, rng)
    annotated = [disc for disc in neck.discs if disc.level]
    boxes = [(disc, box) for disc in annotated if (box := disc_box(canvas, neck, disc, params.size))]
    return Slice(image=acquire(canvas, params.size, params.noise, rng), boxes=boxes, neck=neck, canvas=canvas)


def disc_box(canvas: Canvas, neck: Neck, disc: Disc, size: int) -> tuple[float, float, float, float] | None:
    """The box (x, y, width, height) in pixels around a disc, or None if too little of it lies in the picture."""
    outline = disc.outline()
    outline[:, 0] += np.sign(outline[:, 0] - disc.position) * MARGIN_ALONG
    outline[:, 1] += np.sign(outline[:, 1] + 0.5 * disc.width) * MARGIN_ACROSS
    corners = canvas.to_pixels(neck.spine(outline))
    low, high = corners.min(axis=0), corners.max(axis=0)
    # Hundredths of a pixel: rounded first, so that the json's box is exactly the one that was checked.
    corner, opposite = np.round(np.clip([low, high], 0.0, size), 2)
    if np.prod(opposite - corner) < LEAST_VISIBLE * np.prod(high - low):
        return None
    left, top, width, height = map(float, (*corner, *np.round(opposite - corner, 2)))
    return left, top, width, height


def names_of(split: str, number: int, index: int) -> tuple[str, str]:
    """The id of a patient, numbered from 0, and the file of one of his slices, numbered from 1."""
    patient = f"{split}-{number + 1:04d}"
    return patient, f"{patient}_{index}.png"


def generate(params: PhantomParams, root: str | Path) -> Path:
    """Make the data set if it is not there yet.

    It is written into a folder next to its place and renamed when complete, so a half-written one is never found
    under its name. Of two processes that make it at once the slower throws its copy away.

    Args:
        params: what to make.
        root: the root of all data sets ($DETECTRON2_DATASETS).

    Returns:
        The folder, with train.json, test.json and images/.

    Raises:
        OSError: the root cannot be written.
    """
    return write_once(params.folder(root), partial(_write, params))


def write_once(folder: Path, write: Callable[[Path], None]) -> Path:
    """Let ``write`` fill a folder if it is not there yet; returns the folder.

    Raises:
        OSError: it cannot be written; one line.
    """
    if folder.is_dir():
        return folder
    try:
        with new_folder(folder, replace=False) as working:
            logger.info("Generating the phantom data set in %s; this happens once.", folder)
            write(working)
    except OSError as error:
        raise OSError(
            f"{folder.parent}: the phantom data set cannot be written there ({error.strerror or error}); "
            "set DETECTRON2_DATASETS to a folder that can be written."
        ) from error
    return folder


def _write(params: PhantomParams, folder: Path) -> None:
    spacing = round(FIELD_OF_VIEW_MM / (params.size * params.zoom), 4)
    info = {"phantom": True, "generator_version": GENERATOR_VERSION, "parameters": asdict(params)}
    with tqdm(total=sum(params.patients.values()) * SLICES_PER_PATIENT, desc="phantom", unit="image") as progress:
        for split in SPLITS:
            records = []
            for number in range(params.patients[split]):
                for index, made in enumerate(make_patient(params, split, number), start=1):
                    patient, name = names_of(split, number, index)
                    boxes = tuple(Box(1 if disc.protrudes else 2, box, disc.level) for disc, box in made.boxes)
                    records.append(Record(name, (params.size, params.size), patient, (spacing, spacing), boxes))
                    if not cv2.imwrite(str(folder / "images" / name), made.image):
                        raise OSError(f"{name}: the image cannot be written; is the disk full?")
                    progress.update()
            description = f"Synthetic cervical T2 phantom, {split} split. Not patients: no figure on it is a figure on "
            content = coco_content(records, CDH_CLASSES, {"description": f"{description}CDH-1848.", **info}, digits=2)
            (folder / f"{split}.json").write_text(json.dumps(content), encoding="utf-8")
