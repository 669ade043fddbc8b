"""The split by patient: exact sizes, one side a patient, the same for the same seed, balanced where it can be."""

import random
from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from meddet_d2.curation.preparation.omissions import Findings
from meddet_d2.curation.preparation.split import draw_split, split_patients
from meddet_d2.layout.data_set_writer import Box, Record


def patients(*counts: int) -> dict[str, int]:
    """So many patients of each stratum."""
    return {f"p{index:02d}{n:03d}": index for index, count in enumerate(counts) for n in range(count)}


def test_strata_are_what_patients_have():
    """The first of their classes, whatever the number of classes; those without a box are another kind."""
    records = []
    for number, categories in enumerate([[], [1], [3, 2, 3], [3], [2, 2]] * 10):
        boxes = tuple(Box(category, (0, 0, 9, 9), None) for category in categories)
        records += [Record(f"{number}{place}.png", (9, 9), f"p{number}", None, boxes) for place in range(2)]
    findings = Findings()
    splits = draw_split(records, {"train": 0.8, "test": 0.2}, 0, findings)
    test = Counter(int(patient[1:]) % 5 for patient, split in splits.items() if split == "test")
    assert test[0] == test[1] == test[3] == 2 and test[2] + test[4] == 4 and not findings.counts()
    assert draw_split([], {"train": 0.8, "test": 0.2}, 0, findings) == {}


@pytest.mark.parametrize("seed", [0, 1, 1848])
def test_each_split_has_its_share_of_each_stratum(seed):
    splits, stratified = split_patients(patients(50, 30, 20), {"train": 0.7, "val": 0.1, "test": 0.2}, seed)
    assert stratified
    found = Counter((splits[patient], index) for patient, index in patients(50, 30, 20).items())
    assert found == {
        ("train", 0): 35, ("train", 1): 21, ("train", 2): 14,
        ("val", 0): 5, ("val", 1): 3, ("val", 2): 2,
        ("test", 0): 10, ("test", 1): 6, ("test", 2): 4,
    }  # fmt: skip


def test_the_order_of_patients_does_not_matter_and_the_seed_does():
    strata = patients(13, 9, 4)
    names = list(strata)
    expected = split_patients(strata, {"train": 0.8, "test": 0.2}, 3)[0]
    for seed in range(5):
        random.Random(seed).shuffle(names)
        assert split_patients({name: strata[name] for name in names}, {"train": 0.8, "test": 0.2}, 3)[0] == expected
    assert split_patients(strata, {"train": 0.8, "test": 0.2}, 4)[0] != expected


@settings(max_examples=150, deadline=None, derandomize=True)
@given(
    counts=st.lists(st.integers(0, 12), min_size=3, max_size=3),
    fractions=st.sampled_from([{"train": 0.8, "test": 0.2}, {"train": 0.6, "val": 0.2, "test": 0.2}, {"a": 1.0},
                               {"train": 0.98, "test": 0.02}, {"train": 0.02, "val": 0.96, "test": 0.02}]),
    seed=st.integers(0, 5),
)  # fmt: skip
def test_no_patient_is_lost_and_no_split_is_empty(counts, fractions, seed):
    strata = patients(*counts)
    if len(strata) < len(fractions):
        with pytest.raises(ValueError, match="cannot be split") as caught:
            split_patients(strata, fractions, seed)
        assert f"{len(strata)} patients" in str(caught.value)
        return
    splits, _ = split_patients(strata, fractions, seed)
    assert set(splits) == set(strata) and set(splits.values()) == set(fractions)
    sizes = Counter(splits.values())
    for name, fraction in fractions.items():
        # The nearest whole number, but for the patients that keep the others from being empty.
        assert abs(sizes[name] - fraction * len(strata)) < len(fractions)


def test_too_few_of_a_stratum_are_put_together():
    splits, stratified = split_patients(patients(10, 9, 1), {"train": 0.5, "test": 0.5}, 0)
    assert not stratified
    found = Counter((splits[patient], index == 0) for patient, index in patients(10, 9, 1).items())
    assert found == {("train", True): 5, ("test", True): 5, ("train", False): 5, ("test", False): 5}
