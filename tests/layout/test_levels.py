"""Names of discs in texts."""

import pytest

from meddet_d2.layout.levels import DISCS, find_level, without_level
from meddet_d2.phantom.anatomy import LEVELS


def test_the_discs_are_those_of_the_spine_and_named_as_the_phantoms():
    assert DISCS[:6] == tuple(LEVELS) and DISCS[-1] == "L5/S1" and len(DISCS) == 23


@pytest.mark.parametrize("disc", DISCS)
def test_every_disc_is_known_in_every_way_it_is_written(disc):
    above, below = disc.split("/")
    below = below if below[0].isalpha() else above[0] + below
    short = below[1:]
    forms = [
        disc,
        f"{above}-{below}",
        f"{above}/{below}",
        f"{above}_{short}",
        f"{above} {below}".lower(),
        above + below,
    ]
    forms += [] if above + short in ("T12",) else [above + short]
    if above[0] == "T":
        forms += [f"Th{above[1:]}/{below.replace('T', 'Th')}", f"D{above[1:]}-{below.replace('T', 'D')}"]
    for form in forms:
        assert find_level(form) == find_level(form, whole=True) == disc, form
        assert find_level(f"protrusion {form} (left)") == disc, form
        assert find_level(f"protrusion {form}", whole=True) is None
        assert without_level(f"{form}_protrusion") == "protrusion", form


@pytest.mark.parametrize(
    "text", ["", "protrusion", "C5", "T12", "Th12", "C4/6", "C5/C7", "C1/2", "5/6", "disc56", "L5/6", "C5/6 and C6/7"]
)
def test_other_texts_name_no_disc(text):
    assert find_level(text) is None
