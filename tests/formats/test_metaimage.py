"""MetaImage volumes: sound ones to the voxel, and no other file and no damage taken for one."""

import numpy as np
import pytest
import SimpleITK as sitk

from meddet_d2.formats import metaimage
from meddet_d2.formats.metaimage import read_volume

# More than is unpacked at a time, and mostly alike, so that a few bytes give a block.
VALUES = np.zeros((7, 300, 400), np.int16)
VALUES[3, 100:140] = np.random.default_rng(0).integers(-1000, 4000, (40, 400))


def written(path, values=VALUES, *, packed=False):
    sitk.WriteImage(sitk.GetImageFromArray(values), path, packed)
    return path.read_bytes()


def refused(path, data):
    path.write_bytes(data)
    with pytest.raises(ValueError, match=path.name) as caught:
        read_volume(path, labels=False)
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("dtype", [np.uint8, np.int16, np.float32, np.float64])
def test_voxels_are_those_that_were_written(tmp_path, packed, dtype):
    written(tmp_path / "a.mha", VALUES.astype(dtype), packed=packed)
    values, spacing = read_volume(tmp_path / "a.mha", labels=False)
    # Stored from right to left and from front to back, they are turned.
    assert np.array_equal(values, VALUES.astype(dtype).transpose(2, 1, 0)[::-1, ::-1])
    assert spacing == (1.0, 1.0, 1.0)


@pytest.mark.parametrize("packed", [False, True])
def test_a_file_that_is_cut_off(tmp_path, packed):
    data = written(tmp_path / "a.mha", packed=packed)
    for cut in (1, 4, len(data) // 2):
        assert "unpack it again" in refused(tmp_path / "b.mha", data[:-cut])


def test_damage_in_packed_voxels_is_seen(tmp_path):
    """MetaIO takes what it could unpack, and zeros for the rest."""
    data = bytearray(written(tmp_path / "a.mha", packed=True))
    start = data.index(b"LOCAL\n") + len(b"LOCAL\n")
    for place in (start + 200, (start + len(data)) // 2, len(data) - 2):
        damaged = bytearray(data)
        damaged[place] ^= 0xFF
        assert "packed voxels are damaged" in refused(tmp_path / "b.mha", damaged)
        for word in (b"1", b"true", b" T"):
            other = damaged.replace(b"CompressedData = True", b"CompressedData = " + word)
            assert "damaged" in refused(tmp_path / "b.mha", other)
    shorter = written(tmp_path / "a.mha", VALUES[:5], packed=True)
    claimed = bytes(data[:start]) + shorter[shorter.index(b"LOCAL\n") + len(b"LOCAL\n") :]
    assert "packed voxels are damaged" in refused(tmp_path / "b.mha", claimed)


@pytest.mark.parametrize("name", ["{raw}", "raw", "../raw", "LIST", "raw%03d 1 7 1", "LOCAL.raw"])
def test_voxels_of_another_file_are_not_read(tmp_path, name):
    data = written(tmp_path / "a.mha")
    start = data.index(b"LOCAL\n")
    for raw in (tmp_path / "raw", tmp_path / "LOCAL.raw", tmp_path.parent / "raw"):
        raw.write_bytes(data[start + len(b"LOCAL\n") :])
    elsewhere = data[:start] + name.format(raw=tmp_path / "raw").encode() + b"\n"
    assert "holds its own voxels" in refused(tmp_path / "b.mha", elsewhere)
    # The first such line of two counts, whatever stands before it on its line.
    line = b"Comment = ElementDataFile = LOCAL\n"
    assert "holds its own voxels" in refused(tmp_path / "b.mha", line + elsewhere)
    assert "holds its own voxels" in refused(tmp_path / "b.mha", b"elementdatafile = LOCAL\n" + elsewhere)


def test_more_voxels_than_can_be(tmp_path, monkeypatch):
    data = written(tmp_path / "a.mha")
    size = b"DimSize = 400 300 7"
    assert size in data
    assert "more than can be in it" in refused(tmp_path / "b.mha", data.replace(size, b"DimSize = 400 300 80000000"))
    monkeypatch.setattr(metaimage, "MAX_VOXELS", VALUES.size - 1)
    assert "more than can be in it" in refused(tmp_path / "b.mha", data)


def test_something_else_under_that_name(tmp_path):
    assert "is no MetaImage" in refused(tmp_path / "b.mha", b"")
    sitk.WriteImage(sitk.GetImageFromArray(VALUES), tmp_path / "a.nrrd")
    assert "is no MetaImage" in refused(tmp_path / "b.mha", (tmp_path / "a.nrrd").read_bytes())
    forged = b"ElementDataFile = LOCAL\n" + (tmp_path / "a.nrrd").read_bytes()
    assert "cannot be read as a volume" in refused(tmp_path / "b.mha", forged)
