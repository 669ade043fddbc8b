"""What is the same record, and who may be the same person."""

import pytest

from meddet_d2.layout.identifiers import patient_key, record_id


@pytest.mark.parametrize("value", [12, 12.0, "12", "0012", " 12 ", "12\u00a0", "12.0", "12."])
def test_an_id_is_one_number_however_it_is_written(value):
    assert record_id(value) == 12


def test_other_texts_are_ids_of_their_own():
    assert [record_id(value) for value in ("a", " A ", "1e3", "-1", -1, "0")] == ["a", "A", "1e3", -1, -1, 0]


@pytest.mark.parametrize("value", [None, True, 1.5, float("nan"), float("inf"), "", " \u00a0", [], {}])
def test_what_is_no_id(value):
    with pytest.raises(ValueError, match="is no id"):
        record_id(value)


def test_ways_of_writing_a_patient():
    same = (7, 7.0, "7", "007", " 7\u00a0", "7.00", "\u200b7\ufeff")
    assert {patient_key(value) for value in same} == {"7"}
    assert patient_key("Mü  1") == patient_key(" mu\u0308\u00a01")
    assert len({patient_key(value) for value in ("70", "7.5", "-7", "P7", "P07", "7a", "0")}) == 7
    assert patient_key(" \u200b\u00a0") == ""
