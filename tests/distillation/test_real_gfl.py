"""The whole step with real, tiny GFL detectors, built from configs and checkpoints as a run builds them."""

from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch
from box_truth import truth_of
from tiny_gfl import config_writer, student_config, two_images

from detectron2.modeling import build_model
from detectron2.structures import Instances
from meddet_d2.distillation import DistillationModel, TeacherBank, TeacherHeads, build_distiller, teacher_configs
from meddet_d2.distillation.tasks.boxes_gfl import HeadOutputs, localization_regions
from meddet_d2.modeling.gfl.anchors import sizes_of


@pytest.fixture
def write_config(tmp_path):
    return config_writer(tmp_path)


@pytest.fixture
def cfg(tmp_path):
    return student_config(tmp_path)


@pytest.fixture
def inputs():
    return two_images()


@pytest.mark.parametrize("lead", [0, 1])
def test_real_detectors_take_steps_together(cfg, inputs, lead):
    cfg.DISTILL.MEDDET.FUSION.LEAD_TEACHER = lead
    bank = TeacherBank.from_config(cfg)
    assert bank.names == ["a", "b", "c"]
    student = build_model(cfg)
    model = DistillationModel(student, bank, build_distiller(cfg, student, bank)).train()
    frozen = [{name: value.clone() for name, value in d.state_dict().items()} for d in bank.networks]
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-2)
    for _ in range(2):
        losses = model(inputs)
        optimizer.zero_grad()
        sum(losses.values()).backward()
        assert all(p.grad is not None and p.grad.isfinite().all() for p in model.parameters())
        optimizer.step()
    assert set(losses) == {"loss_qfl", "loss_dfl", "loss_giou", "loss_dist", "loss_adv", "loss_fusion"}
    assert all(value.isfinite() for value in losses.values())
    for detector, state in zip(bank.networks, frozen, strict=True):
        assert all(torch.equal(value, state[name]) for name, value in detector.state_dict().items())
    assert student.state_dict().keys() == build_model(cfg).state_dict().keys()

    model.eval()
    detections = model(inputs)
    assert len(detections) == 2 and isinstance(detections[0]["instances"], Instances)


def lead_losses(bank, inputs):
    """What the first teacher's head says of its own maps."""
    observed, targets = bank.observe(inputs), bank.networks[0].ground_truth(inputs)
    return TeacherHeads(bank, observed, targets).losses(0, observed[0].features)


DISTILLATION = {
    "FitNets": {"loss_dist"},
    "MGD": {"loss_dist"},
    "FGD": {"loss_foreground", "loss_background", "loss_attention", "loss_relation"},
    "LD": {"loss_ld", "loss_ld_vlr", "loss_kd"},
}


@pytest.mark.parametrize("use", [(1,), (2, 0, 1)])
@pytest.mark.parametrize("boxes", [True, False])
@pytest.mark.parametrize("method", DISTILLATION)
def test_every_method_takes_steps_with_real_detectors(cfg, inputs, method, boxes, use):
    cfg.DISTILL.METHOD, cfg.DISTILL.TEACHERS.USE = method, use
    bank = TeacherBank.from_config(cfg)
    assert bank.names == ["abc"[k] for k in use]
    student = build_model(cfg)
    model = DistillationModel(student, bank, build_distiller(cfg, student, bank)).train()
    inputs = inputs if boxes else [inputs[1]]
    calls = []
    for network in (student, *bank.networks):
        network.head.register_forward_hook(lambda head, *_: calls.append(head))
    plain = student(inputs)
    frozen = [{name: value.clone() for name, value in d.state_dict().items()} for d in bank.networks]
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-2)
    for step in range(2):
        calls.clear()
        losses = model(inputs)
        # The teachers' heads run for the method that asks, and the student's not twice.
        assert calls == [student.head, *([d.head for d in bank.networks] if method == "LD" else [])]
        if step == 0:
            torch.testing.assert_close({name: losses[name] for name in plain}, plain)
        optimizer.zero_grad()
        sum(losses.values()).backward()
        assert all(p.grad is not None and p.grad.isfinite().all() for p in model.parameters())
        optimizer.step()
    assert set(losses) == {"loss_qfl", "loss_dfl", "loss_giou"} | DISTILLATION[method]
    for name in DISTILLATION[method]:
        only_in_boxes = method == "LD" or name == "loss_foreground"
        assert losses[name].isfinite() and (losses[name] > 0) == (boxes or not only_in_boxes)
    for detector, state in zip(bank.networks, frozen, strict=True):
        assert all(torch.equal(value, state[name]) for name, value in detector.state_dict().items())
        assert all(p.grad is None for p in detector.parameters())


def test_folded_teachers_show_the_same_and_have_fewer_parameters(cfg, inputs):
    plain, folded = TeacherBank.from_config(cfg), TeacherBank.from_config(cfg, fold=True)
    for network, other in zip(plain.networks, folded.networks, strict=True):
        assert len(list(other.parameters())) < len(list(network.parameters()))
    for expected, found in zip(plain.observe(inputs), folded.observe(inputs), strict=True):
        torch.testing.assert_close(found.features, expected.features, rtol=1e-4, atol=1e-4)


def test_a_teacher_that_is_the_student_teaches_ld_nothing(cfg, inputs):
    cfg.DISTILL.METHOD, cfg.DISTILL.TEACHERS.USE = "LD", (0,)
    bank = TeacherBank.from_config(cfg)
    student = build_model(cfg)
    student.load_state_dict(bank.networks[0].state_dict())
    model = DistillationModel(student, bank, build_distiller(cfg, student, bank)).train()
    student.backbone.eval()
    losses = model(inputs)
    assert [losses[name].item() for name in sorted(DISTILLATION["LD"])] == [0, 0, 0]


def test_a_teachers_outputs_are_its_heads_in_the_order_of_the_anchors(cfg, inputs):
    bank = TeacherBank.from_config(cfg)
    observed = bank.observe(inputs)
    maps = [x.requires_grad_() for x in observed[1].features]
    outputs = HeadOutputs.join(TeacherHeads(bank, observed, []).outputs(1))
    cls_levels, box_levels = bank.networks[1].head(maps)
    assert not outputs.cls_logits.requires_grad and not outputs.box_logits.requires_grad
    for joined, levels in ((outputs.cls_logits, cls_levels), (outputs.box_logits, box_levels)):
        expected = torch.cat([x.permute(0, 2, 3, 1).flatten(1, 2) for x in levels], dim=1)
        torch.testing.assert_close(joined, expected.detach(), rtol=0, atol=0)


def test_the_regions_are_the_students_own(cfg, inputs):
    student = build_model(cfg).train()
    gt = student.ground_truth(inputs)
    features = student.extract_features(student.preprocess_image(inputs))
    positive, valuable = localization_regions(student, features, gt, 0.4)
    anchors = student.anchors(sizes_of(features))
    location, _, wins = student.assigner(anchors, None, gt)
    assert set(positive[0].nonzero().flatten().tolist()) == set(location[0][wins[0]].tolist())
    assert positive[0].any() and not positive[1].any()
    assert torch.equal(valuable, student.assigner.valuable_region(anchors, None, gt, 0.4))
    assert valuable[0].any() and not valuable[1].any()


def test_the_regions_leave_the_padding_out(cfg, inputs):
    """The second box ends where the image does; a larger image beside it changes nothing."""
    student = build_model(cfg)
    boxes = inputs[0]["instances"].gt_boxes.tensor
    found = {}
    for side, images in ((64, [boxes]), (128, [boxes, [], []])):
        maps = [torch.zeros(len(images), 32, -(-side // s), -(-side // s)) for s in student.strides]
        gt = truth_of(*images)
        gt = replace(gt, image_sizes=((64, 64), *[(128, 128)] * (len(images) - 1)))
        found[side] = localization_regions(student, maps, gt, 0)
        if side == 128:
            own = student.anchors(sizes_of(maps)).filled_by(gt.image_sizes)[0]
    for small, large in zip(found[64], found[128], strict=True):
        assert torch.equal(small[0], large[0][own]) and not large[0][~own].any()
        assert small[0].any() and not large[1:].any()


@pytest.mark.parametrize("level_weights", [(1.0, 1.0, 1.0, 1.0, 1.0), (1.0, 0.25, 0.0, 0.0, 0.0)])
def test_at_the_start_the_lead_heads_loss_is_its_own(cfg, inputs, level_weights):
    cfg.DISTILL.MEDDET.FUSION.START = "lead"
    cfg.DISTILL.MEDDET.FUSION.SHARE = 1.0
    cfg.DISTILL.MEDDET.LEVEL_WEIGHTS = level_weights  # ATSS must see all levels, whichever of them are fused
    bank = TeacherBank.from_config(cfg)
    student = build_model(cfg)
    model = DistillationModel(student, bank, build_distiller(cfg, student, bank)).train()
    own = lead_losses(bank, inputs)
    torch.testing.assert_close(model(inputs)["loss_fusion"], sum(own.values()))


def test_a_share_of_the_images_teaches_the_fusion_and_all_are_imitated(cfg, inputs):
    cfg.DISTILL.MEDDET.FUSION.START = "lead"
    bank = TeacherBank.from_config(cfg)
    student = build_model(cfg)
    distiller = build_distiller(cfg, student, bank)
    model = DistillationModel(student, bank, distiller).train()
    student.backbone.eval()  # or BatchNorm's statistics would move between the calls
    losses = {}
    for share in (1.0, 0.5):
        distiller.fusion_share = share
        losses[share] = model(inputs)
    for name in set(losses[1.0]) - {"loss_fusion"}:
        torch.testing.assert_close(losses[0.5][name], losses[1.0][name], rtol=1e-5, atol=1e-6)
    own = lead_losses(bank, inputs[:1])
    torch.testing.assert_close(losses[0.5]["loss_fusion"], sum(own.values()), rtol=1e-4, atol=1e-5)
    assert losses[1.0]["loss_fusion"] != losses[0.5]["loss_fusion"]
    distiller.fusion_share = 0.01
    torch.testing.assert_close(model(inputs)["loss_fusion"], losses[0.5]["loss_fusion"])  # never less than one


def test_nothing_is_made_for_the_levels_behind_the_last_weight(cfg, inputs):
    cfg.DISTILL.MEDDET.LEVEL_WEIGHTS = (0.0, 1.0, 0.0, 0.0, 0.0)
    bank = TeacherBank.from_config(cfg)
    student = build_model(cfg)
    distiller = build_distiller(cfg, student, bank)
    parts = (
        distiller.fusion,
        distiller.generator,
        distiller.student_alignment,
        distiller.adversary.discriminator.levels,
    )
    assert [len(part) for part in (*parts, *distiller.teacher_alignment)] == [2] * 7
    losses = DistillationModel(student, bank, distiller).train()(inputs)
    assert len(distiller.adversary.take()) == 2
    sum(losses.values()).backward()
    assert all(p.grad is not None for p in distiller.parameters())


@pytest.mark.parametrize("method", ["MedDet", *DISTILLATION])
def test_a_student_may_leave_out_the_coarsest_levels(cfg, inputs, method):
    cfg.MODEL.GFL.IN_FEATURES = ("p3", "p4", "p5")
    cfg.DISTILL.MEDDET.LEVEL_WEIGHTS = (1.0, 0.25, 0.0)
    cfg.DISTILL.METHOD = method
    if method != "MedDet":
        cfg.DISTILL.TEACHERS.USE = (1,)
    bank = TeacherBank.from_config(cfg)
    student = build_model(cfg)
    model = DistillationModel(student, bank, build_distiller(cfg, student, bank)).train()
    losses = model(inputs)
    sum(losses.values()).backward()
    assert all(value.isfinite() for value in losses.values()) and sum(losses.values()) > 0
    assert all(p.grad is not None for p in student.head.parameters())
    assert [len(shown.features) for shown in bank.observe(inputs, 3)] == [3] * len(bank.networks)


@pytest.mark.parametrize("method", ["MedDet", *DISTILLATION])
def test_every_method_learns_from_teachers_in_bf16(cfg, inputs, method):
    cfg.DISTILL.PRECISION = "bf16"
    cfg.DISTILL.METHOD = method
    bank = TeacherBank.from_config(cfg)
    student = build_model(cfg)
    model = DistillationModel(student, bank, build_distiller(cfg, student, bank)).train()
    losses = model(inputs)
    assert all(value.isfinite() and value.dtype == torch.float32 for value in losses.values())
    sum(losses.values()).backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in model.parameters())


def test_a_student_may_not_leave_out_the_finest_level(cfg):
    cfg.MODEL.GFL.IN_FEATURES = ("p4", "p5", "p6")
    with pytest.raises(ValueError, match=r"MODEL\.GFL\.IN_FEATURES"):
        TeacherBank.from_config(cfg).check_student(build_model(cfg))


@pytest.mark.parametrize("start", ["lead", "mean"])
def test_the_key_says_where_the_fusion_starts(cfg, inputs, start):
    cfg.DISTILL.MEDDET.FUSION.START = start
    cfg.DISTILL.TEACHERS.USE = (0, 2)  # of equal channels, so that AFA starts as the identity
    bank = TeacherBank.from_config(cfg)
    student = build_model(cfg)
    observed = bank.observe(inputs)
    maps = [shown.features for shown in observed]
    batch = SimpleNamespace(student=observed[0], teachers=observed)
    fused = build_distiller(cfg, student, bank).fuse(batch)
    expected = maps[0] if start == "lead" else [(a + b) / 2 for a, b in zip(*maps, strict=True)]
    for x, y in zip(fused, expected, strict=True):
        torch.testing.assert_close(x, y, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("kind", ["plain", "residual", "none"])
def test_the_key_chooses_the_generator(cfg, kind):
    cfg.DISTILL.MEDDET.AATM.GENERATOR = kind
    generators = build_distiller(cfg, build_model(cfg), TeacherBank.from_config(cfg)).generator
    assert [getattr(generator, "residual", None) for generator in generators] == [
        {"plain": False, "residual": True, "none": None}[kind]
    ] * 5


def test_the_keys_keep_the_maps_on_disk(cfg, inputs, tmp_path):
    cfg.DISTILL.TEACHERS.CACHE_DIR = str(tmp_path / "maps")
    cfg.DISTILL.TEACHERS.CACHE_DIR_GIB = 0.0
    TeacherBank.from_config(cfg).observe(inputs)
    assert not list(tmp_path.glob("maps/*/*"))
    cfg.DISTILL.TEACHERS.CACHE_DIR_GIB = 0.1
    first = TeacherBank.from_config(cfg).observe(inputs)
    assert len(list(tmp_path.glob("maps/*/*.safetensors"))) == 3 * len(inputs)
    bank = TeacherBank.from_config(cfg)
    for detector in bank.networks:
        detector.backbone = torch.nn.Identity()
        detector.backbone.size_divisibility = 32
    for before, after in zip(first, bank.observe(inputs), strict=True):
        assert all(torch.equal(x, y) for x, y in zip(before.features, after.features, strict=True))
    # Another number format makes other maps.
    cfg.DISTILL.PRECISION = "bf16"
    TeacherBank.from_config(cfg).observe(inputs)
    assert len(list(tmp_path.glob("maps/*/*.safetensors"))) == 2 * 3 * len(inputs)


def test_the_key_makes_the_teachers_remember(cfg, inputs):
    assert TeacherBank.from_config(cfg).caches is None
    cfg.DISTILL.TEACHERS.CACHE_GIB = 0.01
    bank = TeacherBank.from_config(cfg)
    shown = []
    bank.networks[0].backbone.register_forward_pre_hook(lambda module, images: shown.append(len(images[0])))
    first, again = bank.observe(inputs), bank.observe(inputs)
    assert shown == [1, 1] and torch.equal(first[0].features[0], again[0].features[0])
    assert sum(cache.capacity for cache in bank.caches) <= 0.01 * 2**30


@pytest.mark.parametrize("change, key", [({"num_classes": 3}, "NUM_CLASSES is 3"), ({"reg_max": 8}, "REG_MAX is 8")])
def test_a_teacher_of_other_classes_or_bins_is_refused(cfg, write_config, tmp_path, change, key):
    config, weights = write_config("b", **change), cfg.DISTILL.TEACHERS.WEIGHTS[1]
    # Its checkpoint is still that of the old config.
    with pytest.raises(ValueError, match=r"b\.pth holds the weights of another architecture") as error:
        TeacherBank.from_config(cfg)
    assert "\n" not in str(error.value)
    torch.save(build_model(teacher_configs.load_config(config, cfg)).state_dict(), weights)
    with pytest.raises(ValueError, match=f"Teacher b does not fit the student: MODEL.GFL.{key}") as error:
        TeacherBank.from_config(cfg).check_student(build_model(cfg))
    assert "\n" not in str(error.value)
