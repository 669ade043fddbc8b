"""Pickles of arrays are converted; any other is refused before anything in it runs."""

import collections
import os
import pickle
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file
from tiny_runs import load_tool

ROOT = Path(__file__).resolve().parents[2]
ARRAYS = {"conv.weight": np.arange(6, dtype=np.float32).reshape(2, 3).T, "count": np.array(3), "half": np.ones(2, "f2")}


@pytest.fixture(scope="module")
def tool():
    return load_tool("convert_weights")


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
@pytest.mark.parametrize(
    "wrap",
    [
        lambda arrays: {"model": arrays, "__author__": "Detectron2 Model Zoo"},
        lambda arrays: {"blobs": {**arrays, "conv.weight_momentum": np.ones(2)}},
        collections.OrderedDict,
    ],
    ids=["zoo", "caffe2", "plain"],
)
def test_arrays_are_converted_to_the_bit(tool, tmp_path, capsys, wrap, protocol):
    (tmp_path / "a.pkl").write_bytes(pickle.dumps(wrap(ARRAYS), protocol=protocol))
    assert tool.main([str(tmp_path / "a.pkl"), str(tmp_path / "a.safetensors")]) == 0
    found = load_file(tmp_path / "a.safetensors")
    assert found.keys() == ARRAYS.keys()
    for name, value in ARRAYS.items():
        assert found[name].dtype == value.dtype and np.array_equal(found[name], value)
    assert "3 arrays, 9 numbers" in capsys.readouterr().out


class Calls:
    def __init__(self, function, *arguments):
        self.call = function, arguments

    def __reduce__(self):
        return self.call


def refused(tool, tmp_path, capsys, content) -> str:
    source, target = tmp_path / "bad.pkl", tmp_path / "bad.safetensors"
    source.write_bytes(content)
    assert tool.main([str(source), str(target)]) == 1
    said = capsys.readouterr().err
    assert said.startswith("error: ") and said.count("\n") == 1 and "bad.pkl" in said
    assert not target.exists()
    return said


@pytest.mark.parametrize("function", [os.system, eval, exec, __import__, getattr, np.load, print, object])
def test_programs_are_refused_and_do_not_run(tool, tmp_path, capsys, monkeypatch, function):
    monkeypatch.chdir(tmp_path)
    argument = "touch canary" if function is os.system else "open('canary', 'w').close()"
    said = refused(tool, tmp_path, capsys, pickle.dumps({"model": {"a": Calls(function, argument)}}))
    assert "it asks for" in said
    assert not (tmp_path / "canary").exists()


@pytest.mark.parametrize(
    "content",
    [b"", b"nonsense", pickle.dumps(ARRAYS)[:-20], pickle.dumps([1]), pickle.dumps({}), pickle.dumps({"a": 1}),
     pickle.dumps({"a": np.array(["text"])}), pickle.dumps({1: np.ones(1)}),
     pickle.dumps({"a": np.array([None, 1], dtype=object)})],
)  # fmt: skip
def test_anything_but_arrays_is_refused_in_one_line(tool, tmp_path, capsys, content):
    refused(tool, tmp_path, capsys, content)


def test_numpy_builds_nothing_of_a_pickle(tool, tmp_path, capsys, monkeypatch):
    """Its own __setstate__ can be made to end the process."""
    content = pickle.dumps({"a": np.arange(4.0)}, protocol=2)
    refused(tool, tmp_path, capsys, content.replace(b"f8", b"O8"))
    refused(tool, tmp_path, capsys, content.replace(b"K\x04\x85", b"K\x7f\x85"))
    big = np.arange(4.0).astype(">f8")
    (tmp_path / "a.pkl").write_bytes(pickle.dumps({"a": big, "s": np.float32(1.5)}, protocol=2))
    found = tool.read_arrays(tmp_path / "a.pkl")
    assert (
        np.array_equal(found["a"], big) and found["a"].dtype.isnative and found["s"] == 1.5 and found["s"].shape == ()
    )


def test_nothing_is_overwritten_unless_forced(tool, tmp_path, capsys):
    (tmp_path / "a.pkl").write_bytes(pickle.dumps(ARRAYS))
    (tmp_path / "a.safetensors").write_bytes(b"mine")
    command = [str(tmp_path / "a.pkl"), str(tmp_path / "a.safetensors")]
    assert tool.main(command) == 1 and (tmp_path / "a.safetensors").read_bytes() == b"mine"
    assert "--force" in capsys.readouterr().err
    assert tool.main([*command, "--force"]) == 0
    assert tool.main([str(tmp_path / "a.pkl"), str(tmp_path / "a.pth")]) == 1
    assert tool.main([str(tmp_path / "none.pkl"), str(tmp_path / "b.safetensors")]) == 1
