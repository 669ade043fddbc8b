"""The landmarks of the phantom: 23 points of the vertebrae and 6 disc centres on the images of phantom_dataset.py.

Beside them are the outlines of bodies and discs, for networks that learn structures, too.

The 23 are those of CSXA (layout/csxa_names.py): "left" is the front of a body, for the patient faces left there as
here. The centroid of C2 is that of its body, without the dens.

They come from the anatomy and through the map that the painting uses, so they are exact to the json's last digit. No
image is painted for them. Both slices of a patient have the same ones.
"""

import json
from dataclasses import asdict
from functools import partial
from itertools import pairwise
from pathlib import Path

import numpy as np

from ..layout.csxa_names import CSXA_NAMES, CSXA_SKELETON
from ..layout.data_set_writer import Record, coco_content, landmark_box
from ..layout.landmarks import LandmarkNames, Point, kept_inside
from .anatomy import LEVELS, Neck
from .canvas import Canvas
from .phantom_dataset import (
    FIELD_OF_VIEW_MM,
    SPLITS,
    PhantomParams,
    draw_patient,
    generate,
    names_of,
    new_canvas,
    write_once,
)

# Counts the changes of the points; part of the folder's name.
LANDMARKS_VERSION = 2
DISC_NAMES = tuple(f"{level} disc" for level in LEVELS)
# A mirrored neck faces right; the front stays the front, so no names are exchanged.
PHANTOM_LANDMARKS = LandmarkNames(
    "spine",
    CSXA_NAMES + DISC_NAMES,
    CSXA_SKELETON + tuple(pairwise(DISC_NAMES)),
    flip_pairs=(),
    structures=("bodies", "discs"),
)


def neck_landmarks(neck: Neck, canvas: Canvas, size: int) -> tuple[Point, ...]:
    """The points of :data:`PHANTOM_LANDMARKS` in an image of ``size`` pixels; v = 0 for what lies outside of it."""
    upper, *others = neck.bodies()[: len(LEVELS)]
    bodies = [upper.centre(), upper.corners()[2:], *(body.corners() for body in others)]
    discs = [disc.centre() for disc in neck.discs[: len(LEVELS)]]
    points = canvas.to_pixels(neck.spine(np.concatenate([*bodies, *discs])))
    return kept_inside(points, size, size)


def neck_structures(neck: Neck, canvas: Canvas, size: int) -> list[list[list[float]]]:
    """The outlines that the painting fills, as polygons: of all vertebral bodies (not C2's dens), and of all discs.

    Those that lie beside an image of ``size`` pixels are left out.
    """
    discs = [outline for disc in neck.discs for outline in (disc.body_outline(), disc.lobe_outline())]
    found = []
    for outlines in ([body.outline() for body in neck.bodies()], discs):
        polygons = [canvas.to_pixels(neck.spine(outline)) for outline in outlines]
        inside = [one for one in polygons if (one.max(axis=0) > 0).all() and (one.min(axis=0) < size).all()]
        found.append([one.ravel().round(2).tolist() for one in inside])
    return found


def landmarks_folder(params: PhantomParams, root: str | Path) -> Path:
    """Where the jsons of the landmarks lie under the root of all data sets; their images are in params.folder()."""
    return Path(root) / "cdh_phantom_landmarks" / f"{params.digest()}-{LANDMARKS_VERSION}"


def generate_landmarks(params: PhantomParams, root: str | Path) -> Path:
    """Make the images and the jsons of their landmarks, as far as they are not there yet; as `generate`.

    Returns:
        The folder with train.json and test.json.
    """
    generate(params, root)
    return write_once(landmarks_folder(params, root), partial(_write, params))


def _write(params: PhantomParams, folder: Path) -> None:
    (folder / "images").rmdir()  # the images are those of the boxes
    spacing = (FIELD_OF_VIEW_MM / (params.size * params.zoom),) * 2
    info = {"phantom": True, "landmarks_version": LANDMARKS_VERSION, "parameters": asdict(params)}
    for split in SPLITS:
        records = []
        for number in range(params.patients[split]):
            for index, neck in enumerate(draw_patient(params, split, number)[0], start=1):
                patient, name = names_of(split, number, index)
                where = neck, new_canvas(params, neck), params.size
                box = landmark_box(neck_landmarks(*where), neck_structures(*where))
                records.append(Record(name, (params.size, params.size), patient, spacing, (box,)))
        description = f"Landmarks of the synthetic cervical T2 phantom, {split} split. Not patients."
        content = coco_content(records, PHANTOM_LANDMARKS, {"description": description, **info})
        (folder / f"{split}.json").write_text(json.dumps(content), encoding="utf-8")
