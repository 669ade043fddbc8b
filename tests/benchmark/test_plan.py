"""Which runs there are: each once, known by what it computes."""

from pathlib import Path

import pytest

from meddet_d2.benchmark import Planner, check_runs, load_suite
from meddet_d2.benchmark.plan import config_hash, row_keys, scaled_config
from meddet_d2.distillation import DISTILLER_REGISTRY, Distiller

ROOT = Path(__file__).resolve().parents[2]
TABLES = ROOT / "configs" / "benchmark" / "tables.yaml"
STUDENT = ROOT / "configs" / "backbones" / "gfl_mobilenetv2.yaml"
SMOKE = ROOT / "configs" / "benchmark" / "smoke.yaml"


def by_name(runs):
    return {run.name: run for run in runs}


def test_rows_with_one_config_are_one_run(plan):
    runs = plan(seeds=(1, 2))
    students = [run for run in runs if run.kind == "student"]
    assert [(run.name, run.seed) for run in students] == [("Alone", 1), ("MedDet", 1), ("Alone", 2), ("MedDet", 2)]
    assert students[1].rows == [("I", "MedDet"), ("V", "LWFF")]
    assert students[1].config_hash == students[3].config_hash and students[1].folder != students[3].folder


def test_it_does_not_matter_by_which_row_a_run_is_asked_for(plan):
    assert by_name(plan())["MedDet"].folder == by_name(plan(names=["LWFF"]))["LWFF"].folder


def test_all_seeds_share_one_set_of_teachers(plan):
    runs = plan(seeds=(1, 2))
    teachers = [run for run in runs if run.kind == "teacher"]
    assert [run.seed for run in teachers] == [1848] * 3
    assert runs[:3] == teachers, "teachers are made first"
    for run in runs:
        if run.name == "MedDet":
            assert list(run.teachers) == teachers
            assert list(run.cfg.DISTILL.TEACHERS.WEIGHTS) == [str(t.folder / "model_final.pth") for t in teachers]
    assert not by_name(runs)["Alone"].teachers


def test_each_seed_can_have_its_own_teachers(plan):
    shared, own = plan(seeds=(1, 2)), plan(seeds=(1, 2), per_seed=True)
    assert sorted(run.seed for run in own if run.kind == "teacher") == [1, 1, 1, 2, 2, 2]
    for run in own:
        assert all(teacher.seed == run.seed for teacher in run.teachers)
    assert by_name(shared)["MedDet"].config_hash != by_name(own)["MedDet"].config_hash
    assert by_name(shared)["Alone"].config_hash == by_name(own)["Alone"].config_hash


def test_a_method_with_one_teacher_trains_one(tmp_path, suite, folder):
    (tmp_path / "one.yaml").write_text(f"_BASE_: {ROOT}/configs/meddet.yaml\nDISTILL: {{TEACHERS: {{USE: [2]}}}}\n")
    made = suite("rows: [{table: I, row: One, config: one.yaml}]")
    runs = Planner(folder.path, scale=SMOKE).plan(made, made.rows)
    assert [run.name for run in runs] == ["resnet14t", "One"]
    check_runs(runs[1:])


def test_given_teachers_are_known_by_their_content(plan, tmp_path):
    files = [tmp_path / f"{name}.pth" for name in "abc"]
    for file in files:
        file.write_text(file.stem)
    options = {
        "given": True,
        "overrides": ["DISTILL.TEACHERS.WEIGHTS", str(tuple(map(str, files)))],
    }
    before = by_name(plan(**options))
    assert "resnet18d" not in before
    assert by_name(plan(**options))["MedDet"].config_hash == before["MedDet"].config_hash
    files[0].write_text("another")
    assert by_name(plan(**options))["MedDet"].config_hash != before["MedDet"].config_hash
    files[0].unlink()
    with pytest.raises(FileNotFoundError, match=r"table I, MedDet: .*a\.pth does not exist"):
        plan(**options)


def test_the_hash_changes_when_it_must_and_not_when_it_must_not():
    cfg = scaled_config(STUDENT, SMOKE)
    same, other = config_hash(cfg), scaled_config(STUDENT, SMOKE, ["SOLVER.MAX_ITER", "4"])
    assert config_hash(other) != same
    assert config_hash(scaled_config(STUDENT, SMOKE, ["DATASETS.PHANTOM.SEED", "7"])) != same
    cfg.SEED, cfg.OUTPUT_DIR, cfg.MODEL.DEVICE = 12345, "elsewhere", "cuda"
    cfg.DISTILL.TEACHERS.CONFIGS = ("of", "nobody")
    cfg.MODEL.NMODE.READOUT = "gated"
    assert config_hash(cfg) == same, "neither place, seed and device, nor what this network does not use"


@pytest.mark.parametrize(
    ("text", "key"),
    [
        ("DISTILL: {ENABLED: True}", "DISTILL.ENABLED"),
        ("MODEL: {BOTTOM_UP: {NAME: resnet50}}", "MODEL.BOTTOM_UP.NAME"),
        ("MODEL: {NMODE: {KIND: nmode}}", "MODEL.NMODE.KIND"),
    ],
)
def test_a_scale_cannot_change_the_method(plan, tmp_path, text, key):
    scale = tmp_path / "scale.yaml"
    scale.write_text(f"{text}\nVERSION: 2\n")
    with pytest.raises(ValueError, match=rf"table I, Alone: .*scale\.yaml changes {key}"):
        plan(scale=scale)


def test_an_override_cannot_change_the_method(plan):
    with pytest.raises(ValueError, match=r"an override changes DISTILL\.METHOD from MedDet to MGD"):
        plan(names=["MedDet"], overrides=["DISTILL.METHOD", "MGD"])


def test_a_methods_own_keys_tell_its_rows_apart(plan, monkeypatch):
    """Each method names them itself, a plugin's too."""
    own_keys = {"DISTILL.MEDDET.AATM.ENABLED", "DISTILL.MEDDET.FUSION.NAME"}
    assert own_keys < set(row_keys())
    with pytest.raises(ValueError, match=r"an override changes DISTILL\.MEDDET\.FUSION\.NAME from LWFF to Sum"):
        plan(names=["MedDet"], overrides=["DISTILL.MEDDET.FUSION.NAME", "Sum"])

    class Another(Distiller):
        row_keys = ("DISTILL.MGD.ALPHA",)

    monkeypatch.setitem(DISTILLER_REGISTRY._obj_map, "Another", Another)
    with pytest.raises(ValueError, match=r"changes DISTILL\.MGD\.ALPHA"):
        plan(names=["Alone"], overrides=["DISTILL.MGD.ALPHA", "0.5"])


def test_what_the_benchmark_sets_cannot_be_overridden(plan):
    with pytest.raises(ValueError, match="SEED"):
        plan(overrides=["SEED", "3"])


def test_mistakes_name_the_row(plan, suite, folder):
    with pytest.raises(ValueError, match=r"table I, Alone: .*SOLVER\.MAX_ITER"):
        plan(overrides=["SOLVER.MAX_ITERR", "3"])
    made = suite("rows: [{table: I, row: A, config: nowhere.yaml}]")
    with pytest.raises(FileNotFoundError, match=r"table I, A: .*nowhere\.yaml"):
        Planner(folder.path).plan(made, made.rows)


def test_checks_find_an_unknown_backbone_and_method_and_list_the_known(tmp_path, suite, folder, use_datasets_root):
    for name, base, text, words in (
        ("backbone", "backbones/gfl_mobilenetv2", "MODEL: {BOTTOM_UP: {NAME: mobilenet_v9}}", "mobilenet_v2"),
        ("method", "meddet", "DISTILL: {METHOD: MedDat}", "MedDet"),
    ):
        (tmp_path / f"{name}.yaml").write_text(f"_BASE_: {ROOT}/configs/{base}.yaml\n{text}\n")
        made = suite(f"rows: [{{table: I, row: {name}, config: {name}.yaml}}]")
        runs = Planner(folder.path, scale=SMOKE).plan(made, made.rows)
        with pytest.raises(ValueError, match=rf"^{name} .*{words}"):
            check_runs([run for run in runs if run.kind == "student"])


@pytest.mark.parametrize("scale", [None, "phantom.yaml", "smoke.yaml"])
def test_the_papers_tables_can_be_planned(scale, tmp_path):
    """Every row's config is there, and is another run than the others but where it should not be."""
    made = load_suite(TABLES)
    planner = Planner(tmp_path, scale=scale and TABLES.parent / scale)
    runs = planner.plan(made, made.rows, [1])
    students = {row: run for run in runs for row in run.rows}
    assert len(students) == len(made.rows)
    assert students["I", "MedDet"] is students["III", "MedDet"] is students["V", "LWFF"]
    assert students["III", "KD"] is students["IV", "none"]
    assert students["III", "KD + nmODE2"] is students["IV", "head"]
    assert students["III", "MedDet"] is students["light", "MedDet"]
    assert len({id(run) for run in students.values()}) == len(made.rows) - 5
    assert sum(run.kind == "teacher" for run in runs) == 3, "all methods are taught by the same teachers"
    assert all(row.config.is_file() for row in made.efficiency)
