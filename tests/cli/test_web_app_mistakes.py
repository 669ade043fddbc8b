"""tools/web_app.py: mistakes told in one line."""

import socket
import sys

import pytest
from tiny_runs import ROOT, load_tool


@pytest.fixture(scope="module")
def web_app():
    """``tools/web_app.py`` as a module."""
    return load_tool("web_app")


@pytest.fixture
def told(web_app, capsys):
    """``told(*arguments)`` is the one line that a mistaken command ends with."""

    def run(*arguments) -> str:
        assert web_app.main([str(argument) for argument in arguments]) == 1
        (line,) = capsys.readouterr().err.splitlines()
        assert line.startswith("error: ")
        return line

    return run


def test_mistakes_are_told_in_one_line(told, tmp_path, monkeypatch, web_app):
    assert "model.onnx: no such model" in told("--onnx", tmp_path / "model.onnx", "--port", 0)
    assert "go with --config-file" in told("--onnx", "a", "--weights", "b")
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        assert f"127.0.0.1: port {port} is in use; choose another with --port." in told("--onnx", "a", "--port", port)
    assert "--port is 70000" in told("--onnx", "a", "--port", 70000)
    assert "--host a..b: there is no such host" in told("--onnx", "a", "--host", "a..b")
    assert "192.0.2.1: that is no address of this machine" in told("--onnx", "a", "--host", "192.0.2.1", "--port", 0)
    config = ROOT / "configs" / "backbones" / "gfl_r50.yaml"
    assert "No weights: give --weights" in told("--config-file", config, "--port", 0)
    assert "no.pth" in told("--config-file", config, "--weights", tmp_path / "no.pth", "--port", 0)
    assert "no.yaml" in told("--config-file", tmp_path / "no.yaml", "--weights", "a", "--port", 0)
    with monkeypatch.context() as patch:
        patch.setitem(sys.modules, "torch", None)
        assert "needs torch" in told("--config-file", config, "--weights", "a", "--port", 0)
    monkeypatch.setitem(sys.modules, "gradio", None)
    assert 'pip install -c constraints.txt -e ".[web]"' in told("--onnx", "a")
