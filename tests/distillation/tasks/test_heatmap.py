"""Landmark networks as students and teachers."""

import pytest
import torch
from fake_tensors import fake_tensors, move
from small_landmarks import ALL_TASKS, HOURGLASS, PYRAMID, K, batch, config, network

from detectron2.data import DatasetCatalog, MetadataCatalog
from meddet_d2.distillation import DistillationModel, TeacherBank, build_distiller, task_of
from meddet_d2.distillation.dry_run import check_forward
from meddet_d2.distillation.tasks import Heatmap
from meddet_d2.modeling.heatmap.landmark_labels import LandmarkTruth
from meddet_d2.modeling.heatmap.peaks import DECODINGS, decode_maps

TASK = Heatmap()
BOTH = pytest.mark.parametrize("kind", [PYRAMID, HOURGLASS], ids=["pyramid", "hourglass"])


def stacks(number, channels=16):
    keys = ["MODEL.HOURGLASS.STACKS", number, "MODEL.HOURGLASS.CHANNELS", channels]
    return network(*keys, kind=HOURGLASS).eval()


@BOTH
def test_one_forward_shows_maps_heat_maps_and_losses(kind):
    model, inputs = network(kind=kind).eval(), batch()
    assert isinstance(task_of(model), Heatmap)
    seen = TASK.observe(model, inputs, targets=TASK.targets(model, inputs))
    shapes = TASK.shapes(model)
    assert [x.shape[1] for x in seen.features] == [shape.channels for shape in shapes]
    assert [64 // x.shape[-1] for x in seen.features] == [shape.stride for shape in shapes]
    assert shapes[0].stride == 4 and seen.outputs[-1].shape == (2, K, 16, 16)
    assert (
        seen.losses["loss_heatmap"]
        == model.losses(seen.features, seen.outputs, model.ground_truth(inputs))["loss_heatmap"]
    )
    only = TASK.observe(model, inputs)
    assert only.outputs is None and not only.losses
    assert all(torch.equal(a, b) for a, b in zip(only.features, seen.features, strict=True))
    # The prediction's maps are what is counted and exported.
    images = model.preprocess_image(inputs).tensor
    assert torch.equal(TASK.raw_outputs(model, images)[0], seen.outputs[-1])
    # The head on the maps that a smaller student has, too.
    assert torch.equal(TASK.head_outputs(model, TASK.observe(model, inputs, 1).features)[-1], seen.outputs[-1])


def test_a_deeper_teacher_shows_the_stacks_at_the_same_parts_of_its_depth():
    teacher, inputs = stacks(4), batch(1)
    everything = TASK.observe(teacher, inputs).features
    shown = TASK.observe(teacher, inputs, 2).features
    assert [x is y or torch.equal(x, y) for x, y in zip(shown, everything[1::2], strict=True)] == [True, True]
    # Its head makes of these what it makes of them among all.
    heatmaps = TASK.head_outputs(teacher, everything)[1::2]
    assert all(torch.equal(x, y) for x, y in zip(TASK.head_outputs(teacher, shown), heatmaps, strict=True))


@BOTH
def test_its_head_teaches_without_learning(kind):
    teacher, inputs = network(kind=kind).eval().requires_grad_(False), batch()
    features = [x.clone().requires_grad_() for x in TASK.observe(teacher, inputs).features]
    TASK.head_losses(teacher, features, TASK.targets(teacher, inputs))["loss_heatmap"].backward()
    assert features[0].grad.abs().sum() > 0


@pytest.fixture
def spines():
    """Two data sets of three landmarks, of which one has another name."""
    names = {"spine_a": ["c2", "c3", "c4"], "spine_b": ["c2", "c4", "c3"]}
    for name, landmarks in names.items():
        DatasetCatalog.register(name, list)
        MetadataCatalog.get(name).set(keypoint_names=landmarks)
    yield tuple(names)
    for name in names:
        DatasetCatalog.remove(name)
        MetadataCatalog.remove(name)


def test_what_differs_is_named_with_its_key(spines):
    student = network("DATASETS.TRAIN", (spines[0],))
    assert TASK.compatible(student, network("DATASETS.TRAIN", (spines[0],))) is None
    assert TASK.compatible(student, network()) is None  # whose names are not known
    assert TASK.compatible(stacks(2), stacks(4, 32)) is None
    cases = [
        (network("MODEL.LANDMARK.NUM_KEYPOINTS", 5), "MODEL.LANDMARK.NUM_KEYPOINTS is 5 there and 3"),
        (network("DATASETS.TRAIN", (spines[1],)), r"landmark 2 \(.*DATASETS.TRAIN\) is 'c4' there and 'c3'"),
        (network("MODEL.LANDMARK.IN_FEATURES", ("p4", "p5")), r"IN_FEATURES\) have strides \(4, 16, 32\) there and"),
        (stacks(2), r"MODEL.BACKBONE.NAME.*strides \(4, 4\) there and \(4, 8, 16, 32\)"),
    ]
    for teacher, message in cases:
        bank = TeacherBank([teacher], ["the teacher"])
        with pytest.raises(
            ValueError, match=rf"^Teacher the teacher does not fit.*{message}.* in the student"
        ) as caught:
            bank.check_student(student)
        assert "\n" not in str(caught.value)
    assert "strides (4, 4) there" in TASK.compatible(stacks(4), stacks(2))
    assert TASK.names(config("DATASETS.TRAIN", (spines[0],))) == ("c2", "c3", "c4")


def test_a_teacher_of_several_tasks_teaches_without_their_heads():
    teacher, inputs = network(*ALL_TASKS), batch()
    before = TASK.observe(teacher.eval(), inputs).features
    bank = TeacherBank([teacher], ["the teacher"])
    bank.fold_norms()
    assert not [name for name in bank.networks[0].state_dict() if name.startswith("auxiliary")]
    (seen,) = bank.observe(inputs)
    assert all(torch.equal(a, b) for a, b in zip(seen.features, before, strict=True))


@pytest.mark.parametrize("method", ["FitNets", "MGD"])
@BOTH
def test_baselines_run_on_its_maps(method, kind):
    cfg = config("DISTILL.METHOD", method, "DISTILL.PRECISION", "fp32", kind=kind)
    wide = ["MODEL.LANDMARK.CHANNELS", 24, "MODEL.HOURGLASS.STACKS", 4, "MODEL.HOURGLASS.CHANNELS", 32]
    student, bank = network(kind=kind), TeacherBank([network(*wide, *ALL_TASKS, kind=kind)], ["the teacher"])
    model = DistillationModel(student, bank, build_distiller(cfg, student, bank)).train()
    losses = model(batch())
    assert set(losses) == {"loss_heatmap", "loss_dist"}
    sum(losses.values()).backward()
    assert all(p.grad is not None for p in model.distiller.parameters())


@BOTH
def test_it_is_run_once_without_memory(kind):
    model = network("MODEL.DEVICE", "meta", kind=kind)
    check_forward({"The student": model}, 64)
    model.backbone = torch.nn.Identity()
    with pytest.raises(ValueError, match=r"^The student does not run on images of 64x64"):
        check_forward({"The student": model}, 64)


@pytest.mark.parametrize("kind, device", [(PYRAMID, "cpu"), (PYRAMID, "cuda"), (HOURGLASS, "cuda")])
def test_nothing_in_a_step_asks_for_a_value(kind, device, monkeypatch):
    model, inputs = network(*ALL_TASKS, "MODEL.HOURGLASS.STACKS", 1, kind=kind).train(), batch()
    truth = model.ground_truth(inputs)
    with fake_tensors() as mode:
        move(model, device)
        fields = {x: mode.from_tensor(getattr(truth, x)).to(device) for x in ("points", "present", "structures")}
        fake = LandmarkTruth(**fields, image_sizes=truth.image_sizes)
        monkeypatch.setattr(type(model), "ground_truth", lambda *_: fake)
        total = sum(model(inputs).values())
        assert total.device.type == device
        if device == "cpu":  # without a GPU torch has no streams for another device's
            total.backward()
            assert all(p.grad is not None for p in model.auxiliary.parameters())
        images = model.eval().preprocess_image(inputs)
        with torch.no_grad():
            maps = TASK.raw_outputs(model, images.tensor)[0]
            valid = torch.ones(2, 1, 16, 16, dtype=torch.bool, device=device)
            found = [decode_maps(maps, valid, name, 2.0)[0] for name in DECODINGS]
    assert {x.device.type for x in found} == {device}
