"""Who is on which side: a split by patient, drawn, or as a table or a list says it."""

from collections import Counter
from collections.abc import Mapping

from sklearn.model_selection import train_test_split

from ...layout.data_set_writer import Record
from .omissions import Findings

# The stratum of patients without a box: behind the ids of all classes.
NO_CLASS = 2**31


def draw_split(records: list[Record], fractions: Mapping[str, float], seed: int, findings: Findings) -> dict[str, str]:
    """The split of each patient, drawn in about the same share of those whose first class, by id, is the same.

    Raises:
        ValueError: there are fewer patients than splits.
    """
    strata: dict[str, int] = {}
    for record in records:
        found = [box.category for box in record.boxes]
        strata[record.patient] = min([strata.get(record.patient, NO_CLASS), *found])
    if not strata:
        return {}
    splits, stratified = split_patients(strata, fractions, seed)
    if not stratified:
        findings.add("not_split_by_class", f"too few patients of a kind for {', '.join(fractions)}")
    return splits


def follow_split(records: list[Record], said: Mapping[str, set[str]], findings: Findings) -> dict[str, str]:
    """The split that a table gives each patient; images of a patient with none or several are left out."""
    splits = {}
    for record in records:
        names = said.get(record.patient, set())
        if len(names) == 1:
            (splits[record.patient],) = names
        else:
            findings.add("no_split", f"{record.source}: {', '.join(sorted(names)) or 'none'}")
    return splits


def follow_list(records: list[Record], listed: Mapping[str, str], findings: Findings) -> dict[str, str]:
    """The side "test" for the patients of a list (by pseudonym, with the text of the list), "train" for the others."""
    patients = {record.patient for record in records}
    for patient, text in listed.items():
        if patient not in patients:
            findings.add("unknown_test_patients", repr(text))
    return {patient: "test" if patient in listed else "train" for patient in patients}


def split_patients(strata: Mapping[str, int], fractions: Mapping[str, float], seed: int) -> tuple[dict[str, str], bool]:
    """Give each patient to one split.

    Patients are drawn, not images, so no patient can be on two sides and the fractions are of patients to the nearest
    whole one. scikit-learn's StratifiedGroupKFold draws images by groups, but only in parts of 1/k. Each split has
    patients of every stratum in about the same share. Where a split is smaller than the number of strata, or a stratum
    than the number of splits, the rarest strata are put together; with one left, the draw is not stratified.

    Args:
        strata: a number for what each patient has, by name. Their order does not matter.
        fractions: of each split, greater than 0; they are scaled to a sum of 1. At least one split.
        seed: of the draw.

    Returns:
        The split's name of each patient, and whether the draw was stratified as far as the patients differ.

    Raises:
        ValueError: there are fewer patients than splits.
    """
    if len(strata) < len(fractions):
        raise ValueError(
            f"{len(strata)} patients cannot be split into {len(fractions)} parts ({', '.join(fractions)}); "
            "every part needs at least one: annotate more patients or make fewer parts."
        )
    remaining = sorted(strata)
    # How many patients each split gets: at least one, in sum all.
    total = sum(fractions.values())
    sizes = {name: max(1, round(len(strata) * fraction / total)) for name, fraction in fractions.items()}
    sizes[max(fractions, key=lambda name: fractions[name])] += len(strata) - sum(sizes.values())
    labels, stratified = _feasible({patient: strata[patient] for patient in remaining}, sizes)
    found: dict[str, str] = {}
    # The smallest split first, while there is most to draw from.
    for name in sorted(sizes, key=lambda name: (sizes[name], name))[:-1]:
        rest = [labels[patient] for patient in remaining]
        enough = min(sizes[name], len(remaining) - sizes[name]) >= len(set(rest))
        possible = enough and min(Counter(rest).values()) >= 2
        stratified = stratified and possible
        remaining, drawn = train_test_split(
            remaining, test_size=sizes[name], random_state=seed, stratify=rest if possible else None
        )
        found.update(dict.fromkeys(drawn, name))
        remaining.sort()
    (last,) = set(sizes) - set(found.values())
    found.update(dict.fromkeys(remaining, last))
    return found, stratified


def _feasible(strata: dict[str, int], sizes: Mapping[str, int]) -> tuple[dict[str, int], bool]:
    """The strata, the rarest put together until each can have a patient in each split; whether none was."""
    joined = False
    while True:
        counts = Counter(strata.values())
        if len(counts) <= 1 or (min(counts.values()) >= len(sizes) and min(sizes.values()) >= len(counts)):
            return strata, not joined
        rare, next_rare = sorted(counts, key=lambda index: (counts[index], index))[:2]
        strata = {patient: next_rare if index == rare else index for patient, index in strata.items()}
        joined = True
