"""A reading's landmarks as 3D Slicer's point list (.mrk.json, markups schema 1.0), in millimetres of the patient."""

from pathlib import Path
from typing import Any

from ..files import write_json
from .point_reading import PointReading
from .results import MARKUPS

SUFFIX = ".mrk.json"
NO_PLACE = "no .mrk.json was written: nothing says where the image lies in the patient"
_SCHEMA = (
    "https://raw.githubusercontent.com/slicer/slicer/master/Modules/Loadable/Markups/Resources/Schema/"
    "markups-schema-v1.0.3.json#"
)


def write_markups(reading: PointReading, folder: Path) -> str | None:
    """Write markups/<image id>.mrk.json.

    Args:
        reading: of one image.
        folder: of the results.

    Returns:
        None, or why there is no such file: the image does not say where it lies. A missing landmark is in the list
        without a position, as one that is still to be placed.
    """
    if reading.slice.place is None:
        return NO_PLACE
    points: list[dict[str, Any]] = []
    for number, point in enumerate(reading.findings, start=1):
        placed = {"position": point.patient_mm, "positionStatus": "defined"}
        points.append(
            {
                "id": str(number),
                "label": point.name,
                "description": f"score {point.score:.2f}",
                "selected": True,
                "locked": False,
                "visibility": True,
                **(placed if point.patient_mm is not None else {"positionStatus": "undefined"}),
            }
        )
    markup = {
        "type": "Fiducial",
        "coordinateSystem": "LPS",
        "coordinateUnits": "mm",
        "labelFormat": "%N",
        "controlPoints": points,
    }
    write_json(folder / MARKUPS / f"{reading.slice.image_id}{SUFFIX}", {"@schema": _SCHEMA, "markups": [markup]})
    return None
