"""What a teacher takes over from the run that trains it, and what a run trains."""

import pytest

from meddet_d2 import load_config
from detectron2.modeling import build_model
from meddet_d2.distillation import TeacherBank, method_class, teacher_configs
from meddet_d2.distillation.dry_run import check_forward

TEACHER = """
SEED: 5
DATASETS: {TRAIN: ["own_train"], TEST: ["own_test"]}
INPUT: {MIN_SIZE_TEST: 96, FORMAT: BGR}
SOLVER: {MAX_ITER: 7}
"""
RUN = """
SEED: 1
DATASETS: {TRAIN: ["run_train"], TEST: ["run_test"]}
INPUT: {MIN_SIZE_TEST: 160, FORMAT: BGR}
SOLVER: {MAX_ITER: 9}
DISTILL:
  ENABLED: True
  TEACHERS: {CONFIGS: ["teacher.yaml"], WEIGHTS: ["WEIGHTS/t/model_final.pth"]}
"""


@pytest.fixture
def run(tmp_path):
    """``run(KEY, VALUE, ...)`` gives the config of a run whose teacher is not there yet."""
    (tmp_path / "teacher.yaml").write_text(TEACHER)
    (tmp_path / "run.yaml").write_text(RUN.replace("WEIGHTS/", f"{tmp_path}/"))

    def make(*options):
        cfg = load_config(str(tmp_path / "run.yaml"), ["MODEL.DEVICE", "cpu", *options])
        cfg.freeze()
        return cfg

    return make


def taken(cfg):
    teacher = teacher_configs.inherited_config(cfg.DISTILL.TEACHERS.CONFIGS[0], cfg, "somewhere")
    assert teacher.OUTPUT_DIR == "somewhere" and teacher.SOLVER.MAX_ITER == 7 and teacher.is_frozen()
    return teacher.SEED, teacher.DATASETS.TRAIN, teacher.DATASETS.TEST, teacher.INPUT.MIN_SIZE_TEST


@pytest.mark.parametrize(
    "inherit, expected",
    [
        (("DATASETS", "INPUT", "DATALOADER", "SEED"), (1, ("run_train",), ("run_test",), 160)),
        ((), (5, ("own_train",), ("own_test",), 96)),
        (("DATASETS.TEST", "SEED"), (1, ("own_train",), ("run_test",), 96)),
    ],
)
def test_a_teacher_takes_over_what_is_listed(run, inherit, expected):
    assert taken(run("DISTILL.TEACHERS.INHERIT", inherit)) == expected


def test_the_default_is_the_run_s_data(run):
    assert taken(run()) == (1, ("run_train",), ("run_test",), 160)


def test_the_run_s_own_config_is_no_part_of_the_teacher_s(run):
    cfg = run()
    teacher = teacher_configs.inherited_config(cfg.DISTILL.TEACHERS.CONFIGS[0], cfg, "somewhere").clone()
    teacher.defrost()
    teacher.DATASETS.TRAIN = ("changed",)
    assert cfg.DATASETS.TRAIN == ("run_train",)


@pytest.mark.parametrize("key", ["DATASET", "SEED.X", "DATASETS.NONE.X", ""])
def test_a_key_that_does_not_exist_is_named(run, key):
    with pytest.raises(ValueError, match=f"INHERIT names {key}; there is no such key") as error:
        taken(run("DISTILL.TEACHERS.INHERIT", (key,)))
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("alone", [False, True])
def test_a_method_s_stages_end_with_the_student(run, alone, tmp_path):
    cfg = run("DISTILL.TRAIN_ALONE", alone, "OUTPUT_DIR", "out")
    stages = method_class("MedDet").stages(cfg)
    names = ["teacher teacher", *(["the student alone"] if alone else []), "the student under its teachers"]
    assert [stage.name for stage in stages] == names
    assert [stage.distilled for stage in stages] == [False] * (len(names) - 1) + [True]
    assert str(tmp_path / "t") == stages[0].cfg.OUTPUT_DIR and stages[0].row is None
    if alone:
        assert stages[1].cfg.OUTPUT_DIR == "out/student_alone" and not stages[1].cfg.DISTILL.ENABLED
    # A teacher that is there is not trained again.
    (tmp_path / "t").mkdir()
    (tmp_path / "t" / "model_final.pth").touch()
    assert [stage.name for stage in method_class("MedDet").stages(cfg)] == names[1:]


ONE_SIZE = """
MODEL:
  META_ARCHITECTURE: GFL
  BACKBONE: {NAME: build_gfl_fpn_backbone, FREEZE_AT: 0}
  BOTTOM_UP: {LIBRARY: timm, NAME: coatnet_nano_rw_224, PRETRAINED: False}
  FPN: {OUT_CHANNELS: 8}
  GFL: {NUM_CONVS: 1, CHANNELS: 8, NUM_CLASSES: 2}
INPUT: {MIN_SIZE_TRAIN: [OWN], MAX_SIZE_TRAIN: OWN, MIN_SIZE_TEST: OWN, MAX_SIZE_TEST: OWN, FORMAT: BGR}
"""


@pytest.mark.parametrize(
    "own, inherit, side",
    [(64, ("INPUT",), 96), (128, ("INPUT",), 96), (64, (), 96), (128, (), 128)],
    ids=["trained on the run's", "and not on its own", "fed larger ones", "evaluated on larger ones"],
)
def test_a_teacher_of_one_size_is_built_for_what_it_is_fed(run, tmp_path, own, inherit, side):
    """The run's images, of at most 96 pixels; and in its evaluation those of its own INPUT."""
    options = [*("INPUT.MAX_SIZE_TRAIN", 96, "INPUT.MAX_SIZE_TEST", 96, "MODEL.DEVICE", "meta")]
    cfg = run("DISTILL.TEACHERS.INHERIT", inherit, *options)
    (tmp_path / "teacher.yaml").write_text(ONE_SIZE.replace("OWN", str(own)))
    (network,) = TeacherBank.build(cfg).networks
    assert network.backbone.bottom_up.body.side == side
    check_forward({"the teacher": network}, 96)
    if inherit:  # the checkpoint of its training for this run fits
        trained = build_model(teacher_configs.teacher_config(cfg, *teacher_configs.in_use(cfg)[0]))
        shapes = {name: value.shape for name, value in trained.state_dict().items()}
        assert shapes == {name: value.shape for name, value in network.state_dict().items()}


def test_a_teacher_is_built_with_all_that_its_training_takes_over(run, tmp_path):
    (tmp_path / "teacher.yaml").write_text(ONE_SIZE.replace("OWN", "64").replace("coatnet_nano_rw_224", "resnet10t"))
    cfg = run(
        "DISTILL.TEACHERS.INHERIT", ("MODEL.FPN.OUT_CHANNELS",), "MODEL.FPN.OUT_CHANNELS", 24, "MODEL.DEVICE", "meta"
    )
    (network,) = TeacherBank.build(cfg).networks
    assert network.backbone.output_shape()["p3"].channels == 24
