"""gdcm in a separate process: at some damaged frames it ends the process that it runs in.

This file is also that process's program. It reads DICOM files of one frame from its standard input and writes their
pixels as .npy. Before each is a line with its length in bytes.
"""

import atexit
import os
import subprocess
import sys
import threading
from contextlib import suppress
from io import BytesIO
from typing import BinaryIO, cast

import numpy as np
from pydicom import dcmread, dcmwrite
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.encaps import encapsulate
from pydicom.pixels import pixel_array

# For one frame; a whole 12-bit slice of 1024 x 1024 takes a tenth of one.
SECONDS = 20.0
# Runs this file without its folder, or the working directory, among those that libraries are imported from.
PROGRAM = "import runpy, sys; sys.path[:] = filter(None, sys.path); runpy.run_path(sys.argv[1], run_name='__main__')"
# What a decoder must know of a frame.
KEYWORDS = (
    *("Rows", "Columns", "SamplesPerPixel", "PhotometricInterpretation", "PlanarConfiguration"),
    *("BitsAllocated", "PixelRepresentation"),
)


class GdcmProcess:
    """A process that decodes frames, started for the first one and again after one has ended it.

    It serves one caller at a time. A process that was forked from this one starts its own.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._process: subprocess.Popen | None = None
        self._owner = 0

    def decode(self, dataset: Dataset, frame: bytes, precision: int) -> np.ndarray:
        """The samples of a compressed frame, or its colours as RGB.

        Args:
            dataset: the file that it is of.
            frame: its bytes, without DICOM's packaging.
            precision: bits of a sample in it; all of them are given, whatever the file's BitsStored is.

        Raises:
            ValueError: gdcm refuses it, ends at it, or takes longer than SECONDS.
        """
        request = _as_file(dataset, frame, precision)
        with self._lock:
            process = self._started()
            # Instead of waiting for a pipe with a time limit, which not every system can.
            limit = threading.Timer(SECONDS, process.kill)
            limit.start()
            answer, size = b"", -1
            try:
                requests, answers = cast(BinaryIO, process.stdin), cast(BinaryIO, process.stdout)
                requests.write(b"%d\n" % len(request) + request)
                requests.flush()
                size = int(answers.readline())
                answer = answers.read(size)
            except (OSError, ValueError):
                pass  # it has ended
            finally:
                limit.cancel()
            if len(answer) != size:
                self._stop()
                answer = b""
        if not answer:
            raise ValueError("gdcm cannot decode it")
        return np.load(BytesIO(answer), allow_pickle=False)

    def _started(self) -> subprocess.Popen:
        if self._process is None or self._owner != os.getpid():
            self._owner = os.getpid()
            self._process = subprocess.Popen(
                [sys.executable, "-c", PROGRAM, __file__],
                env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,  # its words would quote the file
            )
            atexit.register(self._stop)
        return self._process

    def _stop(self) -> None:
        if self._process is not None and self._owner == os.getpid():
            self._process.kill()
            # Closes the pipes, too.
            self._process.communicate()
        self._process = None
        atexit.unregister(self._stop)


GDCM = GdcmProcess()


def _as_file(dataset: Dataset, frame: bytes, precision: int) -> bytes:
    """A DICOM file that holds the frame and what a decoder must know of it: nothing else goes to another process."""
    small = Dataset()
    for keyword in KEYWORDS:
        if keyword in dataset:
            setattr(small, keyword, dataset[keyword].value)
    small.BitsStored, small.HighBit = precision, precision - 1
    small.PixelData = encapsulate([frame])
    small.file_meta = FileMetaDataset()
    small.file_meta.TransferSyntaxUID = dataset.file_meta.TransferSyntaxUID
    content = BytesIO()
    dcmwrite(content, small)
    return content.getvalue()


def _serve() -> None:
    # Whatever gdcm prints must not get between the answers.
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    for size in sys.stdin.buffer:
        request, content = sys.stdin.buffer.read(int(size)), BytesIO()
        with suppress(Exception):  # an empty answer says it
            values = pixel_array(dcmread(BytesIO(request), force=True), decoding_plugin="gdcm")
            np.save(content, values, allow_pickle=False)
        answers.write(b"%d\n" % content.tell() + content.getvalue())
        answers.flush()


if __name__ == "__main__":
    _serve()
