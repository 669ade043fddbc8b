"""Structured reports and secondary captures, read back: boxes, codes, references, and whose they are."""

from dataclasses import replace
from pathlib import Path

import highdicom as hd
import numpy as np
import pydicom
import pytest
from dicom_files import ROOT_UID, write_dicom
from PIL import Image
from pydicom.sr.codedict import codes

from meddet_d2.deploy import Finding, Reading, overlay
from meddet_d2.deploy.dicom_report import DicomWriter
from meddet_d2.formats import Pseudonyms, read_slices

CLASSES = ("protrusion", "non-protrusion")
SALT = Pseudonyms("salt")
FOUND = (
    Finding((10.25, 20.0, 30.5, 28.0), "non-protrusion", 0.8125, (10.125, 4.0)),
    Finding((12.0, 40.0, 32.0, 50.0), "protrusion", 0.375, (10.0, 5.0)),
)
NAME = "Sørensen^Ænne"


def writer(identified=False) -> DicomWriter:
    limits = dict.fromkeys(CLASSES, 0.3)
    return DicomWriter(("sr", "sc"), SALT, model="m", thresholds=limits, identified=identified)


def pixels(*shape) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 4000, shape, np.uint16)


def write(tmp_path: Path, source: Path, *findings, identified=False, slices="middle"):
    """The report and the capture of a file's slice, as they are read back, and that slice."""
    (mr_slice, *_) = read_slices(source, pseudonyms=SALT, slices=slices)
    reading = Reading(mr_slice, findings, CLASSES)
    assert writer(identified).write(reading, overlay(reading), tmp_path / "out") == []
    path = tmp_path / "out" / mr_slice.image_id
    return hd.sr.srread(f"{path}.sr.dcm"), pydicom.dcmread(f"{path}.sc.dcm"), mr_slice


@pytest.fixture
def source(tmp_path):
    return write_dicom(
        tmp_path / "source.dcm", pixels(64, 96), PatientName=NAME, PatientBirthDate="19700101", StudyDate="20200202",
        SpecificCharacterSet="ISO_IR 100", AccessionNumber="ACCESSION-9", StudyID="S7", InstitutionName="Hospital",
        PatientID="NUMBER-4711",
    )  # fmt: skip


def test_the_report_holds_every_box(tmp_path, source):
    report, _, _ = write(tmp_path, source, *FOUND)
    assert report.content.__class__.__name__ == "MeasurementReport"
    groups = report.content.get_planar_roi_measurement_groups()
    assert len(groups) == 2
    for group, finding, code, box in zip(
        groups,
        FOUND,
        (("360499006", "Intervertebral disc"), ("73589001", "Herniation of intervertebral disc")),
        ((10.25, 20.0, 30.5, 28.0), (12.0, 40.0, 32.0, 50.0)),
        strict=True,
    ):
        assert group.roi.graphic_type == hd.sr.GraphicTypeValues.POLYLINE
        x0, y0, x1, y1 = box
        np.testing.assert_allclose(group.roi.value, [(x0, y0), (x1, y0), (x1, y1), (x0, y1), (x0, y0)], atol=1e-4)
        assert (group.finding_type.value, group.finding_type.meaning) == code
        assert group.finding_type.scheme_designator == "SCT"
        (certainty,) = group.get_measurements(name=codes.DCM.CertaintyOfFinding)
        assert certainty.value == 100 * finding.score and certainty.unit == codes.UCUM.Percent
        (width,) = group.get_measurements(name=codes.SCT.Width)
        (height,) = group.get_measurements(name=codes.DCM.Height)
        assert (width.value, height.value) == finding.size_mm and width.unit == codes.UCUM.Millimeter
        (named,) = group.get_qualitative_evaluations()
        assert named.value.meaning == finding.label
    assert [group.tracking_identifier for group in groups] == ["disc 1, non-protrusion", "disc 2, protrusion"]
    uids = {group.tracking_uid for group in [*groups, *report.content.get_image_measurement_groups()]}
    assert len(uids) == 3
    assert (report.VerificationFlag, report.PreliminaryFlag) == ("UNVERIFIED", "PRELIMINARY")
    assert "Research use only" in report.SeriesDescription


def test_a_level_is_in_the_identifier_and_an_evaluation_of_its_own(tmp_path, source):
    report, _, _ = write(tmp_path, source, replace(FOUND[0], level="C5/6"), FOUND[1])
    named, unnamed = report.content.get_planar_roi_measurement_groups()
    assert named.tracking_identifier == "disc 1, non-protrusion, C5/6"
    assert unnamed.tracking_identifier == "disc 2, protrusion" and len(unnamed.get_qualitative_evaluations()) == 1
    _, level = named.get_qualitative_evaluations()
    assert (level.name.value, level.value.value, level.value.meaning) == ("level", "C5-6", "C5/6")


def test_two_boxes_on_one_disc_are_two_findings(tmp_path, source):
    report, _, _ = write(tmp_path, source, FOUND[0], FOUND[0])
    groups = report.content.get_planar_roi_measurement_groups()
    assert len({group.tracking_uid for group in groups}) == 2 and len({g.tracking_identifier for g in groups}) == 1


def test_a_healthy_image_has_a_report_that_says_so(tmp_path, source):
    report, _, _ = write(tmp_path, source)
    assert report.content.get_planar_roi_measurement_groups() == []
    (group,) = report.content.get_image_measurement_groups()
    counts = {measurement.name.meaning: measurement.value for measurement in group.get_measurements()}
    assert counts == {"Number of findings: protrusion": 0, "Number of findings: non-protrusion": 0}


def test_a_class_that_is_no_disc_s_is_reported_by_its_name(tmp_path, source):
    (mr_slice,) = read_slices(source, pseudonyms=SALT)
    classes = ("cyst", "mass")
    made = DicomWriter(("sr",), SALT, model="m", thresholds=dict.fromkeys(classes, 0.3))
    finding = Finding((12.0, 40.0, 32.0, 50.0), "mass", 0.5, None)
    assert made.write(Reading(mr_slice, (finding,), classes), None, tmp_path / "out") == []
    report = hd.sr.srread(str(tmp_path / "out" / f"{mr_slice.image_id}.sr.dcm"))
    (group,) = report.content.get_planar_roi_measurement_groups()
    code = group.finding_type
    assert (code.value, code.scheme_designator, code.meaning) == ("class-1", "99MEDDET", "mass")
    assert not group.finding_sites and group.tracking_identifier == "object 1, mass"
    (image,) = report.content.get_image_measurement_groups()
    assert image.finding_type.meaning == "Objects" and "disc" not in str(report).lower()


def referenced(report) -> tuple[str, str]:
    evidence = report.CurrentRequestedProcedureEvidenceSequence[0].ReferencedSeriesSequence[0].ReferencedSOPSequence[0]
    return evidence.ReferencedSOPClassUID, evidence.ReferencedSOPInstanceUID


def test_by_default_nobody_is_named_and_no_id_is_the_sources(tmp_path, source):
    report, capture, mr_slice = write(tmp_path, source, *FOUND)
    for made in (report, capture):
        assert made.PatientID == mr_slice.patient_id and made.PatientName == "" == made.PatientBirthDate
        assert made.StudyDate == made.AccessionNumber == made.StudyID == "" and "InstitutionName" not in made
        assert made.PatientIdentityRemoved == "YES"
    for path in (tmp_path / "out").iterdir():
        content = path.read_bytes()
        for secret in (
            b"rensen",
            b"NUMBER-4711",
            b"19700101",
            b"20200202",
            b"ACCESSION-9",
            b"Hospital",
            ROOT_UID.encode(),
        ):
            assert secret not in content, (path, secret)
    assert referenced(report)[0] == pydicom.uid.MRImageStorage
    reference = capture.SourceImageSequence[0]
    assert referenced(report)[1] == reference.ReferencedSOPInstanceUID != f"{ROOT_UID}.1"
    assert report.StudyInstanceUID == capture.StudyInstanceUID != f"{ROOT_UID}.3"
    # The same salt leads a second run to the same study and image, and to new objects; another salt does not.
    (tmp_path / "again").mkdir()
    again, _, _ = write(tmp_path / "again", source, *FOUND)
    assert again.StudyInstanceUID == report.StudyInstanceUID and referenced(again) == referenced(report)
    assert again.SOPInstanceUID != report.SOPInstanceUID
    assert len({made.SOPInstanceUID for made in (report, capture, again)}) == 3


def test_identified_objects_are_filed_with_their_study(tmp_path, source):
    report, capture, _ = write(tmp_path, source, *FOUND, identified=True)
    for made in (report, capture):
        assert str(made.PatientName) == NAME and made.PatientID == "NUMBER-4711" and made.PatientBirthDate == "19700101"
        assert made.StudyInstanceUID == f"{ROOT_UID}.3" and made.StudyDate == "20200202"
        assert made.AccessionNumber == "ACCESSION-9" and "InstitutionName" not in made
        assert "PatientIdentityRemoved" not in made
        assert made.SOPInstanceUID != f"{ROOT_UID}.1" and made.SeriesInstanceUID != f"{ROOT_UID}.2"
    assert referenced(report) == (pydicom.uid.MRImageStorage, f"{ROOT_UID}.1")
    assert report.StudyInstanceUID == report.CurrentRequestedProcedureEvidenceSequence[0].StudyInstanceUID


def test_a_name_in_two_scripts_is_kept(tmp_path):
    source = write_dicom(
        tmp_path / "a.dcm", pixels(64, 96), PatientName="Yamada^Tarou=山田^太郎",
        SpecificCharacterSet=["", "ISO 2022 IR 87"],
    )  # fmt: skip
    for made in write(tmp_path, source, identified=True)[:2]:
        assert str(made.PatientName) == "Yamada^Tarou=山田^太郎"


def test_the_capture_is_the_overlay(tmp_path, source):
    _, capture, mr_slice = write(tmp_path, source, *FOUND)
    assert capture.SOPClassUID == pydicom.uid.SecondaryCaptureImageStorage
    picture = overlay(Reading(mr_slice, FOUND, CLASSES))
    np.testing.assert_array_equal(capture.pixel_array, np.asarray(picture))
    assert capture.BurnedInAnnotation == "NO" and "Research use only" in capture.DerivationDescription


def test_the_frame_of_a_file_of_many(tmp_path):
    source = write_dicom(tmp_path / "many.dcm", pixels(5, 64, 96))
    report, capture, mr_slice = write(tmp_path, source, *FOUND)
    (group, _) = report.content.get_planar_roi_measurement_groups()
    region = group.roi.ContentSequence[0].ReferencedSOPSequence[0]
    assert mr_slice.frame == 3 == region.ReferencedFrameNumber
    assert capture.SourceImageSequence[0].ReferencedFrameNumber == 3


def test_what_is_no_dicom_has_a_capture_and_no_report(tmp_path):
    Image.fromarray(np.zeros((64, 96), np.uint8)).save(tmp_path / "a.png")
    (mr_slice,) = read_slices(tmp_path / "a.png", pseudonyms=SALT)
    reading = Reading(mr_slice, FOUND, CLASSES)
    reasons = writer(identified=True).write(reading, overlay(reading), tmp_path / "out")
    assert reasons == ["SR: the source is no DICOM image that a structured report could point at."]
    (path,) = (tmp_path / "out").iterdir()
    capture = pydicom.dcmread(path)
    assert capture.PatientID == mr_slice.image_id and "SourceImageSequence" not in capture


@pytest.mark.filterwarnings("ignore:Invalid value for VR")
@pytest.mark.parametrize("changes", [{"SOPClassUID": "Canary"}, {"SOPInstanceUID": None}, {"SeriesInstanceUID": None}])
def test_an_image_that_cannot_be_pointed_at(tmp_path, changes):
    source = write_dicom(tmp_path / "a.dcm", pixels(64, 96), **changes)
    (mr_slice,) = read_slices(source, pseudonyms=SALT)
    reading = Reading(mr_slice, FOUND, CLASSES)
    (reason,) = writer().write(reading, overlay(reading), tmp_path / "out")
    assert reason.startswith("SR: ")
    assert b"Canary" not in next((tmp_path / "out").iterdir()).read_bytes()


def test_an_odd_identity_is_no_end_and_is_not_told(tmp_path, caplog, recwarn):
    """A sex, a date and a name that no standard allows, with identity: filed as they are, or refused without a word."""
    source = write_dicom(
        tmp_path / "a.dcm", pixels(64, 96), PatientSex="CANARY", PatientBirthDate="CANARY", PatientName="CANARY",
        StudyInstanceUID="CANARY",
    )  # fmt: skip
    recwarn.clear()
    caplog.clear()
    (mr_slice,) = read_slices(source, pseudonyms=SALT)
    reading = Reading(mr_slice, FOUND, CLASSES)
    reasons = writer(identified=True).write(reading, overlay(reading), tmp_path / "out")
    assert len(reasons) + len(list((tmp_path / "out").glob("*.dcm"))) == 2
    said = [*reasons, caplog.text, *(str(warning.message) for warning in recwarn)]
    assert not [text for text in said if "CANARY" in text]
