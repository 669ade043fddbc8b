"""Which file an annotation or a row of a table means.

Only names are compared. A path that an annotation holds is never opened: its folders at most tell apart images of one
name, and "..", drives and roots in it are dropped.
"""

import unicodedata
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path, PurePosixPath

from ...files import AGAIN, HIDDEN, walk
from .omissions import Findings

# What may follow a name: annotators export IM0001.dcm as IM0001.png, and YOLO's txt has no suffix of the image.
SUFFIXES = (".nii.gz", ".dcm", ".dicom", ".ima", ".nii", ".png", ".jpg", ".jpeg", ".tif", ".tiff", ".bmp", ".gif")
# Never an image.
OTHER_SUFFIXES = (".json", ".xml", ".txt", ".csv", ".tsv", ".yaml", ".yml", ".names", ".data", ".md", ".xlsx", ".zip")
OTHER_NAMES = ("DICOMDIR", "Thumbs.db", "desktop.ini")


def files_below(root: Path, findings: Findings, kind: str = "other_files") -> list[Path]:
    """All files below a folder and the folders that it links to, in an order that the file system does not choose.

    What begins with a dot, and folders that cannot be opened, are findings of a ``kind``.
    """
    found = []
    for path, reason in walk(root):
        if not reason:
            found.append(path)
        # All that lies in a folder that was read already is in.
        elif reason != AGAIN:
            findings.add(kind, f"{path}: {reason if reason == HIDDEN else f'the folder {reason}'}")
    return sorted(found, key=lambda path: path.relative_to(root).parts)


class ImageIndex:
    """Finds images by the names that annotations use.

    Args:
        root: the folder of images.
        paths: the images in it.
    """

    def __init__(self, root: Path, paths: Sequence[Path]) -> None:
        self.paths = paths
        self._folders: dict[Path, tuple[str, ...]] = {}
        self._by_name: dict[str, list[Path]] = defaultdict(list)
        self._by_stem: dict[str, list[Path]] = defaultdict(list)
        for path in paths:
            *folders, name = map(_normal, path.relative_to(root).parts)
            self._folders[path] = tuple(folders)
            self._by_name[name].append(path)
            self._by_stem[_stem(name)].append(path)
        self._all_folders = set(self._folders.values())

    def has_folder(self, folder: PurePosixPath) -> bool:
        """Whether images lie in this folder, a path below the root."""
        return tuple(map(_normal, folder.parts)) in self._all_folders

    def find(self, name: str, folder: PurePosixPath | None = None) -> list[Path]:
        """The images that a name can mean: of that whole name, or else of that name with another suffix or none.

        Args:
            name: a name or path, as an annotation has it. Its folders tell apart images of one name.
            folder: the only folder below the root that is meant; None if all are.
        """
        parts = [_normal(part) for part in name.replace("\\", "/").split("/") if part not in ("", ".", "..")]
        parts = [part for part in parts if not part.endswith(":")]
        if not parts:
            return []
        candidates = self._by_name.get(parts[-1]) or self._by_stem.get(_stem(parts[-1]), [])
        if folder is not None:
            candidates = [path for path in candidates if self._folders[path] == tuple(map(_normal, folder.parts))]
        return self._in_folder(candidates, tuple(parts[:-1]))

    def _in_folder(self, candidates: list[Path], said: tuple[str, ...]) -> list[Path]:
        """The candidates that can lie in the folder that is meant.

        Paths are compared from their ends, for either may begin further up. p2/T2 is not p1/T2; where nothing agrees
        in the whole data set ("obj_train_data"), the folder is the labelling tool's own and says nothing.
        """
        agreements = [_agreement(folders, said) for folders in self._all_folders]
        best = max(agreements)
        if best <= 0 and min(agreements) < 0:
            return []
        return [path for path in candidates if _agreement(self._folders[path], said) == best]


def find_images(root: Path, findings: Findings) -> ImageIndex:
    """The images below a folder: all files whose names can be one's. DICOM files often have no suffix.

    Raises:
        FileNotFoundError: there is no such folder.
        ValueError: there is no image in it.
    """
    if not root.is_dir():
        raise FileNotFoundError(f"{root}: no such folder of images.")
    paths = []
    for path in files_below(root, findings):
        if path.suffix.lower() in OTHER_SUFFIXES or path.name in OTHER_NAMES:
            findings.add("other_files", str(path))
        else:
            paths.append(path)
    if not paths:
        raise ValueError(f"{root}: no image in it.")
    return ImageIndex(root, paths)


def _agreement(folders: tuple[str, ...], said: tuple[str, ...]) -> int:
    """How many last folders of two paths are the same; -1 if they agree at the end and differ before."""
    pairs = list(zip(reversed(folders), reversed(said), strict=False))
    same = next((index for index, (one, two) in enumerate(pairs) if one != two), len(pairs))
    return -1 if 0 < same < len(pairs) else same


def _normal(text: str) -> str:
    # One file system stores "ü" as one character, another as two.
    return unicodedata.normalize("NFC", text)


def _stem(name: str) -> str:
    lower = name.lower()
    return next((name[: -len(suffix)] for suffix in SUFFIXES if lower.endswith(suffix)), name)
