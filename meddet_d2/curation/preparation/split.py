"""A split by patient, stratified by what the patients have, the same for the same seed."""

from collections import Counter
from collections.abc import Mapping, Sequence

from sklearn.model_selection import train_test_split

# What stratifies, from the rarest interest to the commonest.
STRATA = ("protrusion", "no protrusion", "no boxes")


def stratum(categories: Sequence[int]) -> int:
    """The index in STRATA of a patient, by the class ids of all their boxes."""
    return 0 if 1 in categories else 1 if categories else 2


def split_patients(strata: Mapping[str, int], fractions: Mapping[str, float], seed: int) -> tuple[dict[str, str], bool]:
    """Give each patient to one split.

    Patients are drawn, not images, so no patient can be on two sides and the fractions are of patients to the nearest
    whole one. scikit-learn's StratifiedGroupKFold draws images by groups, but only in parts of 1/k. Each split has
    patients of every stratum in about the same share. Where a split is smaller than the number of strata, or a stratum
    than the number of splits, the rarest strata are put together; with one left, the draw is not stratified.

    Args:
        strata: a patient's stratum, an index in STRATA, by name. Their order does not matter.
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
    sizes = _sizes(len(remaining), fractions)
    labels, stratified = _feasible({patient: strata[patient] for patient in remaining}, sizes)
    found: dict[str, str] = {}
    # The smallest split first, while there is most to draw from.
    for name in sorted(sizes, key=lambda name: (sizes[name], name))[:-1]:
        rest = [labels[patient] for patient in remaining]
        possible = min(Counter(rest).values()) >= 2 and sizes[name] >= len(set(rest))
        possible = possible and len(remaining) - sizes[name] >= len(set(rest))
        stratified = stratified and possible
        remaining, drawn = train_test_split(
            remaining, test_size=sizes[name], random_state=seed, stratify=rest if possible else None
        )
        found.update(dict.fromkeys(drawn, name))
        remaining.sort()
    (last,) = set(sizes) - set(found.values())
    found.update(dict.fromkeys(remaining, last))
    return found, stratified


def _sizes(patients: int, fractions: Mapping[str, float]) -> dict[str, int]:
    """How many patients each split gets: at least one, in sum all."""
    total = sum(fractions.values())
    sizes = {name: max(1, round(patients * fraction / total)) for name, fraction in fractions.items()}
    largest = max(fractions, key=lambda name: fractions[name])
    sizes[largest] += patients - sum(sizes.values())
    return sizes


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
