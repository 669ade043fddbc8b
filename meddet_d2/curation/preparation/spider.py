"""The public SPIDER release (lumbar MR volumes, masks, gradings) as sagittal slices with boxes around the discs.

What is relied on: van der Graaf et al., Scientific Data 11, 264 (2024), doi 10.1038/s41597-024-03090-w; the release,
Zenodo 10159290 (CC BY 4.0); and the data cards that repeat its documentation (huggingface.co/datasets/cdoswald/SPIDER;
MHub's gc_spider_baseline).

- images/N_t1.mha, N_t2.mha, N_t2_SPACE.mha and masks/ of the same names; N is the patient.
- Masks: 1-25 vertebrae from the bottom (L5 = 1), 101-125 vertebrae that are partly visible, 100 the spinal canal,
  201-225 discs from the bottom (L5/S1 = 201).
- radiological_gradings.csv: a row for a patient's disc; "IVD label" counts as the masks do (1 = L5/S1, so 201);
  "Disc herniation" is 0 or 1, the class. All gradings are whole numbers, and kept as "original". They are the disc's
  in 3-D: a herniation may not show on a slice.
- overview.csv: a row for a volume; "new_file_name" is N_t2 and so on, "subset" is training or validation.
- Storage: most volumes are LPS and t2_SPACE is PIR; some have values from -1000 with a padded border.

The number of a disc is a count from the lowest one, not an anatomical level: with a transitional vertebra it is one
off, and the release does not say with whom. A disc 0, in gradings or mask, is a sign of it.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ...formats import window
from ...formats.metaimage import read_volume
from ...layout.data_set_writer import Box, Record, write_image
from ...layout.levels import DISCS
from .annotation import number
from .image_index import files_below
from .omissions import Findings
from .table import SPLIT_NAMES, read_rows

HERNIATION = "Disc herniation"
GRADINGS, OVERVIEW = "radiological_gradings.csv", "overview.csv"
SEQUENCES = ("t1", "t2", "t2_SPACE")
FIRST_DISC, LAST_DISC = 201, 225
# "central" slices lie no farther than this from the middle of the discs.
CENTRAL_MM = 10.0
# A disc is cut by its slice, or by the border, if less than this share of its area is seen.
LEAST_SHARE = 0.5

# Of a patient: by disc (0, 1 is L5/S1, ...), the gradings by the names of their columns.
Grades = dict[int, dict[str, int]]


@dataclass(frozen=True)
class Volume:
    """A volume's files and what its name says."""

    image: Path
    mask: Path | None
    patient: int
    sequence: str


def find_volumes(root: Path, sequences: tuple[str, ...], findings: Findings) -> list[Volume]:
    """The volumes below images/, also where unpacking has made images/images/.

    Raises:
        FileNotFoundError: there is no images/ or masks/, or no volume in images/.
    """
    for folder in ("images", "masks"):
        if not (root / folder).is_dir():
            text = f"no folder {folder}/ in it; unpack images.zip and masks.zip of SPIDER there."
            raise FileNotFoundError(f"{root}: {text}")
    masks = {path.name: path for path in files_below(root / "masks", findings, "unknown_names")}
    known = {sequence.lower(): sequence for sequence in SEQUENCES}
    found = []
    for path in files_below(root / "images", findings, "unknown_names"):
        match = re.fullmatch(r"(\d+)_(\w+)\.mha", path.name)
        if match is None or match[2].lower() not in known:
            findings.add("unknown_names", str(path))
        elif known[match[2].lower()] in sequences:
            found.append(Volume(path, masks.get(path.name), int(match[1]), known[match[2].lower()]))
    if not found:
        raise FileNotFoundError(f"{root / 'images'}: no volume N_{' or N_'.join(sequences)} (.mha) in it.")
    return sorted(found, key=lambda volume: (volume.patient, volume.sequence))


def read_gradings(path: Path, findings: Findings) -> dict[int, Grades]:
    """The gradings of each patient.

    What cannot be read is a finding, and so are two rows of one disc that differ in a grading; the disc is without it.

    Raises:
        FileNotFoundError, ValueError: as of any table.
    """
    found: dict[int, dict[int, dict[str, int | None]]] = {}
    for line, row in enumerate(read_rows(path, ("Patient", "IVD label", HERNIATION)), start=2):
        where = f"{path}, row {line}"
        try:
            patient, disc = _whole(row.pop("Patient")), _whole(row.pop("IVD label"))
            row.pop("", None)  # behind a comma at the end of the heading
            if _whole(row[HERNIATION]) not in (0, 1):
                raise ValueError
        except ValueError:
            findings.add("unusable_grades", f"{where}: no whole numbers, or a herniation neither 0 nor 1")
            continue
        grades = found.setdefault(patient, {}).setdefault(disc, {})
        for name, text in row.items():
            try:
                if grades.setdefault(name, _whole(text)) == _whole(text):
                    continue
                wrong = f"patient {patient} has two grades of a disc"
            except ValueError:
                wrong = f"{text!r} is no whole number"
            grades[name] = None
            findings.add("unusable_grades" if name == HERNIATION else "left_out_grades", f"{where}: {wrong} ({name})")
    return {
        patient: {disc: {name: grade for name, grade in of.items() if grade is not None} for disc, of in discs.items()}
        for patient, discs in found.items()
    }


def _whole(text: str) -> int:
    value = number(text)
    if not value.is_integer():
        raise ValueError("a number is not whole")
    return int(value)


def read_official_split(path: Path) -> dict[int, set[str]]:
    """The splits of each patient by the release's overview.csv: train, or val.

    Raises:
        FileNotFoundError, ValueError: as of any table; a subset that is none.
    """
    found: dict[int, set[str]] = {}
    for line, row in enumerate(read_rows(path, ("new_file_name", "subset")), start=2):
        patient = row["new_file_name"].partition("_")[0]
        split = SPLIT_NAMES.get(row["subset"].lower())
        if not patient.isdecimal() or split is None:
            raise ValueError(f"{path}, row {line}: '{row['new_file_name']}' in '{row['subset']}' is not SPIDER's.")
        found.setdefault(int(patient), set()).add(split)
    return found


def write_slices(
    volume: Volume, gradings: dict[int, Grades], folder: Path, findings: Findings, *, central: bool
) -> list[Record]:
    """Write the middle slice of a volume, or all central ones: superior above, anterior on the left.

    Args:
        gradings: of all patients.
        folder: the new data set.
        findings: gets what is left out, the volume or a disc.
        central: all slices within CENTRAL_MM of the middle one, numbered from the patient's left, from 1.

    Returns:
        The images with the boxes of their graded discs. SPIDER's numbers of patients are public pseudonyms, which its
        other tables use: they stay.
    """
    if volume.mask is None:
        findings.add("volumes_without_mask", str(volume.image))
        return []
    if volume.patient not in gradings:
        findings.add("ungraded_patients", f"{volume.image}: patient {volume.patient}")
        return []
    try:
        image, mask, spacing = _read_planes(volume.image, volume.mask)
    except ValueError as error:
        findings.add("unusable_volumes", str(error))
        return []
    grades, found = gradings[volume.patient], list[Record]()
    areas = {int(disc): (mask == disc).sum(axis=(1, 2)) for disc in np.unique(mask) if FIRST_DISC <= disc <= LAST_DISC}
    # The slice through the middle of the discs: the median of their centres, as a scoliotic spine is not straight.
    middle = round(float(np.median([np.average(np.arange(len(area)), weights=area) for area in areas.values()])))
    reach = int(CENTRAL_MM / spacing[0]) if central else 0
    named = not (mask == FIRST_DISC - 1).any() and 0 not in grades
    if not named:
        findings.add("uncertain_levels", f"patient {volume.patient} ({volume.image.name}): a disc 0")
    for index in range(max(0, middle - reach), min(len(mask), middle + reach + 1)):
        where = f"{volume.image}, slice {index + 1}"
        boxes = tuple(_boxes(mask[index], index, areas, grades, findings, where, named=named))
        if boxes:
            pixels = window(_without_padding(image[index]))
            patient = f"spider_{volume.patient:03d}"
            name = f"{patient}_{volume.sequence}{f'_{index + 1:03d}' if central else ''}.png"
            write_image(folder / "images" / name, pixels)
            size, pixel = pixels.shape[::-1], (spacing[2], spacing[1])
            found.append(Record(name, size, patient, pixel, boxes, source=volume.image.name))
    if not found:
        findings.add("unusable_volumes", f"{volume.image}: no graded disc in the slices that were asked for.")
    return found


def _read_planes(image_file: Path, mask_file: Path) -> tuple[np.ndarray, np.ndarray, tuple[float, float, float]]:
    """Values and labels of a volume, sagittal planes first, and its spacing between and in them.

    A plane is a picture: above is above, the front is on the left.

    Raises:
        ValueError: a file cannot be read, image and mask do not fit, or there is no disc in the mask.
    """
    image, spacing = read_volume(image_file, labels=False)
    mask, _ = read_volume(mask_file, labels=True)
    if image.shape != mask.shape:
        raise ValueError(f"{image_file}: {image.shape} voxels, but its mask has {mask.shape}.")
    if not ((mask >= FIRST_DISC) & (mask <= LAST_DISC)).any():
        raise ValueError(f"{mask_file}: no disc in it.")
    # They come from the back to the front and from below to above.
    image, mask = (np.flip(volume.swapaxes(1, 2), (1, 2)) for volume in (image, mask))
    return image, mask, spacing


def _boxes(
    plane: np.ndarray,
    index: int,
    areas: dict[int, np.ndarray],
    grades: Grades,
    findings: Findings,
    where: str,
    *,
    named: bool,
) -> Iterator[Box]:
    """The boxes of the discs of one slice; ``areas`` are those of each disc in all slices."""
    usual = np.median([area[index] for area in areas.values() if area[index]] or [0])
    for disc, area in areas.items():
        if not area[index]:
            continue
        rows, columns = np.nonzero(plane == disc)
        top, bottom, left, right = rows.min(), rows.max() + 1, columns.min(), columns.max() + 1
        at_border = min(top, left) == 0 or bottom == plane.shape[0] or right == plane.shape[1]
        if area[index] < LEAST_SHARE * area.max() or (at_border and area[index] < LEAST_SHARE * usual):
            findings.add("cut_discs", f"{where}: disc {disc}")
            continue
        count = disc - FIRST_DISC
        original = grades.get(count + 1, {})
        if HERNIATION not in original:
            findings.add("ungraded_discs", f"{where}: disc {disc}")
            continue
        level = DISCS[-1 - count] if named and count < len(DISCS) else None
        box = float(left), float(top), float(right - left), float(bottom - top)
        yield Box(1 if original[HERNIATION] else 2, box, level, original)


def _without_padding(values: np.ndarray) -> np.ndarray:
    """The least value, which some volumes are padded with far below their own values, as the next greater one."""
    least = values.min()
    others = values[values > least]
    return np.where(values == least, others.min(), values) if others.size else values
