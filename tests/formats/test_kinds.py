"""The size of a packed stream, without room for what it holds."""

import zlib
from io import BytesIO

import pytest

from meddet_d2.formats.kinds import BLOCK, unpacked_size


@pytest.mark.parametrize("wbits", [zlib.MAX_WBITS, -zlib.MAX_WBITS])
@pytest.mark.parametrize("size", [0, 1, BLOCK - 1, BLOCK, BLOCK + 1, 3 * BLOCK])
@pytest.mark.parametrize("filler", [b"\0", b"ab"])
def test_the_size_of_a_stream(wbits, size, filler):
    """Also where a block ends with the content, so that everything was taken in before all was given out."""
    packer = zlib.compressobj(wbits=wbits)
    data = packer.compress((filler * size)[:size]) + packer.flush()
    assert unpacked_size(BytesIO(data), 4 * BLOCK, wbits) == size
    assert unpacked_size(BytesIO(data + b"\0"), size, wbits) == size, "DICOM fills up to an even length"
    assert unpacked_size(BytesIO(data[:-1]), 4 * BLOCK, wbits) is None
    if size > 1:
        assert size - 1 < unpacked_size(BytesIO(data), size - 1, wbits) <= size - 1 + BLOCK


def test_damage_and_a_stream_that_is_far_too_large():
    data = bytearray(zlib.compress(bytes(8 * BLOCK)))
    assert BLOCK < unpacked_size(BytesIO(data), BLOCK) <= 2 * BLOCK, "no further than needed"
    data[-1] ^= 1
    assert unpacked_size(BytesIO(data), 9 * BLOCK) is None, "the checksum at the end"
