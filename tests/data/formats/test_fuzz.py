"""Damaged files of every kind: an image or a ReadError, and nothing else."""

from pathlib import Path

import dicom_files
import nibabel
import numpy as np
import pydicom
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image
from pydicom.uid import RLELossless

from meddet_d2.data.formats import MRSlice, Problem, Pseudonyms, ReadError, collect, read_slices

PSEUDONYMS = Pseudonyms("a salt for tests")
VALUES = np.random.default_rng(0).integers(0, 4096, (12, 10), dtype=np.uint16)


def whole(kind: str, folder: Path) -> bytes:
    path = folder / f"whole.{kind}"
    if kind in ("png", "tif"):
        Image.fromarray(VALUES).save(path)
    elif kind == "jpg":
        Image.fromarray((VALUES // 16).astype(np.uint8)).save(path)
    elif kind == "dcm":
        dicom_files.write_dicom(path, VALUES, WindowCenter=2000, WindowWidth=4000, RescaleSlope=1, RescaleIntercept=0)
    elif kind == "rle.dcm":
        dataset = dicom_files.make_dicom(VALUES)
        dataset.compress(RLELossless)
        dicom_files.save(dataset, path)
    elif kind in ("jp2.dcm", "jls.dcm"):
        name = {"jp2.dcm": "MR_small_jp2klossless.dcm", "jls.dcm": "MR_small_jpeg_ls_lossless.dcm"}[kind]
        sample = Path(pydicom.__file__).parent / "data" / "test_files" / name
        if not sample.is_file():
            pytest.skip("pydicom came without its test files")
        return sample.read_bytes()
    else:
        nibabel.save(nibabel.Nifti1Image(np.stack([VALUES] * 3).astype(np.int16), np.eye(4)), path)
    return path.read_bytes()


@pytest.mark.parametrize("kind", ["png", "tif", "jpg", "dcm", "rle.dcm", "jp2.dcm", "jls.dcm", "nii", "nii.gz"])
def test_a_damaged_file_is_an_image_or_an_error(tmp_path, kind):
    data = whole(kind, tmp_path)
    path = tmp_path / f"a.{kind}"
    # Half of the changes fall on the first bytes, where the sizes and the kinds stand.
    place = st.one_of(st.integers(0, min(len(data), 400) - 1), st.integers(0, len(data) - 1))
    change = st.tuples(place, st.integers(0, 255))

    @settings(max_examples=25, deadline=None, derandomize=True, database=None, suppress_health_check=list(HealthCheck))
    @given(changes=st.lists(change, max_size=4), end=st.one_of(st.just(len(data)), st.integers(0, len(data))))
    def check(changes, end):
        damaged = bytearray(data)
        for where, value in changes:
            damaged[where] = value
        path.write_bytes(damaged[:end])
        try:
            found = read_slices(path, pseudonyms=PSEUDONYMS)
        except ReadError as error:
            assert str(error).startswith(f"{path}: ") and "\n" not in str(error)
            (problem,) = collect([path], pseudonyms=PSEUDONYMS)
            assert isinstance(problem, Problem)
        else:
            for one in found:
                assert isinstance(one, MRSlice) and one.pixels.dtype == np.uint8 and one.pixels.shape[2] == 3

    check()
