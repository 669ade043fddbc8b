"""Whose an image is, and who is the same person under two names."""

from collections import defaultdict
from pathlib import Path
from re import Pattern

from ...formats import MRSlice, Pseudonyms
from ...layout.data_set_writer import Record
from ...layout.identifiers import patient_key
from .omissions import Findings
from .table import PatientTable


class SamePatients:
    """Joins the names of one person, so that a split cannot part them."""

    def __init__(self) -> None:
        self._parents: dict[str, str] = {}

    def join(self, one: str, two: str) -> bool:
        """Say that two names are one person; returns whether that is news."""
        one, two = self.name(one), self.name(two)
        if one == two:
            return False
        # The lesser name stays, whatever the order of the images.
        self._parents[max(one, two)] = min(one, two)
        return True

    def name(self, patient: str) -> str:
        """The one name of a person."""
        while patient in self._parents:
            patient = self._parents[patient]
        return patient


class Owners:
    """Says whose an image is: by the table, else the folder, else the pattern, else DICOM; only the first that is set.

    Args:
        root: the folder of images.
        pseudonyms: for patients.
        table: what a spreadsheet says.
        level: which folder below the root is the patient, from 1.
        pattern: what finds the patient in the path below the root, its first group or all of it.
    """

    def __init__(
        self, root: Path, pseudonyms: Pseudonyms, table: PatientTable | None, level: int | None, pattern: Pattern | None
    ) -> None:
        self.same = SamePatients()
        self.pseudonyms, self._root = pseudonyms, root
        self._table, self._level, self._pattern = table, level, pattern
        self._by_dicom: dict[str, set[str]] = defaultdict(set)
        self._example: dict[str, Path] = {}
        # The first way in which each patient was written.
        self._spellings: dict[str, str] = {}

    def find(self, path: Path, read: MRSlice, findings: Findings) -> tuple[str, str] | None:
        """The pseudonym of an image's owner, and how the source says it, for the key alone: "" where DICOM says it.

        None, with a finding, if nothing says it.
        """
        text = self._text(path)
        if text and patient_key(text):
            patient = self.pseudonyms.patient(text)
            if self.same.join(self.named(text), patient):
                findings.add("joined_patients", f"one patient, written in two ways, for example {path}")
            if read.patient_id is not None:
                self._by_dicom[read.patient_id].add(patient)
                self._example[read.patient_id] = path
            return patient, text
        if text is None and read.patient_id is not None:
            return read.patient_id, ""
        # An image that the table gives to two patients has been named already.
        if self._table is None or path not in self._table.conflicting:
            findings.add("no_patient", str(path))
        return None

    def named(self, text: str) -> str:
        """The pseudonym of a patient, whichever way of writing `patient_key` takes for the same."""
        return self.same.name(self.pseudonyms.patient(self._spellings.setdefault(patient_key(text), text)))

    def join(self, findings: Findings) -> None:
        """Join two patients whose files have one PatientID in DICOM.

        More than two are left alone: then the PatientID is one that somebody has put into all files.
        """
        for dicom, patients in sorted(self._by_dicom.items()):
            where = self._example[dicom]
            if len(patients) == 2 and self.same.join(*patients):
                findings.add("joined_patients", f"two patients with one PatientID in DICOM, for example {where}")
            elif len(patients) > 2:
                findings.add("remarks", f"{len(patients)} patients with one PatientID in DICOM, for example {where}")

    def said_splits(self, records: list[Record]) -> dict[str, set[str]]:
        """The splits that the table gives the patients of some images; empty without a column of splits."""
        said: dict[str, set[str]] = defaultdict(set)
        for record in records:
            if self._table is not None and (split := self._table.splits.get(Path(record.source))):
                said[record.patient].add(split)
        return said

    def _text(self, path: Path) -> str | None:
        """What the chosen source says; empty if nothing, None if DICOM is the source."""
        relative = path.relative_to(self._root)
        if self._table is not None:
            return self._table.patients.get(path, "")
        if self._level is not None:
            return next(iter(relative.parts[self._level - 1 : -1]), "")
        if self._pattern is not None:
            found = self._pattern.search(relative.as_posix())
            return ((found.group(1) if self._pattern.groups else found.group()) or "") if found else ""
        return None
