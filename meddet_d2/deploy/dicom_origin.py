"""Whose image a reading is of, as new DICOM objects say it: by pseudonyms, or as the archive files it."""

from dataclasses import dataclass

from pydicom import Dataset, dcmread
from pydicom.uid import generate_uid

from ..formats import MRSlice, Pseudonyms
from ..formats.kinds import kind_of

# What the archive files an object by. Of the source's attributes these alone are copied, and with identity only.
_IDENTITY = (
    *("PatientName", "PatientID", "IssuerOfPatientID", "PatientBirthDate", "PatientSex"),
    *("StudyInstanceUID", "StudyID", "StudyDate", "StudyTime", "StudyDescription"),
    *("AccessionNumber", "IssuerOfAccessionNumberSequence", "ReferringPhysicianName"),
)
# Of type 2: an object has them, with a value or without.
_REQUIRED = (
    *("PatientName", "PatientBirthDate", "PatientSex", "StudyID", "StudyDate", "StudyTime"),
    *("AccessionNumber", "ReferringPhysicianName"),
)
_DEIDENTIFICATION = "Made anew from pseudonyms; no attribute of the source was copied"


@dataclass(frozen=True)
class Origin:
    """The image that a reading is of, as the new objects name it.

    Attributes:
        identity: attributes of patient and study.
        sop_class, instance, series: UIDs; None where the source is no DICOM image, or does not have them.
        burned_in: BurnedInAnnotation of the source, YES or NO, None where it does not say.
    """

    identity: Dataset
    sop_class: str | None = None
    instance: str | None = None
    series: str | None = None
    burned_in: str | None = None


def origin_of(mr_slice: MRSlice, pseudonyms: Pseudonyms, *, identified: bool) -> Origin:
    """Patient, study and image of a slice.

    Args:
        mr_slice: its source is read again, without its pixels.
        pseudonyms: those that its ids come from.
        identified: with the source's own name, ids and UIDs, for the archive. Otherwise everything is a pseudonym.

    Raises:
        Exception: whatever pydicom raises on a damaged value, with the value in its text.
    """
    source = None
    if kind_of(mr_slice.source) == "dicom":
        # By force, because scanners write files without a preamble, and whoever read the image has known it as DICOM.
        source = dcmread(mr_slice.source, force=True, stop_before_pixels=True)
    identity = without_identity()
    identity.SpecificCharacterSet = "ISO_IR 192"
    identity.PatientID = mr_slice.patient_id or mr_slice.image_id
    study = source.get("StudyInstanceUID") if source is not None else None
    identity.StudyInstanceUID = derived_uid(pseudonyms, "study", study or mr_slice.image_id)
    if source is None:
        return Origin(identity)
    instance, series = source.get("SOPInstanceUID"), source.get("SeriesInstanceUID")
    if identified:
        for keyword in _IDENTITY:
            if source.get(keyword):
                identity[keyword] = source[keyword]
    else:
        identity.PatientIdentityRemoved = "YES"
        identity.DeidentificationMethod = _DEIDENTIFICATION
        instance = instance and derived_uid(pseudonyms, "instance", instance)
        series = series and derived_uid(pseudonyms, "series", series)
    burned_in = source.get("BurnedInAnnotation")
    burned_in = burned_in if burned_in in ("YES", "NO") else None
    # Any other text in a SOP class's place may be anything.
    sop_class = source.get("SOPClassUID")
    sop_class = str(sop_class) if sop_class and sop_class.type == "SOP Class" else None
    return Origin(identity, sop_class, instance or None, series or None, burned_in)


def derived_uid(pseudonyms: Pseudonyms, *words: str) -> str:
    """A UID that tells nothing of the words but is the same for the same words and the same salt."""
    return str(generate_uid(entropy_srcs=[pseudonyms.image(" ".join(("uid", *words)))]))


def without_identity() -> Dataset:
    """A data set with the attributes that every patient and study must have, all of them empty."""
    empty = Dataset()
    for keyword in _REQUIRED:
        setattr(empty, keyword, "")
    return empty
