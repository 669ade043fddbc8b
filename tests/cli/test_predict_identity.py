"""``tools/predict.py`` and whose the images are: no name gets out, unless it is asked for."""

from pathlib import Path

import highdicom as hd
import numpy as np
import pytest
from dicom_files import CANARIES, canary_dicom, write_dicom
from prediction_files import deep, files_of, save, table
from pydicom.uid import MRImageStorage

# Without those of five and six digits, which numbers contain by chance.
CANARY_TEXTS = [*(text for text in CANARIES if not (text.isdigit() and len(text) < 7)), "271828.18", "2718281"]


@pytest.fixture
def canaries(tmp_path):
    """A folder of DICOM files with a canary in every tag, readable or not, and in the files' names."""
    folder = tmp_path / "CANARY Petunia"
    folder.mkdir()
    canary_dicom(
        folder / "canary 0.dcm", deep(), SOPClassUID=MRImageStorage, SOPInstanceUID="1.2.0", PixelSpacing=[0.5, 0.5]
    )
    canary_dicom(folder / "canary as it is.dcm")
    (folder / "canary broken.dcm").write_bytes((folder / "canary 0.dcm").read_bytes()[:-3000])
    return folder


def canaries_in(data: bytes) -> list[str]:
    return [text for text in CANARY_TEXTS if text.lower().encode() in data.lower()]


def test_no_canary_gets_out(run, tmp_path, canaries, predict, monkeypatch, recwarn, caplog):
    # The new objects' ids are random; these are the same each time.
    monkeypatch.setattr("meddet_d2.deploy.dicom_report.token_hex", lambda count: "run")
    status, out, err = run(canaries, "--slices", "all", "--dicom", "both", "--key", tmp_path / "key.csv")
    assert status == 0
    # The terminal names a file by its path, as the person typed it.
    said = (out + err).replace(str(canaries), "").replace(str(tmp_path), "").replace("/canary ", "") + caplog.text
    assert not canaries_in(said.encode()), said
    assert not [warning for warning in recwarn if canaries_in(str(warning.message).encode())]
    written = files_of(tmp_path / "out")
    kinds = {Path(name).suffixes[-1] if "." in name else name for name in written}
    assert kinds == {".json", ".csv", ".png", ".dcm"}
    assert sum(name.endswith(".sr.dcm") for name in written) == 1
    assert sum(name.endswith(".sc.dcm") for name in written) == 2
    for name, data in written.items():
        assert not canaries_in(name.encode()) and not canaries_in(data), name
    assert len(table(tmp_path / "out" / "problems.csv")) == 2


def test_boxes_of_the_report_are_those_of_the_table(run, tmp_path):
    status, *_ = run(write_dicom(tmp_path / "a.dcm", deep(), PatientName="Hans"), "--dicom", "sr")
    assert status == 0
    ((name, _),) = [item for item in files_of(tmp_path / "out").items() if item[0].endswith(".sr.dcm")]
    report = hd.sr.srread(tmp_path / "out" / name)
    lines = table(tmp_path / "out" / "findings.csv")
    groups = report.content.get_planar_roi_measurement_groups()
    assert len(groups) == len(lines) > 0
    for group, line in zip(groups, lines, strict=True):
        box = [float(line[f"{side}_px"]) for side in ("x0", "y0", "x1", "y1")]
        np.testing.assert_allclose([*group.roi.value.min(axis=0), *group.roi.value.max(axis=0)], box, atol=0.006)
        assert group.tracking_identifier == f"disc {line['disc']}, {line['label']}"


def test_identity_is_in_its_own_folder_and_warned_of(run, tmp_path):
    source = write_dicom(tmp_path / "a.dcm", deep(), PatientName="Petunia", StudyDate="19040229")
    status, _, err = run(source, save(tmp_path / "b.png"), "--dicom", "both", "--dicom-identified")
    assert status == 0 and "warning: " in err and "patients' names" in err
    assert f"problem: {tmp_path / 'b.png'}: SR: the source is no DICOM image" in err
    named = {name for name, data in files_of(tmp_path / "out").items() if b"Petunia" in data or b"19040229" in data}
    assert len(named) == 2 and all(name.startswith("dicom_identified") for name in named)
    assert len(files_of(tmp_path / "out" / "dicom_identified")) == 3
    (problem,) = table(tmp_path / "out" / "problems.csv")
    assert problem["image_id"] in {line["image_id"] for line in table(tmp_path / "out" / "images.csv")}
    assert run(source, tmp_path / "b.png", "--dicom", "sr", "--strict", "--force")[0] == 1
    assert not (tmp_path / "out" / "dicom_identified").exists()
