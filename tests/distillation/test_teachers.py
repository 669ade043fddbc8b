"""TeacherBank: freezing, reading, checking; and loading weights strictly."""

import shlex

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from meddet_d2 import load_config
from meddet_d2.distillation import TeacherBank, TeacherHeads, build_distiller, teacher_configs
from meddet_d2.modeling.weights import load_detector_weights


@pytest.fixture
def cfg(cfg, tmp_path):
    config = tmp_path / "gfl_r50.yaml"
    config.write_text("MODEL:\n  META_ARCHITECTURE: GFL\n")
    cfg.DISTILL.TEACHERS.CONFIGS = (str(config),)
    cfg.DISTILL.TEACHERS.WEIGHTS = (str(tmp_path / "output" / "r50" / "model_final.pth"),)
    return cfg


def message(error) -> str:
    text = str(error.value)
    assert "\n" not in text
    return text


def test_a_bank_freezes_its_detectors(detector):
    bank = TeacherBank([detector(8).train()], ["a.yaml"])
    assert not isinstance(bank, nn.Module)
    for module in bank.networks[0].modules():
        assert not module.training
    assert not any(p.requires_grad for p in bank.networks[0].parameters())
    with pytest.raises(ValueError, match="at least one network"):
        TeacherBank([], [])


def test_features_are_those_of_the_backbone_and_can_be_trained_upon(trained_bank, batch):
    inputs = batch()
    for detector, shown in zip(trained_bank.networks, trained_bank.observe(inputs), strict=True):
        expected = detector.backbone(detector.preprocess_image(inputs).tensor)
        for x, name in zip(shown.features, detector.in_features, strict=True):
            assert torch.equal(x, expected[name])
            # A 1x1 convolution saves its input for backward, which an inference tensor would refuse.
            assert not x.requires_grad and not x.is_inference()


def test_head_losses_teach_the_maps_and_not_the_head(trained_bank, batch):
    inputs = batch()
    observed, targets = trained_bank.observe(inputs), trained_bank.networks[1].ground_truth(inputs)
    features = [x.requires_grad_() for x in observed[1].features]
    losses = TeacherHeads(trained_bank, observed, targets).losses(1, features)
    sum(losses.values()).backward()
    assert all(x.grad.abs().sum() > 0 for x in features)
    assert all(p.grad is None for p in trained_bank.networks[1].parameters())


@pytest.mark.parametrize(
    "attribute, value, text",
    [
        ("num_classes", 3, "MODEL.GFL.NUM_CLASSES is 3 there and 2 in the student"),
        ("reg_max", 16, "MODEL.GFL.REG_MAX is 16 there and 8 in the student"),
        ("in_features", ("p3",), "MODEL.GFL.IN_FEATURES is ('p3',) there and ('p3', 'p4') in the student"),
        ("strides", (4, 8), "strides of MODEL.GFL.IN_FEATURES is (4, 8) there and (2, 4) in the student"),
    ],
)
def test_a_teacher_that_does_not_fit_is_refused(detector, attribute, value, text):
    teacher, student = detector(8), detector(6)
    setattr(teacher, attribute, value)
    bank = TeacherBank([detector(8), teacher], ["gfl_r50", "gfl_r101"])
    with pytest.raises(ValueError, match="Teacher gfl_r101") as error:
        bank.check_student(student)
    assert text in message(error)


def test_lists_and_tuples_of_strides_are_equal(detector):
    student = detector(6)
    student.strides = [2, 4]
    TeacherBank([detector(8)], ["a"]).check_student(student)


@pytest.mark.parametrize("kind", ["detectron2", "plain", "safetensors"])
def test_weights_of_every_format_are_loaded(detector, tmp_path, kind):
    source, target = detector(8), detector(8)
    if kind == "safetensors":
        path = tmp_path / "a.safetensors"
        save_file(source.state_dict(), path)
    else:
        path = tmp_path / "a.pth"
        state = source.state_dict()
        torch.save({"model": state, "iteration": 7} if kind == "detectron2" else state, path)
    load_detector_weights(target, str(path))
    assert all(torch.equal(value, source.state_dict()[name]) for name, value in target.state_dict().items())


def test_weights_of_another_architecture_are_refused_and_nothing_is_loaded(detector, tmp_path):
    path = str(tmp_path / "other.pth")
    target = detector(8)
    before = {name: value.clone() for name, value in target.state_dict().items()}

    def refused(state):
        torch.save({"model": state}, path)
        with pytest.raises(ValueError, match=r"other\.pth") as error:
            load_detector_weights(target, path)
        assert all(torch.equal(value, before[name]) for name, value in target.state_dict().items())
        return message(error)

    assert "of another shape (first: backbone.coarse.0.bias: (12,) in the file, (8,) in the model)" in refused(
        detector(12).state_dict()
    )
    state = detector(8).state_dict()
    bias = state.pop("head.0.bias")
    assert "1 missing (first: head.0.bias)" in refused(state)
    assert "1 unexpected (first: head.9.bias)" in refused({**detector(8).state_dict(), "head.9.bias": bias})
    assert "NaN values in head.0.bias" in refused({**detector(8).state_dict(), "head.0.bias": bias * float("nan")})


def test_files_that_are_no_checkpoint_are_refused(detector, tmp_path):
    target = detector(8)
    with pytest.raises(FileNotFoundError, match=r"nowhere\.pth does not exist"):
        load_detector_weights(target, str(tmp_path / "nowhere.pth"))
    whole = tmp_path / "whole.pth"
    torch.save(target, whole)
    torn = tmp_path / "torn.pth"
    torch.save(target.state_dict(), torn)
    torn.write_bytes(torn.read_bytes()[:-200])
    noise = tmp_path / "noise.safetensors"
    noise.write_bytes(b"no tensors at all")
    empty = tmp_path / "empty.pth"
    empty.touch()
    for path in (whole, torn, noise, empty):
        with pytest.raises(ValueError, match=path.name) as error:
            load_detector_weights(target, str(path))
        assert "damaged" in message(error)
    number = tmp_path / "number.pth"
    torch.save({"model": 3}, number)
    with pytest.raises(ValueError, match="holds no state dict"):
        load_detector_weights(target, str(number))


def test_a_missing_teacher_names_the_command_that_makes_it(cfg):
    config, weights = cfg.DISTILL.TEACHERS.CONFIGS[0], cfg.DISTILL.TEACHERS.WEIGHTS[0]
    assert teacher_configs.missing(cfg) == [(config, weights)]
    folder = weights.removesuffix("/model_final.pth")
    command = f"meddet train --config-file {config} OUTPUT_DIR {folder}"
    for call in (teacher_configs.require, TeacherBank.from_config):
        with pytest.raises(FileNotFoundError) as error:
            call(cfg)
        assert command in message(error) and weights in message(error)


def test_teachers_of_one_file_differ_by_overrides(cfg, tmp_path):
    """An entry is a file, whose name may have spaces, and KEY VALUE pairs as on a command line."""
    file = tmp_path / "my teacher.yaml"
    file.write_text("MODEL: {META_ARCHITECTURE: GFL, BOTTOM_UP: {LIBRARY: timm, NAME: resnet10t}}\n")
    entries = (
        f"{file} MODEL.BOTTOM_UP.NAME resnet14t",
        f"{file} MODEL.BOTTOM_UP.NAME mobilenetv2_050 MODEL.FPN.OUT_CHANNELS 64 INPUT.MIN_SIZE_TRAIN '(96, 128)'",
        str(file),
    )
    cfg.DISTILL.TEACHERS.CONFIGS, cfg.DISTILL.TEACHERS.WEIGHTS = entries, ("a/m.pth", "b/m.pth", "c/m.pth")
    cfg.DISTILL.TEACHERS.OPTS = ("MODEL.FPN.OUT_CHANNELS", 32)
    first, second, third = (teacher_configs.load_config(entry, cfg) for entry in entries)
    assert [c.MODEL.BOTTOM_UP.NAME for c in (first, second, third)] == ["resnet14t", "mobilenetv2_050", "resnet10t"]
    assert second.INPUT.MIN_SIZE_TRAIN == (96, 128) and second.MODEL.FPN.OUT_CHANNELS == 32, "OPTS are the run's"
    names = ["resnet14t", "mobilenetv2_050-64-96-128", "my teacher"]
    assert [teacher_configs.name_of(entry) for entry in entries] == names
    with pytest.raises(FileNotFoundError) as error:
        teacher_configs.require(cfg)
    command = f"--config-file '{file}' OUTPUT_DIR a MODEL.BOTTOM_UP.NAME resnet14t"
    assert message(error).endswith(f"meddet train {command}")
    arguments = shlex.split(command)
    assert load_config(arguments[1], arguments[2:]).MODEL.BOTTOM_UP.NAME == "resnet14t", "the command is a right one"


@pytest.mark.parametrize(
    ("overrides", "words"),
    [
        ("MODEL.BOTTOM_UP.NAME", "has no value"),
        ("MODEL.BOTTOM_UP.NAM resnet14t", "MODEL.BOTTOM_UP.NAME"),
        ("MODEL.BOTTOM_UP.NAME 'resnet14t", "No closing quotation"),
    ],
)
def test_wrong_overrides_of_a_teacher_are_named(cfg, overrides, words):
    entry = f"{cfg.DISTILL.TEACHERS.CONFIGS[0]} {overrides}"
    with pytest.raises(ValueError, match=words) as error:
        teacher_configs.load_config(entry, cfg)
    assert overrides.split()[0].removesuffix("E") in message(error)


def test_configs_and_weights_must_pair_up(cfg):
    for weights in ((), (*cfg.DISTILL.TEACHERS.WEIGHTS, "more.pth")):
        cfg.DISTILL.TEACHERS.WEIGHTS = weights
        with pytest.raises(
            ValueError, match=rf"CONFIGS has 1 entries and DISTILL\.TEACHERS\.WEIGHTS has {len(weights)}"
        ):
            teacher_configs.missing(cfg)
    cfg.DISTILL.TEACHERS.CONFIGS = cfg.DISTILL.TEACHERS.WEIGHTS = ()
    with pytest.raises(ValueError, match="name at least one teacher"):
        teacher_configs.require(cfg)


@pytest.fixture
def three(cfg, tmp_path):
    """``cfg`` with three teachers, of which the second alone has a checkpoint and the third no config."""
    configs = [str(tmp_path / f"gfl_r{depth}.yaml") for depth in (50, 101, 152)]
    for config in configs[:2]:
        (tmp_path / config).write_text("MODEL:\n  META_ARCHITECTURE: GFL\n")
    weights = [config.replace("yaml", "pth") for config in configs]
    torch.save({}, weights[1])
    cfg.DISTILL.TEACHERS.CONFIGS, cfg.DISTILL.TEACHERS.WEIGHTS = tuple(configs), tuple(weights)
    return cfg


def test_only_the_teachers_in_use_need_a_checkpoint_and_a_config(three):
    configs, weights = three.DISTILL.TEACHERS.CONFIGS, three.DISTILL.TEACHERS.WEIGHTS
    three.DISTILL.TEACHERS.USE = (1,)
    assert teacher_configs.in_use(three) == [(configs[1], weights[1])] and teacher_configs.missing(three) == []
    teacher_configs.require(three)
    three.DISTILL.TEACHERS.USE = (1, 0)
    assert teacher_configs.in_use(three) == [(configs[1], weights[1]), (configs[0], weights[0])]
    with pytest.raises(FileNotFoundError, match=r"gfl_r50\.pth does not exist"):
        teacher_configs.require(three)
    three.DISTILL.TEACHERS.USE = (2,)
    with pytest.raises(FileNotFoundError, match=r"gfl_r152\.yaml is neither"):
        teacher_configs.require(three)
    three.DISTILL.TEACHERS.CONFIGS, three.DISTILL.TEACHERS.WEIGHTS = configs[:2], weights[:2]
    three.DISTILL.TEACHERS.USE = ()
    assert teacher_configs.in_use(three) == [(configs[0], weights[0]), (configs[1], weights[1])], (
        "all of them by default"
    )


@pytest.mark.parametrize("use", [(3,), (-1,), (0, 0), (1.0,), (True,), ("r50",)])
def test_a_teacher_that_cannot_be_chosen_is_told(three, use):
    three.DISTILL.TEACHERS.USE = use
    for call in (teacher_configs.missing, teacher_configs.require, TeacherBank.build):
        with pytest.raises(ValueError, match=r"DISTILL\.TEACHERS\.USE is .*different indices from 0 to 2") as error:
            call(three)
        assert repr(use[0]) in message(error)


def test_a_missing_config_is_named(cfg):
    cfg.DISTILL.TEACHERS.CONFIGS = ("nowhere.yaml",)
    with pytest.raises(FileNotFoundError, match=r"DISTILL\.TEACHERS\.CONFIGS: nowhere\.yaml"):
        teacher_configs.missing(cfg)


def test_a_teacher_of_another_channel_order_is_refused(cfg):
    cfg.INPUT.FORMAT = "RGB" if cfg.INPUT.FORMAT == "BGR" else "BGR"
    with pytest.raises(ValueError, match=r"gfl_r50\.yaml does not fit the student: INPUT\.FORMAT"):
        teacher_configs.load_config(cfg.DISTILL.TEACHERS.CONFIGS[0], cfg)


def test_an_unknown_method_lists_the_known_ones(cfg, detector, trained_bank):
    cfg.DISTILL.METHOD = "MGD2"
    known = "DWPose, FGD, FPD, FSFLD, FitNets, LD, MGD, MedDet, OKDHP"
    with pytest.raises(ValueError, match=rf"DISTILL\.METHOD is 'MGD2'; known methods are: {known}\..*--plugin"):
        build_distiller(cfg, detector(6), trained_bank)


def test_a_method_is_built_from_the_config(cfg, detector, trained_bank):
    cfg.DISTILL.MEDDET.LEVEL_WEIGHTS = (1.0, 2.0)
    cfg.DISTILL.MEDDET.FUSION.LEAD_TEACHER = 1
    method = build_distiller(cfg, detector(6), trained_bank)
    # The lead teacher's 8 channels are the common ones, also where no other network has them.
    assert [g.layers[0].in_channels for g in method.generator] == [8, 8]
    assert method.adversary.discriminator.levels[0][0].in_features == 8 * 16
    assert method.detection_weight == pytest.approx(1.0)
    cfg.DISTILL.MEDDET.AATM.ENABLED = False
    assert build_distiller(cfg, detector(6), trained_bank).adversary is None
    cfg.DISTILL.MEDDET.FUSION.LEAD_TEACHER = 3
    with pytest.raises(ValueError, match=r"DISTILL\.MEDDET\.FUSION\.LEAD_TEACHER is 3"):
        build_distiller(cfg, detector(6), trained_bank)


def test_a_cache_of_negative_size_is_refused_by_its_key(cfg):
    cfg.DISTILL.TEACHERS.CACHE_GIB = -1.0
    with pytest.raises(ValueError, match=r"DISTILL\.TEACHERS\.CACHE_GIB is -1\.0") as error:
        TeacherBank.build(cfg)
    message(error)
