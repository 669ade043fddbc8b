"""DISTILL.PRECISION: what runs in half precision, what does not, and what comes out."""

from types import SimpleNamespace

import pytest
import torch

from meddet_d2.distillation import DistillationModel, TeacherBank, precision
from meddet_d2.distillation.precision import Precision, choose_precision


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


def dtypes_seen(module):
    seen = []
    module.register_forward_hook(lambda module, inputs, output: seen.append(output.dtype))
    return seen


def test_teachers_and_distiller_in_bf16_and_the_student_not(meddet, trained_detectors, detector, batch):
    bank = TeacherBank(trained_detectors, ["a", "b", "c"], precision=Precision(torch.bfloat16, "cpu"))
    student, distiller = detector(6), meddet()
    model = DistillationModel(student, bank, distiller).train()
    parts = {
        "teacher": bank.networks[0].backbone.fine[0],
        "fusion": distiller.fusion[0].mix,
        "generator": distiller.generator[0].layers[0],
        "student": student.backbone.fine[0],
    }
    seen = {name: dtypes_seen(part) for name, part in parts.items()}
    lent = dtypes_seen(bank.networks[0].head[0])
    losses = model(batch())
    half = torch.bfloat16
    assert seen == {"teacher": [half], "fusion": [half], "generator": [half], "student": [torch.float32]}
    assert lent == [half, half]
    assert all(x.dtype == half for shown in bank.observe(batch()) for x in shown.features)
    with torch.no_grad():
        bank.precision = SimpleNamespace(
            dtype=torch.float16, frozen=lambda: torch.autocast("cpu", torch.float16), learning=None
        )
        assert all(x.dtype == torch.float32 for shown in bank.observe(batch()) for x in shown.features)
    assert losses["loss_dist"].dtype == losses["loss_adv"].dtype == torch.float32
    sum(losses.values()).backward()
    for parameter in model.parameters():
        assert parameter.grad is not None and parameter.grad.dtype == torch.float32 and parameter.grad.isfinite().all()


def test_in_bf16_the_losses_are_nearly_those_of_fp32(meddet, trained_bank, detector, batch):
    student, distiller, images = detector(6), meddet(), batch()
    losses = {}
    for dtype in (None, torch.bfloat16):
        trained_bank.precision = Precision(dtype, "cpu")
        losses[dtype] = DistillationModel(student, trained_bank, distiller).train()(images)
    for name, value in losses[None].items():
        assert losses[torch.bfloat16][name].item() == pytest.approx(value.item(), rel=0.03)
    assert losses[None]["loss_dist"] != losses[torch.bfloat16]["loss_dist"]


def test_fp16_is_for_what_no_gradient_goes_through():
    half = Precision(torch.float16, "cuda")
    assert isinstance(half.frozen(), torch.autocast) and not isinstance(half.learning(), torch.autocast)
    # Without a format of its own, an autocast around it (SOLVER.AMP) is left alone.
    with torch.autocast("cpu", dtype=torch.bfloat16), Precision().frozen(), Precision().learning():
        assert torch.is_autocast_enabled("cpu")
