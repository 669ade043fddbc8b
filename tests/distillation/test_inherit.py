"""What a teacher takes over from the run that trains it, and what a run trains."""

import pytest

from meddet_d2 import load_config
from meddet_d2.distillation import method_class, teacher_configs

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
