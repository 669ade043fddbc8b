"""The level of a disc from the nearest disc centre, and what is not known."""

import numpy as np
import pytest

from meddet_d2.layout.disc_levels import NO_CENTRE, levels_of
from meddet_d2.layout.levels import DISCS

NECK = DISCS[:6]
BACK = DISCS[-6:]
# 20 mm from disc to disc at 0.5 mm a pixel, on a line that leans.
SPACING = (0.5, 0.5)


def centres(levels=NECK, step=40.0):
    return {level: np.array([100.0 + 3 * number, 50.0 + step * number]) for number, level in enumerate(levels)}


def middles(places):
    return np.array(list(places.values()))


def moved(points, x, y):
    return points + np.array([x, y])


@pytest.mark.parametrize("levels", [NECK, BACK, DISCS])
@pytest.mark.parametrize("spacing", [SPACING, None])
def test_each_disc_has_the_level_of_its_centre(levels, spacing):
    found = levels_of(moved(middles(centres(levels)), 4.0, -5.0), centres(levels), spacing)
    assert found.names == levels and not found.remarks
    distance = np.hypot(4, 5) * (0.5 if spacing else 1)
    assert found.distances == pytest.approx([distance] * len(levels)) and found.unit == ("mm" if spacing else "px")


def test_a_disc_beyond_the_limit_has_no_level():
    places = middles(centres())
    # 16 pixels are 8 mm; without a spacing the limit is 0.4 of a step of 40.1 pixels.
    for spacing in (SPACING, None):
        assert levels_of(moved(places, 15.9, 0), centres(), spacing).names == NECK
        far = levels_of(moved(places, 16.1, 0), centres(), spacing)
        assert far.names == (None,) * 6 and len(far.remarks) == 6
    assert (
        "disc 3 has no level: no disc centre within 8.0 mm"
        in levels_of(moved(places, 16.1, 0), centres(), SPACING).remarks
    )


def test_each_side_of_a_pixel_counts_by_its_own_spacing():
    place = middles(centres())[:1]
    assert levels_of(moved(place, 0, 12.0), centres(), (0.5, 0.9)).names == ("C2/3",)
    assert levels_of(moved(place, 12.0, 0), centres(), (0.5, 0.9)).names == (None,)


def test_a_missing_centre_gives_no_level_and_its_neighbours_keep_theirs():
    known = {level: place for level, place in centres().items() if level != "C4/5"}
    for spacing in (SPACING, None):
        found = levels_of(middles(centres()), known, spacing)
        assert found.names == ("C2/3", "C3/4", None, "C5/6", "C6/7", "C7/T1")
        assert [line[:22] for line in found.remarks] == ["disc 3 has no level: n"]


def test_of_two_discs_at_a_level_the_nearer_has_it():
    places = middles(centres())
    two = np.concatenate([places[:3], moved(places[2:3], 0, 6.0), places[3:]])
    two[2] += [0, -4.0]
    found = levels_of(two, centres(), SPACING)
    assert found.names == ("C2/3", "C3/4", "C4/5", None, "C5/6", "C6/7", "C7/T1")
    assert found.remarks == ("disc 4 has no level: disc 3 is nearer to C4/5",)
    two[2] += [0, -4.0]
    assert levels_of(two, centres(), SPACING).names[2:4] == (None, "C4/5")


def test_a_centre_on_another_disc_is_not_used():
    for wrong, place in (("C4/5", "C5/6"), ("C4/5", "C3/4"), ("C2/3", "C3/4"), ("C7/T1", "C5/6"), ("C2/3", "C7/T1")):
        known = centres()
        known[wrong] = known[place] + 1.0
        for spacing in (SPACING, None):
            found = levels_of(middles(centres()), known, spacing)
            assert found.names == tuple(level if level != wrong else None for level in NECK), (wrong, place)
            assert (
                f"the disc centre {wrong} does not follow its neighbours as discs do; it is not used" in found.remarks
            )


def test_centres_that_skip_a_disc_give_no_level_at_all():
    """The lower half lies one disc too low: which half is right is not known."""
    true = centres(DISCS[:7])
    known = dict(zip(NECK, [*middles(true)[:3], *middles(true)[4:]], strict=True))
    found = levels_of(middles(true), known, SPACING)
    assert found.names == (None,) * 7
    assert found.remarks == ("the disc centres skip or repeat a disc from C4/5 to C5/6, so no disc has a level",)


def test_without_centres_or_discs_nothing_is_known():
    assert levels_of(middles(centres()), {}, SPACING).remarks == (NO_CENTRE,)
    assert levels_of(np.zeros((0, 2)), centres(), SPACING).names == ()
    one = {"C5/6": centres()["C5/6"]}
    assert levels_of(middles(centres()), one, SPACING).names == (None, None, None, "C5/6", None, None)
    unknown = levels_of(middles(centres()), one)
    assert unknown.names == (None,) * 6 and unknown.remarks[0].startswith("one disc centre and no spacing")


def test_two_centres_at_one_place_give_no_level():
    known = {"C4/5": np.array([100.0, 100.0]), "C5/6": np.array([100.0, 101.0])}
    for spacing in (SPACING, None):
        assert levels_of([[100.0, 104.0]], known, spacing).names == (None,)
