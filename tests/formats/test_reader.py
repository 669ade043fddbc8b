"""Files of every kind through the doors that others use."""

import dicom_files
import nibabel
import numpy as np
import pytest
from PIL import Image

from meddet_d2.formats import Pseudonyms, read_image, read_slices, window
from meddet_d2.formats.reader import read_deep_values

RAMP = np.arange(4096, dtype=np.uint16).reshape(64, 64)


def files(folder, values):
    """A picture, a DICOM file and a NIfTI file that show the same."""
    Image.fromarray(values).save(folder / "a.png")
    dicom_files.write_dicom(folder / "b.dcm", values)
    # Rows from the head down and columns from the face to the back, as a picture has them.
    nibabel.save(nibabel.Nifti1Image(values.T[::-1, ::-1][None].astype(values.dtype), np.eye(4)), folder / "c.nii")
    return [folder / name for name in ("a.png", "b.dcm", "c.nii")]


def test_the_values_before_the_window(tmp_path):
    for path in files(tmp_path, RAMP):
        assert np.array_equal(read_deep_values(path), RAMP)
        assert np.array_equal(read_image(path)[..., 0], window(RAMP))
    for path in files(tmp_path, RAMP.astype(np.uint8)):
        assert read_deep_values(path) is None


@pytest.mark.parametrize("kind", [np.uint8, np.uint16])
def test_an_image_of_one_value_is_named(tmp_path, kind):
    for value in (0, 77):
        for path in files(tmp_path, np.full((8, 9), value, kind)):
            (found,) = read_slices(path, pseudonyms=Pseudonyms("a salt for tests"))
            assert "all of its pixels are alike: it shows nothing" in found.warnings
    almost = np.zeros((8, 9), kind)
    almost[3, 4] = 1
    for path in files(tmp_path, almost):
        (found,) = read_slices(path, pseudonyms=Pseudonyms("a salt for tests"))
        assert not any("alike" in remark for remark in found.warnings)
