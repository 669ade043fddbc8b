"""The prediction command, run in this process on a tiny exported model."""

import pytest
from tiny_runs import load_tool


@pytest.fixture(scope="module")
def predict():
    return load_tool("predict")


@pytest.fixture
def salt(monkeypatch):
    monkeypatch.setenv("MEDDET_SALT", "salt of the tests")


@pytest.fixture(scope="module")
def onnx_model(exported):
    return ["--onnx", str(exported[0] / "model.onnx")]


@pytest.fixture(scope="module")
def torch_model(exported):
    _, _, (arguments, opts) = exported
    return [*arguments[:4], "--device", "cpu", "--opts", *opts]


@pytest.fixture
def run(predict, tmp_path, onnx_model, salt, capsys):
    """``run(*inputs and options)`` gives exit status, output and error text; the results are in tmp_path / "out"."""

    def command(*arguments, model=onnx_model):
        status = predict.main([*map(str, arguments), "--output", str(tmp_path / "out"), *model])
        return status, *capsys.readouterr()

    return command
