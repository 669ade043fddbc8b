"""What reading gives: a slice, a problem, or an error; and which spacing is believed.

None of them holds a patient's name, number or date.
"""

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

# The largest slice or picture, in pixels, and the largest volume, in voxels: twenty times what MR scanners make. What
# is larger is refused by its header, before memory is given to it.
MAX_PIXELS = 64_000_000
MAX_VOXELS = 512_000_000
# Millimetres of a pixel.
MIN_SPACING, MAX_SPACING = 0.01, 50.0
# Sides of a pixel that differ by more than this factor are worth a remark.
SQUARE = 1.05


class ReadError(ValueError):
    """A file cannot be read. One line, which names the file and says what to do, and never holds a tag's value.

    Attributes:
        reason: the same without the file's path, for output that may not name it.
    """

    def __init__(self, reason: str, path: str | Path | None = None) -> None:
        # One argument for ValueError, because a data loader's worker makes errors again from their text alone.
        super().__init__(reason if path is None else f"{path}: {reason}")
        self.reason = reason


@dataclass(frozen=True)
class Place:
    """Where a slice lies in the patient, in millimetres to the left, to the back and to the head, as DICOM has it.

    Attributes:
        first: the middle of the first pixel.
        across: the step from column to column.
        down: the step from row to row.
    """

    first: tuple[float, float, float]
    across: tuple[float, float, float]
    down: tuple[float, float, float]

    def of(self, x: float, y: float) -> tuple[float, float, float]:
        """Of a point in continuous pixels, in which the middle of the first is (0.5, 0.5)."""
        left, back, head = (
            start + (x - 0.5) * right + (y - 0.5) * below
            for start, right, below in zip(self.first, self.across, self.down, strict=True)
        )
        return left, back, head


@dataclass(frozen=True, eq=False)
class MRSlice:
    """One slice, ready for the network, without anything that names its patient.

    Attributes:
        pixels: (H, W, 3) uint8, RGB, windowed.
        image_id: pseudonym of the slice, "i" and 16 hexadecimal digits; safe as a file's name.
        patient_id: pseudonym of the patient, "p" and 16 hexadecimal digits; None where the file names no patient.
        spacing: millimetres from row to row and from column to column; None where the file does not say.
        tags: acquisition parameters of the allow-list in identity.py.
        warnings: one-line remarks, without identifying text.
        source: the file. For the terminal only: it may hold a name and is never written.
        frame: number of the frame in a multi-frame file, or of the slice in a volume (from the patient's left), from 1;
            None for a single image.
        place: where the slice lies in the patient; None where the file does not say.
    """

    pixels: np.ndarray = field(repr=False)
    image_id: str
    patient_id: str | None
    spacing: tuple[float, float] | None
    tags: dict[str, str | float | int]
    warnings: tuple[str, ...]
    source: Path = field(repr=False)
    frame: int | None = None
    place: Place | None = None


@dataclass(frozen=True)
class Problem:
    """Something that was not read.

    Attributes:
        source: the file or folder. For the terminal only.
        reason: one line without the path.
    """

    source: Path = field(repr=False)
    reason: str

    def __str__(self) -> str:
        return f"{self.source}: {self.reason}"


def sane_spacing(spacing: tuple[float, ...] | None) -> tuple[float, float] | None:
    """Millimetres from row to row and from column to column, or None where they make no sense."""
    if spacing is None or not all(MIN_SPACING <= side <= MAX_SPACING for side in spacing):
        return None
    down, across = spacing
    return down, across


def spacing_remarks(spacing: tuple[float, float] | None) -> list[str]:
    """What is said of a spacing in `MRSlice.warnings`."""
    if spacing is None:
        return ["the pixel spacing is not stated, so nothing can be given in millimetres"]
    if max(spacing) > SQUARE * min(spacing):
        return [f"the pixels are not square ({spacing[0]:.2f} x {spacing[1]:.2f} mm); they are kept as they are"]
    return []
