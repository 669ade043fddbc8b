"""DistillationModel: one forward of each network, and what moves in training."""

import pytest
import torch
from torch import nn

from meddet_d2.distillation import DistillationModel


def copy(module: nn.Module) -> dict:
    return {name: value.clone() for name, value in module.state_dict().items()}


@pytest.fixture
def model(detector, meddet, trained_bank):
    return DistillationModel(detector(6), trained_bank, meddet())


def test_one_forward_of_each_network(model, batch):
    networks = [model.student, *model.teachers.networks]
    for network in networks:
        network.backbone.calls = 0
    losses = model(batch())
    assert [network.backbone.calls for network in networks] == [1, 1, 1, 1]
    assert {"loss_a", "loss_b", "loss_dist", "loss_adv", "loss_fusion"} == set(losses)


def test_the_distiller_sees_the_very_maps_of_the_students_forward(model, batch):
    seen, seen_maps = {}, {}

    def spy(batch):
        seen["batch"] = batch
        return batch.student.losses

    model.distiller.forward = spy
    model.progress = 0.25
    with model.student.backbone.register_forward_hook(lambda module, seen, output: seen_maps.update(output)):
        model(batch())
    assert all(a is seen_maps[name] for a, name in zip(seen["batch"].student.features, ("p3", "p4"), strict=True))
    assert seen["batch"].progress == 0.25
    # In the graph of the student's losses, and without one for the teachers.
    gradients = torch.autograd.grad(sum(seen["batch"].student.losses.values()), seen["batch"].student.features)
    assert all(x.abs().sum() > 0 for x in gradients)
    assert not any(x.requires_grad for shown in seen["batch"].teachers for x in shown.features)
    assert not model.student.backbone._forward_hooks and not model.student.head._forward_hooks


def test_evaluation_is_the_students_alone(model, batch):
    model.eval()
    for teacher in model.teachers.networks:
        teacher.backbone.calls = 0
    inputs = batch()
    for ours, plain in zip(model(inputs), model.student(inputs), strict=True):
        assert torch.equal(ours["instances"], plain["instances"])
    assert not any(teacher.backbone.calls for teacher in model.teachers.networks)


def test_a_student_under_teachers_has_the_state_of_a_plain_one(model, detector):
    assert model.student.state_dict().keys() == detector(6).state_dict().keys()
    assert {name.split(".")[0] for name in model.state_dict()} == {"student", "distiller"}


def test_training_leaves_every_bit_of_the_teachers_and_moves_the_rest(model, batch):
    frozen = [copy(teacher) for teacher in model.teachers.networks]
    before = {"student": copy(model.student), "distiller": copy(model.distiller)}
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9, weight_decay=1e-2)
    for step in range(6):
        # As a trainer does; it must not wake the teachers' BatchNorm.
        model.train()
        model.progress = step / 6
        optimizer.zero_grad()
        sum(model(batch()).values()).backward()
        optimizer.step()
    for teacher, state in zip(model.teachers.networks, frozen, strict=True):
        assert not teacher.training
        assert all(torch.equal(value, state[name]) for name, value in teacher.state_dict().items())
        assert all(p.grad is None for p in teacher.parameters())
    for name, module in (("student", model.student), ("distiller", model.distiller)):
        still = [key for key, value in module.state_dict().items() if torch.equal(value, before[name][key])]
        assert not still, f"{name}: {still}"


def test_the_whole_step_learns(model, batch):
    # Five batches, over and over.
    inputs = [batch() for _ in range(5)]
    optimizer = torch.optim.Adam(model.parameters(), lr=5e-3)
    first, last = {}, {}
    for step in range(60):
        losses = model(inputs[step % 5])
        record = first if step < 5 else last
        record.update({name: value.item() for name, value in losses.items()})
        optimizer.zero_grad()
        sum(losses.values()).backward()
        optimizer.step()
    assert last["loss_dist"] < 0.7 * first["loss_dist"]
    assert last["loss_a"] < first["loss_a"]
    assert model.distiller.metrics["fused_std"] > 0.1
