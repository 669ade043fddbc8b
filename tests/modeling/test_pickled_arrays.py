"""Arrays of a pickle, which builds nothing else."""

import pickle
import struct

import numpy as np
import pytest

from meddet_d2.modeling.pickled_arrays import read_arrays


class Named:
    """Pickles as a call, which a reader must not make."""

    def __init__(self, *call):
        self.call = call

    def __reduce__(self):
        return self.call


@pytest.fixture
def read(tmp_path):
    """``read(content)`` reads the pickle of a content, or the bytes that it is given."""

    def read_content(content, protocol=2):
        path = tmp_path / "weights.pkl"
        path.write_bytes(content if isinstance(content, bytes) else pickle.dumps(content, protocol=protocol))
        return read_arrays(path)

    return read_content


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
@pytest.mark.parametrize("key", [None, "model", "blobs"])
def test_arrays_come_back_as_they_were(read, key, protocol):
    arrays = {
        "rows": np.arange(6, dtype=np.float32).reshape(2, 3),
        "columns": np.asfortranarray(np.arange(6.0).reshape(2, 3)),
        "swapped": np.arange(3, dtype=">i4"),
        "number": np.float64(1.5),
        "empty": np.zeros((0, 2), dtype=np.uint8),
    }
    found = read(arrays if key is None else {key: {**arrays, "rows_momentum": np.ones(2)}}, protocol)
    assert found.keys() == arrays.keys()
    for name, array in arrays.items():
        assert np.array_equal(found[name], array) and found[name].dtype.isnative
        found[name][...] = 0  # each is its own


@pytest.mark.parametrize(
    "content, reason",
    [
        ({"a": Named(print, ("called",))}, "it asks for .*print"),
        ({"a": np.array([None])}, "something else than numbers"),
        ({"a": np.array(["text"])}, "something else than numbers"),
        (b"\x80\x04Pid\n.", "data outside of it"),
        (b"\x80\x05\x96" + struct.pack("<Q", 2**60) + b".", "no pickle of arrays alone"),
        (b"", "no pickle of arrays alone"),
        ([1], "holds a list"),
        ({}, "holds no weights"),
        ({"a": [1.0]}, "a is no array of numbers but a list"),
        ({1: np.ones(1)}, "1 is no array of numbers"),
    ],
)
def test_anything_else_is_refused_in_one_line(read, content, reason, capsys):
    with pytest.raises(ValueError, match=rf"weights\.pkl.*{reason}") as caught:
        read(content)
    assert "\n" not in str(caught.value) and not capsys.readouterr().out


def test_a_missing_file_is_the_systems_error(tmp_path):
    with pytest.raises(FileNotFoundError):
        read_arrays(tmp_path / "none.pkl")
