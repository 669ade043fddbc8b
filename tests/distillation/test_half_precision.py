"""DISTILL.PRECISION in a step: what runs in half precision, what does not, and what comes out."""

from types import SimpleNamespace

import pytest
import torch

from meddet_d2.distillation import DistillationModel, TeacherBank
from meddet_d2.hardware.precision import Precision


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
