"""gdcm in its own process: what happens when that ends, hangs or talks, and who may use it."""

import os
from concurrent.futures import ThreadPoolExecutor

import dicom_files
import numpy as np
import pytest
from pydicom import dcmread

from meddet_d2.formats import ReadError, gdcm_process, read_image
from meddet_d2.formats.dicom_streams import frame_of
from meddet_d2.formats.gdcm_process import GdcmProcess

RAMP = np.arange(4096, dtype=np.uint16).reshape(64, 64)


@pytest.fixture
def gdcm(monkeypatch):
    """A process of this test's own."""
    own = GdcmProcess()
    monkeypatch.setattr("meddet_d2.formats.dicom_pixels.GDCM", own)
    yield own
    own._stop()


@pytest.fixture
def packed(tmp_path):
    return dicom_files.write_lossless_jpeg(tmp_path / "packed.dcm", RAMP, BitsStored=12)


@pytest.fixture
def expected(tmp_path):
    return read_image(dicom_files.write_dicom(tmp_path / "plain.dcm", RAMP, BitsStored=12))


def program(monkeypatch, text):
    monkeypatch.setattr(gdcm_process, "PROGRAM", text)


def test_one_process_serves_many_frames(gdcm, packed, expected):
    processes = set()
    for _ in range(3):
        assert np.array_equal(read_image(packed), expected)
        processes.add(gdcm._process.pid)
    assert len(processes) == 1 and os.getpid() not in processes


def test_after_a_frame_that_ends_it_the_next_one_is_read(gdcm, packed, expected, monkeypatch):
    with monkeypatch.context() as patch:
        program(patch, "import os, sys; sys.stdin.buffer.read(20); os.abort()")
        with pytest.raises(ReadError, match=r"packed\.dcm") as caught:
            read_image(packed)
        assert "\n" not in str(caught.value) and gdcm._process is None
    assert np.array_equal(read_image(packed), expected)
    gdcm._process.kill()
    gdcm._process.wait()
    with pytest.raises(ReadError, match=r"packed\.dcm"):
        read_image(packed)
    assert np.array_equal(read_image(packed), expected)


@pytest.mark.parametrize(
    "text",
    [
        "import time; time.sleep(100)",
        "import sys, time; sys.stdout.write('half'); sys.stdout.flush(); time.sleep(100)",
        "import sys, time; sys.stdout.write('9\\nhalf'); sys.stdout.flush(); time.sleep(100)",
        "import sys; sys.stdout.write('9\\nno array!')",
        "import sys; sys.stdout.write('no length')",
    ],
    ids=["silent", "half a length", "half an answer", "no array", "no length"],
)
def test_a_process_that_does_not_answer(gdcm, packed, expected, monkeypatch, text):
    with monkeypatch.context() as patch:
        patch.setattr(gdcm_process, "SECONDS", 0.5)
        program(patch, text)
        with pytest.raises(ReadError, match=r"packed\.dcm"):
            read_image(packed)
    gdcm._stop()
    assert np.array_equal(read_image(packed), expected)


def test_what_gdcm_prints_is_no_answer(gdcm, packed, expected, monkeypatch):
    """Of its own code, which writes to the process's standard output."""
    noise = "import os, pydicom.pixels as p; f = p.pixel_array; "
    noise += "p.pixel_array = lambda *a, **k: (os.write(1, b'a name'), f(*a, **k))[1]; "
    program(monkeypatch, noise + gdcm_process.PROGRAM)
    assert np.array_equal(read_image(packed), expected)


def test_a_damaged_frame_leaves_the_process_alone(gdcm, packed, expected):
    read_image(packed)
    process = gdcm._process.pid
    data = packed.read_bytes()
    damaged = packed.with_name("damaged.dcm")
    # The header's tables are gone.
    place = data.index(b"\xff\xc4")
    damaged.write_bytes(data[:place] + b"\xff\xfe" + data[place + 2 :])
    with pytest.raises(ReadError, match=r"damaged\.dcm"):
        read_image(damaged)
    assert np.array_equal(read_image(packed), expected) and gdcm._process.pid == process


def test_threads_get_their_own_frames(gdcm, tmp_path):
    frames = []
    for index in range(8):
        values = np.roll(RAMP, 500 * index)
        dataset = dcmread(dicom_files.write_lossless_jpeg(tmp_path / f"{index}.dcm", values, BitsStored=12))
        frames.append((dataset, frame_of(dataset, 0), 12, values))
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda frame: gdcm.decode(*frame[:3]), frames * 20))
    assert all(np.array_equal(values, frame[3]) for values, frame in zip(found, frames * 20, strict=True))


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_forked_process_has_its_own(gdcm, packed, expected):
    """As a data loader's workers are."""
    read_image(packed)
    parents = gdcm._process.pid
    child = os.fork()
    if child == 0:
        good = np.array_equal(read_image(packed), expected) and gdcm._process.pid != parents
        gdcm._stop()
        os._exit(0 if good else 1)
    assert os.waitpid(child, 0)[1] == 0
    assert np.array_equal(read_image(packed), expected)
