"""DISTILL.PRECISION and SOLVER.PRECISION: what they mean on a device."""

from types import SimpleNamespace

import pytest
import torch

from meddet_d2.hardware import precision
from meddet_d2.hardware.precision import Precision, choose_precision, student_precision, train_in


def on_cuda(monkeypatch, major, minor=0):
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: (major, minor))


@pytest.mark.parametrize(
    ("capability", "expected"),
    [((9, 0), torch.bfloat16), ((8, 0), torch.bfloat16), ((7, 5), torch.float16), ((6, 1), None)],
)
def test_auto_on_a_gpu_goes_by_its_capability(monkeypatch, capability, expected):
    on_cuda(monkeypatch, *capability)
    assert choose_precision("auto", "cuda:0") == Precision(expected, "cuda")


@pytest.mark.parametrize(("bf16", "amx"), [(True, False), (False, True), (False, False), (None, None)])
def test_auto_on_a_cpu_goes_by_its_instructions(monkeypatch, bf16, amx):
    tests = {"_is_avx512_bf16_supported": bf16, "_is_amx_tile_supported": amx}
    present = {name: lambda value=value: value for name, value in tests.items() if value is not None}
    monkeypatch.setattr(precision, "torch", SimpleNamespace(**{**vars(torch), "cpu": SimpleNamespace(**present)}))
    assert choose_precision("auto", "cpu").dtype == (torch.bfloat16 if bf16 or amx else None)


def test_what_is_asked_for_is_what_there_is():
    assert choose_precision("fp32", "cpu") == Precision(None, "cpu")
    assert choose_precision("bf16", "cpu") == Precision(torch.bfloat16, "cpu")
    assert choose_precision("fp16", "cuda") == Precision(torch.float16, "cuda")
    with pytest.raises(ValueError, match=r"DISTILL\.PRECISION is 'fp8'.*bf16"):
        choose_precision("fp8", "cpu")
    with pytest.raises(ValueError, match=r"DISTILL\.PRECISION fp16 is for GPUs"):
        choose_precision("fp16", "cpu")


def test_a_gpu_without_bf16_is_not_asked_for_it(monkeypatch):
    on_cuda(monkeypatch, 7, 5)
    with pytest.raises(ValueError, match=r"SOLVER\.PRECISION bf16 is for GPUs of compute capability 8\.0"):
        choose_precision("bf16", "cuda", "SOLVER.PRECISION")


def solver(precision="auto", amp=False):
    return SimpleNamespace(PRECISION=precision, AMP=SimpleNamespace(ENABLED=amp))


def test_the_students_precision(monkeypatch):
    on_cuda(monkeypatch, 9)
    monkeypatch.setattr(precision, "_cpu_has_bf16", lambda: True)
    assert student_precision(solver(), "cpu") == Precision(None, "cpu")
    assert student_precision(solver("bf16"), "cpu") == Precision(torch.bfloat16, "cpu")
    assert student_precision(solver(), "cuda") == Precision(torch.bfloat16, "cuda")
    assert student_precision(solver("fp32"), "cuda") == Precision(None, "cuda")
    # Detectron2's own key.
    assert student_precision(solver(amp=True), "cuda") == Precision(torch.float16, "cuda")
    with pytest.raises(ValueError, match=r"SOLVER\.AMP\.ENABLED is fp16 and SOLVER\.PRECISION bf16"):
        student_precision(solver("bf16", amp=True), "cuda")
    with pytest.raises(ValueError, match=r"SOLVER\.AMP\.ENABLED needs a CUDA device"):
        student_precision(solver(amp=True), "cpu")


def test_training_is_in_bf16_and_prediction_is_not():
    model = torch.nn.Linear(4, 2)
    train_in(model, Precision(torch.bfloat16, "cpu"))
    assert model(torch.ones(1, 4)).dtype == torch.bfloat16
    assert model.eval()(torch.ones(1, 4)).dtype == torch.float32
    same = torch.nn.Linear(4, 2)
    train_in(same, Precision(None, "cpu"))
    assert same(torch.ones(1, 4)).dtype == torch.float32 and "forward" not in vars(same)


def test_fp16_is_for_what_no_gradient_goes_through():
    half = Precision(torch.float16, "cuda")
    assert isinstance(half.frozen(), torch.autocast) and not isinstance(half.learning(), torch.autocast)
    # Without a format of its own, an autocast around it (SOLVER.AMP) is left alone.
    with torch.autocast("cpu", dtype=torch.bfloat16), Precision().frozen(), Precision().learning():
        assert torch.is_autocast_enabled("cpu")
