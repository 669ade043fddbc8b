"""Suite files: what they say, and what is told about a mistake in one."""

import pytest

from meddet_d2.benchmark import load_suite
from meddet_d2.benchmark.suite import select

ROW = "rows: [{table: I, row: A, config: a.yaml}]\n"


def test_a_suite_says_what_to_run(suite):
    made = suite()
    assert [(row.table, row.name) for row in made.rows] == [("I", "Alone"), ("I", "MedDet"), ("V", "LWFF")]
    assert made.rows[0].paper == {"map": 80.8, "recall": 0.976} and made.rows[2].paper == {}
    assert made.seeds == (1,) and made.teacher_seed == 1848 and not made.teachers_per_seed
    assert [row.name for row in select(made.rows, ["I"], ["MedDet"], made.path)] == ["MedDet"]


def test_configs_lie_beside_the_suite(suite, tmp_path):
    assert suite(ROW).rows[0].config == tmp_path / "a.yaml"


@pytest.mark.parametrize(
    ("tables", "names", "known"),
    [(["VI"], None, "has no table 'VI'; it has I, V"), (None, ["MGT"], "has no row 'MGT'; it has Alone, MedDet, LWFF")],
)
def test_unknown_tables_and_rows_list_the_known(suite, tables, names, known):
    made = suite()
    with pytest.raises(ValueError, match=known):
        select(made.rows, tables, names, made.path)


def test_a_row_of_another_table_is_told(suite):
    made = suite()
    with pytest.raises(ValueError, match="no row"):
        select(made.rows, ["V"], ["Alone"], made.path)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("rows: [", "not valid yaml"),
        ("[1, 2]", "expected keys and values"),
        ("seeds: [1]", "lists no rows"),
        ("rows: 3", "rows is 3; give a list of rows"),
        ("row: []", "unknown row; the keys are efficiency, rows, seeds, teachers"),
        ("rows: [{table: 1, row: A, config: a.yaml}]", "entry 1: table is 1"),
        ("rows: [{table: I, row: A, confg: a.yaml}]", "unknown confg"),
        ("rows: [{table: I, row: A, config: a.yaml, paper: {mAP: 1}}]", "table I, A, paper: unknown mAP"),
        ("rows: [{table: I, row: A, config: a.yaml, paper: {map: high}}]", "map is 'high'"),
        (ROW.replace("]", ", {table: I, row: A, config: b.yaml}]"), "table I, A twice"),
        (ROW + "seeds: [1, 1]", "different whole numbers"),
        (ROW + "seeds: [-1]", "different whole numbers"),
        (ROW + "seeds: 3", "different whole numbers"),
        (ROW + "teachers: {per_seed: maybe}", "per_seed is 'maybe'; give true or false"),
        ("rows: [{table: I, row: A, config: a.yaml, teacher: maybe}]", "teacher is 'maybe'; give true or false"),
        ("rows: [{table: I, row: A}]", "config is None; give a text"),
        ("rows: [{table: I, row: A, config: a.yaml, paper: {map: true}}]", "map is True; give a number"),
    ],
)
def test_mistakes_are_told_in_one_line(suite, text, words):
    with pytest.raises(ValueError, match=words) as caught:
        suite(text)
    assert "suite.yaml" in str(caught.value) and "\n" not in str(caught.value)


def test_a_missing_suite_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"nowhere\.yaml"):
        load_suite(tmp_path / "nowhere.yaml")
