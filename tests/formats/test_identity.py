"""Pseudonyms and the allow-list of tags."""

import os
import re
import stat
from concurrent.futures import ThreadPoolExecutor

import dicom_files
import numpy as np
import pytest

from meddet_d2.formats import Pseudonyms, read_slices
from meddet_d2.formats.identity import CODES, NUMBERS, allowed_tags

RAMP = np.arange(256, dtype=np.uint16).reshape(16, 16)


def patient(tmp_path, salt="salt", **tags):
    path = dicom_files.write_dicom(tmp_path / "a.dcm", RAMP, **tags)
    return read_slices(path, pseudonyms=Pseudonyms(salt))[0].patient_id


def test_form_and_salt():
    names = Pseudonyms("salt")
    assert re.fullmatch("p[0-9a-f]{16}", names.patient("4711")) and re.fullmatch("i[0-9a-f]{16}", names.image("1.2.3"))
    assert names.patient("4711") == Pseudonyms(b"salt").patient(" 4711 ")
    assert names.patient("4711") == "p25789e31e0bba370", "what a table of earlier results has"
    different = [names.patient("4711"), names.patient("4712"), Pseudonyms("pepper").patient("4711")]
    assert len(set(different)) == 3
    assert names.image("4711")[1:] != names.patient("4711")[1:]
    assert "salt" not in repr(names)
    with pytest.raises(ValueError, match="MEDDET_SALT"):
        Pseudonyms("")


def test_a_table_and_dicom_give_one_pseudonym(tmp_path):
    assert patient(tmp_path, PatientID="a0001 ") == Pseudonyms("salt").patient("a0001")


def test_what_a_patient_is_known_by(tmp_path):
    """The number with its issuer; without a number, the name; without both, nobody."""
    number = patient(tmp_path, PatientID="7", PatientName="Doe^Jane")
    assert number == patient(tmp_path, PatientID="7", PatientName="Roe^Mary")
    issued = [patient(tmp_path, PatientID="7", IssuerOfPatientID=name) for name in ("A", "B")]
    assert len({number, *issued}) == 3
    name = patient(tmp_path, PatientID="", PatientName="Doe^Jane")
    assert name == patient(tmp_path, PatientID=None, PatientName="Doe^Jane^^") != number
    assert patient(tmp_path, PatientID=None) is None
    assert patient(tmp_path, PatientID=" ", PatientName="^") is None


def test_what_an_image_is_known_by(tmp_path):
    def image(name, values, **tags):
        path = dicom_files.write_dicom(tmp_path / name, values, **tags)
        return read_slices(path, pseudonyms=Pseudonyms("salt"))[0].image_id

    assert image("a.dcm", RAMP) == image("b.dcm", RAMP + 1), "by its SOPInstanceUID"
    assert image("c.dcm", RAMP) != image("d.dcm", RAMP, SOPInstanceUID="1.2.3")
    assert image("e.dcm", RAMP, SOPInstanceUID=None) != image("f.dcm", RAMP + 1, SOPInstanceUID=None), "by its content"


def test_the_salt_of_the_environment(monkeypatch):
    monkeypatch.setenv("MEDDET_SALT", "a long random text\n")
    assert Pseudonyms.load().patient("7") == Pseudonyms("a long random text").patient("7")
    monkeypatch.setenv("MEDDET_SALT", " ")
    with pytest.raises(ValueError, match="MEDDET_SALT"):
        Pseudonyms.load()


@pytest.fixture
def config(tmp_path, monkeypatch):
    monkeypatch.delenv("MEDDET_SALT", raising=False)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    return tmp_path / "config" / "meddet_d2"


@pytest.mark.skipif(os.name != "posix", reason="permissions of POSIX")
def test_the_salt_is_made_once_and_for_its_user_alone(config):
    first = Pseudonyms.load().patient("7")
    (file,) = config.iterdir()
    assert file.name == "salt" and stat.S_IMODE(file.stat().st_mode) == 0o600
    assert re.fullmatch("[0-9a-f]{64}\n", file.read_text())
    assert Pseudonyms.load().patient("7") == first
    file.chmod(0o644)
    with pytest.raises(ValueError, match="chmod 600"):
        Pseudonyms.load()
    file.unlink()
    assert Pseudonyms.load().patient("7") != first


def test_two_first_runs_have_one_salt(config):
    with ThreadPoolExecutor(8) as pool:
        assert len(set(pool.map(lambda _: Pseudonyms.load().patient("7"), range(32)))) == 1
    assert [path.name for path in config.iterdir()] == ["salt"]


def test_a_salt_that_cannot_be_kept(config):
    config.parent.mkdir()
    config.write_text("a file where the folder should be")
    with pytest.raises(OSError, match="MEDDET_SALT"):
        Pseudonyms.load()
    config.unlink()
    config.mkdir()
    (config / "salt").touch(mode=0o600)
    with pytest.raises(ValueError, match="is empty"):
        Pseudonyms.load()


def test_the_allow_list():
    values = {"EchoTime": "90", "RepetitionTime": 2500.123456, "FlipAngle": [90.0], "EchoTrainLength": 17.0}
    values |= {
        "ScanningSequence": ["SE", "IR", "JANE"],
        "Modality": "MR",
        "PatientName": "Doe^Jane",
        "Manufacturer": "X",
    }
    assert allowed_tags(values) == {
        "RepetitionTime": 2500.1235,
        "FlipAngle": 90,
        "EchoTrainLength": 17,
        "Modality": "MR",
        "ScanningSequence": "SE+IR",
    }
    for keyword, (low, high) in NUMBERS.items():
        assert keyword in allowed_tags({keyword: high}) and keyword in allowed_tags({keyword: low})
        for value in (high * 2, -1, float("nan"), float("inf"), [low, high], "text", None, b"1", [None]):
            assert allowed_tags({keyword: value}) == {}
    for keyword in CODES:
        for value in ("CANARY", "", None, ["CANARY"], 7, b"MR"):
            assert keyword not in allowed_tags({keyword: value})
