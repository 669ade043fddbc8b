"""What the page answers: files read and deleted, a threshold that does not run the network, errors in one sentence."""

import base64
import csv
import io
import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from meddet_d2.deploy import Detections, read_slice, web_session
from meddet_d2.deploy.web_session import Session, csv_of, receive, show
from meddet_d2.formats import MRSlice, Pseudonyms, ReadError

PSEUDONYMS = Pseudonyms(b"of a test")
BOXES = [[40, 70, 60, 84], [38, 10, 60, 22.5], [39, 11, 60, 22], [41, 40, 61, 52]]
SCORES, CLASSES = [0.95, 0.8, 0.4, 0.2], [0, 1, 0, 1]


class Detector:
    """The same four detections on every image; the second and third are one disc in two classes."""

    classes = ("protrusion", '=1+1, "<b>"')

    def __init__(self, error: Exception | None = None):
        self.calls, self.error = 0, error

    def __call__(self, image):
        self.calls += 1
        if self.error:
            raise self.error
        return Detections(np.array(BOXES, np.float32), np.array(SCORES, np.float32), np.array(CLASSES))


def mr_slice(spacing=None, frame=None, warnings=()) -> MRSlice:
    image_id = f"i0123456789abcde{frame or 'f'}"
    pixels = np.full((96, 96, 3), 90, np.uint8)
    return MRSlice(pixels, image_id, None, spacing, {}, warnings, Path("/home/CANARY/x.png"), frame)


def session_of(*slices: MRSlice) -> Session:
    return Session(files=[list(slices)], middles=[0])


def rows_of(html: str) -> list[list[str]]:
    """The table's cells, as text."""
    rows = re.findall(r"<tr>(<td.*?)</tr>", html)
    return [[re.sub(r"<[^>]+>", "", cell) for cell in re.findall(r"<td.*?</td>", row)] for row in rows]


def upload(folder: Path, name: str, content: bytes) -> Path:
    """A file where Gradio would put it: alone in a folder."""
    path = folder / f"{len(list(folder.iterdir()))}" / name
    path.parent.mkdir()
    path.write_bytes(content)
    return path


def png(value: int = 90, size: int = 96) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(np.full((size, size), value, np.uint8)).save(buffer, "PNG")
    return buffer.getvalue()


def test_the_threshold_filters_without_the_network():
    detector, session = Detector(), session_of(mr_slice(spacing=(0.5, 0.25)))
    label = "=1+1, &#34;&lt;b&gt;&#34;"
    assert rows_of(show(session, detector, 0, 0, 0.3)) == [
        ["1", label, "0.80", "5.5 × 6.2"],
        ["1", "protrusion", "0.40", "5.2 × 5.5"],
        ["2", "protrusion", "0.95", "5.0 × 7.0"],
    ]
    assert [row[2] for row in rows_of(show(session, detector, 0, 0, 0.0))] == ["0.80", "0.40", "0.20", "0.95"]
    assert [row[0] for row in rows_of(show(session, detector, 0, 0, 0.9))] == ["1"]
    assert detector.calls == 1
    text = show(session, detector, 0, 0, 0.96)
    assert rows_of(text) == [] and "No box with a score of 0.96 or more. That does not mean" in text


def test_every_slice_is_found_once():
    detector, session = Detector(), session_of(mr_slice(frame=1), mr_slice(frame=2))
    for slice_ in (0, 1, 0, 1):
        assert f"i0123456789abcde{slice_ + 1}.csv" in show(session, detector, 0, slice_, 0.3)
    assert detector.calls == 2


def test_pixels_where_no_spacing_is_known_and_remarks():
    remarks = ("burned-in <annotation>", "Not sagittal")
    text = show(session_of(mr_slice(warnings=remarks)), Detector(), 0, 0, 0.9)
    assert rows_of(text) == [["1", "protrusion", "0.95", "20.0 × 14.0"]]
    assert "Box, px" in text
    assert "<li>Burned-in &lt;annotation&gt;</li>" in text and "<li>Not sagittal</li>" in text
    assert "Box, mm" in show(session_of(mr_slice(spacing=(1.0, 1.0))), Detector(), 0, 0, 0.9)


def test_the_csv_is_the_reading():
    reading = read_slice(mr_slice(spacing=(0.5, 0.25)), Detector(), threshold=0.5)
    lines = list(csv.DictReader(io.StringIO(csv_of(reading))))
    assert [line["label"] for line in lines] == ['=1+1, "<b>"', "protrusion"], "whatever a class is named"
    wanted = {
        "image_id": "i0123456789abcdef", "disc": "2", "score": "0.95", "x0_px": "40.0", "y1_px": "84.0",
        "width_mm": "5.0", "height_mm": "7.0",
    }  # fmt: skip
    assert lines[1].items() >= wanted.items()
    without = list(csv.DictReader(io.StringIO(csv_of(read_slice(mr_slice(), Detector())))))
    assert len(without) == 3 and {line["width_mm"] for line in without} == {""}
    nothing = csv_of(read_slice(mr_slice(), Detector(), threshold=1.0))
    assert nothing.startswith("image_id,") and nothing.count("\n") == 1


def test_downloads_lie_in_the_page_and_hold_no_name():
    text = show(session_of(mr_slice(spacing=(0.5, 0.25))), Detector(), 0, 0, 0.3)
    links = dict(re.findall(r'download="([^"]+)" href="([^"]+)"', text))
    assert set(links) == {"i0123456789abcdef.png", "i0123456789abcdef.csv"}
    table = base64.b64decode(links["i0123456789abcdef.csv"].split(",")[1]).decode()
    reading = read_slice(mr_slice(spacing=(0.5, 0.25)), Detector())
    assert table == csv_of(reading)
    image = Image.open(io.BytesIO(base64.b64decode(links["i0123456789abcdef.png"].split(",")[1])))
    assert image.format == "PNG" and not image.info and "CANARY" not in text


@pytest.mark.parametrize("error", [FloatingPointError("The network predicts NaN."), ValueError("Too small.")])
def test_a_network_that_fails_is_no_healthy_patient(error):
    text = show(session_of(mr_slice()), Detector(error), 0, 0, 0.3)
    assert f"No reading: {error}" in text and "No disc" not in text and "<table>" not in text and "<img" not in text


def test_an_unexpected_error_is_logged_without_its_values(caplog):
    text = show(session_of(mr_slice()), Detector(RuntimeError("CANARY^Name")), 0, 0, 0.3)
    assert "Something went wrong with this image" in text and "No disc" not in text
    assert re.fullmatch(r"RuntimeError at test_web_session\.py:\d+", caplog.messages[0]) and len(caplog.messages) == 1
    assert "CANARY" not in text + caplog.text and caplog.records[0].exc_info is None


def test_files_are_read_and_deleted_and_the_others_named(tmp_path):
    sent = [upload(tmp_path, *file) for file in (("a.png", png()), ("CANARY.png", b"no picture"), ("c", png(40, 64)))]
    session = receive(sent, PSEUDONYMS)
    assert [read[0].pixels.shape for read in session.files] == [(96, 96, 3), (64, 64, 3)]
    (problem,) = session.problems
    assert "ile 2" in problem and "\n" not in problem and "CANARY" not in problem and str(tmp_path) not in problem
    assert not list(tmp_path.iterdir()), "files and their folders"
    text = show(session, Detector(), 1, 0, 0.3)
    assert 'role="alert"' in text and len(rows_of(text)) == 3, "a problem, and the reading of the others"


def test_one_file_that_cannot_be_read_gives_a_sentence_alone(tmp_path):
    session, detector = receive([upload(tmp_path, "CANARY.dcm", b"")], PSEUDONYMS), Detector()
    text = show(session, detector, 0, 0, 0.3)
    assert "The file" in text and "CANARY" not in text and "<table>" not in text and detector.calls == 0


def test_a_decoder_that_falls_over(tmp_path, monkeypatch, caplog):
    def falls(path, **options):
        raise KeyError("CANARY^Name")

    monkeypatch.setattr(web_session, "read_slices", falls)
    session = receive([upload(tmp_path, "a.png", png())], PSEUDONYMS)
    assert session.files == [] and "Something went wrong with the file" in session.problems[0]
    assert "CANARY" not in caplog.text and not list(tmp_path.iterdir())


def test_limits(tmp_path, monkeypatch):
    monkeypatch.setattr(web_session, "MAX_FILES", 2)
    session = receive([upload(tmp_path, f"{i}.png", png()) for i in range(3)], PSEUDONYMS)
    assert session.files == [] and session.problems == ["These are 3 files; give at most 2 at once."]
    monkeypatch.setattr(web_session, "MAX_SLICES", 1)
    session = receive([upload(tmp_path, f"{i}.png", png()) for i in range(2)], PSEUDONYMS)
    assert len(session.files) == 1 and session.problems == ["File 2 brings the slices to 2; this page keeps 1."]
    assert not list(tmp_path.iterdir())


def test_a_volume_begins_in_its_middle(tmp_path, monkeypatch):
    volume = [mr_slice(frame=frame) for frame in (3, 7, 9)]
    monkeypatch.setattr(
        web_session, "read_slices", lambda path, *, pseudonyms, slices: {"all": volume}.get(slices, volume[1:2])
    )
    session = receive([upload(tmp_path, "a.nii", b"")], PSEUDONYMS)
    assert session.middles == [1] and len(session.files[0]) == 3


def test_a_path_in_an_error_is_left_out(tmp_path, monkeypatch):
    def refuses(path, **options):
        raise ReadError("its pixels are cut off; send it again.", path)

    monkeypatch.setattr(web_session, "read_slices", refuses)
    session = receive([upload(tmp_path, "CANARY.dcm", b"")], PSEUDONYMS)
    assert session.problems == ["The file: its pixels are cut off; send it again."]
