"""The key points of a COCO json as landmarks."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from .annotation import LabelledPoint, number

# Whole numbers count pixels from 0, and mean their middle.
MIDDLE = 0.5


def are_pixel_indices(annotations: Sequence[Mapping[str, Any]]) -> bool:
    """Whether all key points of a json are whole numbers: then they count pixels, as COCO's own and Detectron2 do.

    Labelling tools that click between pixels write fractions; there the first pixel's middle is (0.5, 0.5).
    """
    values = [value for one in annotations for value in _listed(one.get("keypoints"))]
    return all(isinstance(value, int) or (isinstance(value, float) and value.is_integer()) for value in values)


def coco_points(annotation: Mapping[str, Any], names: Any, *, indices: bool) -> Iterator[LabelledPoint]:
    """The labelled key points (v 1 or 2) of one annotation.

    Args:
        annotation: with "keypoints", [x, y, v] * K.
        names: the "keypoints" of its category, K texts.
        indices: the coordinates count pixels, see `are_pixel_indices`.

    Raises:
        ValueError: no key points, no names, another number of them, or a v that is none. One line.
    """
    values = _listed(annotation.get("keypoints"))
    if not values:
        raise ValueError("an annotation has no key points")
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise ValueError("a category has no names of key points ('keypoints')")
    if len(values) != 3 * len(names):
        raise ValueError(f"an annotation has {len(values)} numbers of key points; {len(names)} names need three each")
    for place, name in enumerate(names):
        x, y, v = values[3 * place : 3 * place + 3]
        if v not in (0, 1, 2):
            raise ValueError(f"the key point {name!r} has visibility {v!r}; it is 0, 1 or 2")
        if v:
            shift = MIDDLE if indices else 0.0
            yield LabelledPoint(name.strip(), number(x) + shift, number(y) + shift, int(v))


def _listed(values: Any) -> list:
    return values if isinstance(values, list) else []
