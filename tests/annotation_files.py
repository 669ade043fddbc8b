"""One scene in the formats of the labelling tools, as they write it."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

# (label, (left, top, right, bottom), level or None)
Labelled = tuple[str, tuple[float, float, float, float], str | None]
# (name of the image, (width, height), its boxes)
Scene = Sequence[tuple[str, tuple[int, int], Sequence[Labelled]]]


def write_labelme(folder: Path, scene: Scene, *, polygons: bool = False) -> Path:
    """A json for each image; levels as flags, boxes as two corners or as polygons inside them."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, (width, height), boxes in scene:
        content = {
            "version": "5.5.0",
            "flags": {},
            "shapes": [
                {
                    "label": label,
                    "points": _diamond(box) if polygons else [[box[2], box[1]], [box[0], box[3]]],
                    "shape_type": "polygon" if polygons else "rectangle",
                    "flags": {"C2/3": False, "C2/3 unsure": True, level: True} if level else {},
                    "group_id": None,
                }
                for label, box, level in boxes
            ],
            "imagePath": name,
            "imageData": None,
            "imageHeight": height,
            "imageWidth": width,
        }
        (folder / f"{Path(name).stem}.json").write_text(json.dumps(content, ensure_ascii=False), encoding="utf-8")
    return folder


def write_voc(folder: Path, scene: Scene) -> Path:
    """An xml for each image; levels as CVAT's attributes."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, (width, height), boxes in scene:
        root = ElementTree.Element("annotation")
        _add(root, "filename", name)
        size = ElementTree.SubElement(root, "size")
        for key, value in (("width", width), ("height", height), ("depth", 1)):
            _add(size, key, value)
        for label, box, level in boxes:
            item = ElementTree.SubElement(root, "object")
            _add(item, "name", label)
            corners = ElementTree.SubElement(item, "bndbox")
            for key, value in zip(("xmin", "ymin", "xmax", "ymax"), box, strict=True):
                _add(corners, key, value)
            if level:
                attribute = ElementTree.SubElement(ElementTree.SubElement(item, "attributes"), "attribute")
                _add(attribute, "name", "level")
                _add(attribute, "value", level)
        ElementTree.ElementTree(root).write(folder / f"{Path(name).stem}.xml", encoding="utf-8")
    return folder


def write_cvat(path: Path, scene: Scene, *, polygons: bool = False) -> Path:
    """CVAT for images 1.1: one xml."""
    root = ElementTree.Element("annotations")
    _add(root, "version", "1.1")
    for index, (name, (width, height), boxes) in enumerate(scene):
        image = ElementTree.SubElement(root, "image", id=str(index), name=name, width=str(width), height=str(height))
        for label, box, level in boxes:
            if polygons:
                points = ";".join(f"{x!r},{y!r}" for x, y in _diamond(box))
                item = ElementTree.SubElement(image, "polygon", label=label, points=points)
            else:
                corners = dict(zip(("xtl", "ytl", "xbr", "ybr"), map(repr, box), strict=True))
                item = ElementTree.SubElement(image, "box", label=label, rotation="0.0", **corners)
            if level:
                ElementTree.SubElement(item, "attribute", name="level").text = level
    path.parent.mkdir(parents=True, exist_ok=True)
    ElementTree.ElementTree(root).write(path, encoding="utf-8")
    return path


def write_yolo(folder: Path, scene: Scene, *, polygons: bool = False) -> Path:
    """A txt for each image and classes.txt; the level is part of the class's name, for there is no other place."""
    folder.mkdir(parents=True, exist_ok=True)
    names = list(dict.fromkeys(_yolo_name(label, level) for _, _, boxes in scene for label, _, level in boxes))
    for name, (width, height), boxes in scene:
        lines = []
        for label, (left, top, right, bottom), level in boxes:
            if polygons:
                points = [(left, top), (right, top), ((left + right) / 2, bottom)]
                values = [value for x, y in points for value in (x / width, y / height)]
            else:
                values = [(left + right) / 2 / width, (top + bottom) / 2 / height]
                values += [(right - left) / width, (bottom - top) / height]
            number = names.index(_yolo_name(label, level))
            lines.append(" ".join([str(number), *(f"{value:.8f}" for value in values)]))
        (folder / f"{Path(name).stem}.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")
    (folder / "classes.txt").write_text("\n".join(names) + "\n", encoding="utf-8")
    return folder


def write_coco(path: Path, scene: Scene, *, polygons: bool = False) -> Path:
    """One json; levels as CVAT's attributes."""
    labels = list(dict.fromkeys(label for _, _, boxes in scene for label, _, _ in boxes))
    annotations: list[dict[str, Any]] = []
    for image_id, (_, _, boxes) in enumerate(scene, start=1):
        for label, box, level in boxes:
            left, top, right, bottom = box
            annotations.append(
                {
                    "id": len(annotations) + 1,
                    "image_id": image_id,
                    "category_id": labels.index(label) + 1,
                    "segmentation": [[value for point in _diamond(box) for value in point]] if polygons else [],
                    **({} if polygons else {"bbox": [left, top, right - left, bottom - top]}),
                    "area": (right - left) * (bottom - top),
                    "iscrowd": 0,
                    "attributes": {"occluded": False, "rotation": 0.0, **({"level": level} if level else {})},
                }
            )
    content = {
        "images": [
            {"id": index, "file_name": name, "width": width, "height": height}
            for index, (name, (width, height), _) in enumerate(scene, start=1)
        ],
        "annotations": annotations,
        "categories": [{"id": index, "name": label} for index, label in enumerate(labels, start=1)],
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content, ensure_ascii=False), encoding="utf-8")
    return path


def write_scene(folder: Path, kind: str, scene: Scene, **options: Any) -> Path:
    """The scene in any of the formats; returns what --annotations takes."""
    if kind == "labelme":
        return write_labelme(folder / kind, scene, **options)
    if kind == "voc":
        return write_voc(folder / kind, scene)
    if kind == "cvat":
        return write_cvat(folder / kind / "annotations.xml", scene, **options)
    if kind == "yolo":
        return write_yolo(folder / kind, scene, **options)
    return write_coco(folder / kind / "instances.json", scene, **options)


def _diamond(box: tuple[float, float, float, float]) -> list[tuple[float, float]]:
    left, top, right, bottom = box
    x, y = (left + right) / 2, (top + bottom) / 2
    return [(x, top), (right, y), (x, bottom), (left, y)]


def _yolo_name(label: str, level: str | None) -> str:
    return f"{label} {level}" if level else label


def _add(parent: ElementTree.Element, name: str, value: Any) -> None:
    ElementTree.SubElement(parent, name).text = str(value)
