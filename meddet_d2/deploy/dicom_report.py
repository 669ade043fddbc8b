"""Readings as DICOM objects: a structured report of the boxes (TID 1500), and the overlay as a secondary capture.

Needs the extra "dicom". Without a patient's identity unless asked for: no attribute of the source is copied
then, and every id comes from the pseudonyms.
"""

import io
from collections.abc import Mapping
from pathlib import Path
from secrets import token_hex
from typing import Any

import highdicom as hd
import numpy as np
from PIL import Image
from pydicom import Dataset
from pydicom.sr.codedict import codes
from pydicom.uid import ExplicitVRLittleEndian

import meddet_d2

from ..files import replacing
from ..formats import Pseudonyms
from ..formats.quiet import quiet
from .dicom_origin import Origin, derived_uid, origin_of, without_identity
from .reading import RESEARCH_USE, Reading, disc_numbers

DETECTOR, SCHEME = "meddet_d2", "99MEDDET"
_SERIES_NUMBERS = {"sr": 9001, "sc": 9002}
# SNOMED CT: the classes that have a code, which are those of discs, and their site. Any other class is reported by its
# name, under a code of this project's.
_DISC = hd.sr.CodedConcept("360499006", "SCT", "Intervertebral disc")
_FINDINGS = {
    "protrusion": hd.sr.CodedConcept("73589001", "SCT", "Herniation of intervertebral disc"),
    "non-protrusion": _DISC,
}
_CLASS = hd.sr.CodedConcept("class", SCHEME, "Class given by the detector")
_LEVEL = hd.sr.CodedConcept("level", SCHEME, "Level given by a landmark network")


class NoReportError(ValueError):
    """One image has no report; the message is one line without identifying text."""


class DicomWriter:
    """Writes the objects of one run."""

    def __init__(
        self,
        kinds: tuple[str, ...],
        pseudonyms: Pseudonyms,
        *,
        model: str,
        thresholds: Mapping[str, float],
        identified: bool = False,
    ) -> None:
        """
        Args:
            kinds: "sr", the report, and "sc", the capture.
            pseudonyms: those that the readings' ids come from.
            model: the detector's name.
            thresholds: of each of its classes, for the report.
            identified: with the patient's name and ids and the study's UIDs, so that an archive files the objects.
        """
        self.kinds, self.pseudonyms, self.identified = kinds, pseudonyms, identified
        self.model, self.classes, self.thresholds = model, tuple(thresholds), thresholds
        # New objects of every run are new to the archive, even from the same image.
        self._run = token_hex(16)
        self._written = 0

    def write(self, reading: Reading, picture: Image.Image, folder: Path) -> list[str]:
        """Write <image id>.sr.dcm and <image id>.sc.dcm.

        Args:
            reading: of one image.
            picture: its overlay.
            folder: made where it does not exist.

        Returns:
            Of each object that could not be made, why, in one line without identifying text.
        """
        reasons = []
        self._written += 1
        for kind in self.kinds:
            # Libraries name values that they find odd, and these are the patient's.
            with quiet():
                try:
                    origin = origin_of(reading.slice, self.pseudonyms, identified=self.identified)
                    made = self._report(reading, origin) if kind == "sr" else self._capture(picture, reading, origin)
                    buffer = io.BytesIO()
                    made.save_as(buffer)
                except NoReportError as error:
                    reasons.append(str(error))
                    continue
                except Exception as error:
                    # A source's odd value makes pydicom raise whatever it likes, with the value in the text.
                    reasons.append(f"{kind.upper()}: its attributes cannot be written ({type(error).__name__}).")
                    continue
            with replacing(folder / f"{reading.slice.image_id}.{kind}.dcm") as temporary:
                temporary.write_bytes(buffer.getvalue())
        return reasons

    def _common(self, kind: str, reading: Reading, origin: Origin) -> dict[str, Any]:
        """What both objects are made with."""
        return {
            "series_instance_uid": derived_uid(self.pseudonyms, self._run, kind, origin.identity.StudyInstanceUID),
            "series_number": _SERIES_NUMBERS[kind],
            "sop_instance_uid": derived_uid(self.pseudonyms, self._run, kind, reading.slice.image_id),
            "instance_number": self._written,
            "manufacturer": DETECTOR,
            "manufacturer_model_name": self.model[:64],
            "software_versions": meddet_d2.__version__,
            "series_description": f"{DETECTOR}: {RESEARCH_USE}"[:64],
        }

    def _report(self, reading: Reading, origin: Origin) -> Dataset:
        if origin.sop_class is None or origin.instance is None or origin.series is None:
            raise NoReportError("SR: the source is no DICOM image that a structured report could point at.")
        frames = [reading.slice.frame] if reading.slice.frame is not None else None
        image = (origin.sop_class, origin.instance, frames)
        numbers = disc_numbers(reading.findings)
        groups = [self._count(reading, image)]
        groups += [self._region(reading, index, disc, image) for index, disc in enumerate(numbers)]
        device = hd.sr.ObserverContext(
            observer_type=codes.DCM.Device,
            observer_identifying_attributes=hd.sr.DeviceObserverIdentifyingAttributes(
                uid=derived_uid(self.pseudonyms, "device", self.model, meddet_d2.__version__),
                name=DETECTOR,
                model_name=self.model,
            ),
        )
        content = hd.sr.MeasurementReport(
            observation_context=hd.sr.ObservationContext(observer_device_context=device),
            procedure_reported=codes.cid100.MRIUnspecifiedBodyRegion,
            imaging_measurements=groups,
        )
        # The identity is put in at the end: highdicom logs a name that it finds odd, and refuses an odd date.
        evidence = without_identity()
        evidence.PatientID, evidence.StudyInstanceUID = "", origin.identity.StudyInstanceUID
        evidence.SOPClassUID, evidence.SOPInstanceUID = origin.sop_class, origin.instance
        evidence.SeriesInstanceUID, evidence.Modality = origin.series, "MR"
        report = hd.sr.ComprehensiveSR(
            evidence=[evidence],
            content=content,
            is_complete=True,
            **self._common("sr", reading, origin),
        )
        report.update(origin.identity)
        return report

    def _count(self, reading: Reading, image: tuple[str, str, list[int] | None]) -> Any:
        """How many findings of each class there are: a healthy image's report says something, too."""
        counts = [
            hd.sr.Measurement(
                name=hd.sr.CodedConcept(f"count-{index}", SCHEME, f"Number of findings: {label}"[:64]),
                value=sum(finding.label == label for finding in reading.findings),
                unit=codes.UCUM.NoUnits,
            )
            for index, label in enumerate(self.classes)
        ]
        on_discs = all(label in _FINDINGS for label in self.classes)
        return hd.sr.MeasurementsAndQualitativeEvaluations(
            **self._group(reading, "image", ""),
            finding_type=_DISC if on_discs else hd.sr.CodedConcept("objects", SCHEME, "Objects"),
            measurements=counts,
            source_images=[hd.sr.SourceImageForMeasurementGroup(*image)],
        )

    def _region(self, reading: Reading, index: int, disc: int, image: tuple[str, str, list[int] | None]) -> Any:
        """One box: where, what, how sure, how large."""
        finding = reading.findings[index]
        x0, y0, x1, y1 = finding.box
        measured = [(codes.DCM.CertaintyOfFinding, 100.0 * finding.score, codes.UCUM.Percent)]
        if finding.size_mm is not None:
            measured.append((codes.SCT.Width, finding.size_mm[0], codes.UCUM.Millimeter))
            measured.append((codes.DCM.Height, finding.size_mm[1], codes.UCUM.Millimeter))
        label, on_disc = finding.label, finding.label in _FINDINGS
        level = "" if finding.level is None else f", {finding.level}"
        named = hd.sr.CodedConcept(f"class-{self.classes.index(label)}", SCHEME, label[:64])
        evaluations = [hd.sr.QualitativeEvaluation(_CLASS, named)]
        if finding.level is not None:
            code = finding.level.replace("/", "-")
            evaluations.append(hd.sr.QualitativeEvaluation(_LEVEL, hd.sr.CodedConcept(code, SCHEME, finding.level)))
        return hd.sr.PlanarROIMeasurementsAndQualitativeEvaluations(
            **self._group(reading, f"{'disc' if on_disc else 'object'} {disc}, {label}{level}", str(index)),
            referenced_region=hd.sr.ImageRegion(
                graphic_type=hd.sr.GraphicTypeValues.POLYLINE,
                graphic_data=np.array([(x0, y0), (x1, y0), (x1, y1), (x0, y1), (x0, y0)]),
                source_image=hd.sr.SourceImageForRegion(*image),
            ),
            finding_type=_FINDINGS.get(label, named),
            finding_sites=[hd.sr.FindingSite(_DISC)] if on_disc else None,
            measurements=[hd.sr.Measurement(name, value, unit) for name, value, unit in measured],
            qualitative_evaluations=evaluations,
        )

    def _group(self, reading: Reading, name: str, number: str) -> dict[str, Any]:
        """What every group of measurements has: an identifier, and the algorithm that measured."""
        uid = derived_uid(self.pseudonyms, self._run, reading.slice.image_id, name, number)
        settings = [f"threshold of {label}: {value:g}" for label, value in self.thresholds.items()]
        return {
            "tracking_identifier": hd.sr.TrackingIdentifier(uid=uid, identifier=name),
            "algorithm_id": hd.sr.AlgorithmIdentification(
                name=f"{DETECTOR} {self.model}", version=meddet_d2.__version__, parameters=[RESEARCH_USE, *settings]
            ),
        }

    def _capture(self, picture: Image.Image, reading: Reading, origin: Origin) -> Dataset:
        capture = hd.sc.SCImage(
            pixel_array=np.asarray(picture.convert("RGB")),
            photometric_interpretation=hd.PhotometricInterpretationValues.RGB,
            bits_allocated=8,
            coordinate_system=hd.CoordinateSystemNames.PATIENT,
            patient_orientation=("P", "F"),
            study_instance_uid=origin.identity.StudyInstanceUID,
            transfer_syntax_uid=ExplicitVRLittleEndian,
            **self._common("sc", reading, origin),
        )
        # Asked for by highdicom, and not known of a picture.
        capture.PatientOrientation = None  # type: ignore[assignment]
        capture.DerivationDescription = f"Boxes of a detector drawn on the image. {RESEARCH_USE}"
        if origin.burned_in is not None:
            capture.BurnedInAnnotation = origin.burned_in
        if origin.sop_class is not None and origin.instance is not None:
            reference = Dataset()
            reference.ReferencedSOPClassUID, reference.ReferencedSOPInstanceUID = origin.sop_class, origin.instance
            if reading.slice.frame is not None:
                reference.ReferencedFrameNumber = reading.slice.frame
            capture.SourceImageSequence = [reference]
        capture.update(origin.identity)
        return capture
