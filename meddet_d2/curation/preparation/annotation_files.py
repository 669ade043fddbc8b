"""All annotations below a folder, and the image that each belongs to."""

from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path, PurePosixPath

from .annotation import ImageAnnotation
from .coco import read_coco
from .image_index import ImageIndex, files_below
from .labelme import read_labelme
from .omissions import Findings
from .slicer import SUFFIX, read_slicer
from .voc import read_xml
from .yolo import find_names_file, label_files, read_names, read_yolo

# The suffix of a format's files, and their reader.
FORMATS: dict[str, tuple[str, Callable[..., Iterator[ImageAnnotation]]]] = {
    "labelme": (".json", read_labelme),
    "voc": (".xml", read_xml),
    "cvat": (".xml", read_xml),
    "yolo": (".txt", read_yolo),
    "coco": (".json", read_coco),
}
# Those that have no boxes.
POINT_FORMATS: dict[str, tuple[str, Callable[..., Iterator[ImageAnnotation]]]] = {"slicer": (SUFFIX, read_slicer)}


def read_annotations(
    root: Path, kind: str, findings: Findings, *, names_file: Path | None = None
) -> list[ImageAnnotation]:
    """Read a file of annotations, or all of a folder and the folders in it.

    A file that cannot be read becomes an annotation with a problem, of the image of the same name.

    Args:
        kind: one of FORMATS or POINT_FORMATS.
        findings: gets hidden files, texts that are no labels, and folders that cannot be opened.
        names_file: for YOLO, the names of the classes; looked for beside the annotations if None.

    Raises:
        FileNotFoundError: ``root`` is not there.
        ValueError: there is no file of this format; YOLO's names are missing or cannot be read, or its lines may be
            polygons or key points.
    """
    suffix, reader = {**FORMATS, **POINT_FORMATS}[kind]
    if not root.exists():
        raise FileNotFoundError(f"{root}: no such file or folder of annotations.")
    folder = root if root.is_dir() else root.parent
    files = files_below(root, findings) if root.is_dir() else [root]
    paths = [path for path in files if path.name.lower().endswith(suffix) or not root.is_dir()]
    if kind == "yolo":
        names_file = names_file or find_names_file(folder)
        names = read_names(names_file)
        reader = partial(reader, names=names)
        paths, others = label_files(paths, names_file, names)
        for path in others:
            findings.add("other_files", str(path))
    if not paths:
        raise ValueError(f"{root}: no {suffix} file in it, but --format is {kind}; correct one of the two.")
    found: list[ImageAnnotation] = []
    for path in paths:
        place = path.relative_to(folder)
        try:
            read = list(reader(path))
        except (ValueError, OSError) as error:
            read = [ImageAnnotation(path.stem, problem=str(error), unreadable=True)]
        for one in read:
            where = f"{place}: {one.where}" if one.where else str(place)
            found.append(replace(one, folder=PurePosixPath(*place.parent.parts), where=where))
    return found


def match(
    annotations: list[ImageAnnotation], index: ImageIndex, findings: Findings, *, others_are_healthy: bool = False
) -> tuple[dict[Path, ImageAnnotation], set[Path]]:
    """The annotation of each image that has a usable one.

    An image with two annotations is left out: which of them is meant, and whether both together, nobody says.

    Args:
        findings: gets annotations without an image and images whose annotation cannot be used.
        others_are_healthy: an image that nothing annotates will be taken for healthy.

    Returns:
        The annotations by image, and all images that an annotation names, usable or not.

    Raises:
        ValueError: with ``others_are_healthy``, a file cannot be read, and nobody knows which images it annotates.
    """
    # Folders of annotations that mirror the folders of images: then those of one patient are not another's.
    mirrored = any(item.folder.parts and index.has_folder(item.folder) for item in annotations)
    by_path: dict[Path, list[ImageAnnotation]] = defaultdict(list)
    named: set[Path] = set()
    for annotation in annotations:
        paths = index.find(annotation.image, annotation.folder if mirrored else None)
        named.update(paths)
        if len(paths) == 1:
            by_path[paths[0]].append(annotation)
        elif paths:
            findings.add("ambiguous_images", f"{annotation.where}: {' or '.join(map(str, paths))}")
        elif annotation.unreadable:
            findings.add("unreadable_annotations", f"{annotation.where}: {annotation.problem}")
            if others_are_healthy:
                raise ValueError(
                    f"{annotation.where}: cannot be read, so that the images it annotates would be healthy; "
                    "mend it, take it away, or do without --healthy-without-annotation."
                )
        else:
            findings.add("missing_images", annotation.where)
    matched = {}
    for path, found in by_path.items():
        if len(found) > 1:
            findings.add("several_annotations", f"{path}: {', '.join(item.where for item in found)}")
        elif found[0].problem is not None:
            findings.add("unusable_annotations", f"{path} ({found[0].where}): {found[0].problem}")
        else:
            matched[path] = found[0]
    return matched, named
