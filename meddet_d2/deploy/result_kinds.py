"""What is made of a network's findings, by its result: readings, pictures, tables. One entry for each kind."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from PIL import Image

from ..formats import MRSlice
from .markups import write_markups
from .point_reading import point_overlay, point_reading_of
from .point_results import PointResults
from .reading import overlay, reading_of
from .results import Results
from .web_tables import box_values, point_values


@dataclass(frozen=True)
class ResultKind:
    """One kind.

    Attributes:
        read: a slice, what was found (found.py) and the least score of each name, to a reading.
        overlay: a reading's picture.
        results: what collects readings and writes them.
        threshold: the least score where none is given.
        description: of the run, for its json.
        extra: writes further files of a reading into a folder; gives None, or a line that says why it wrote none.
        dicom: the kinds of DICOM objects that can be made of a reading.
        page, page_values, page_least: of the web page: the table's template, a reading's values for it, and what its
            slider is called.
    """

    read: Callable[[MRSlice, Any, Mapping[str, float]], Any]
    overlay: Callable[[Any], Image.Image]
    results: type[Results]
    threshold: float
    description: str
    page: str
    page_values: Callable[[Any], dict[str, Any]]
    page_least: str
    extra: Callable[[Any, Path], str | None] = lambda reading, folder: None
    dicom: tuple[str, ...] = ("sr", "sc")


RESULT_KINDS = {
    "boxes": ResultKind(
        reading_of,
        overlay,
        Results,
        0.3,
        "Detections of tools/predict.py; boxes in pixels, spacing and sizes in millimetres.",
        "web_boxes.html.j2",
        box_values,
        "Least score of a box",
    ),
    "landmarks": ResultKind(
        point_reading_of,
        point_overlay,
        PointResults,
        # A map of a landmark that is not there stays near 0; of one that is seen it comes near 1.
        0.1,
        "Landmarks of tools/predict.py; landmarks in pixels (the first one's middle is 0.5), patient_mm in millimetres"
        " to the left, the back and the head, keypoints as COCO counts.",
        "web_points.html.j2",
        point_values,
        "Least score of a landmark",
        write_markups,
        ("sc",),
    ),
}


def kind_of(detector: Any) -> ResultKind:
    """Of a detector; one that does not say its ``result`` finds boxes."""
    return RESULT_KINDS[getattr(detector, "result", "boxes")]
