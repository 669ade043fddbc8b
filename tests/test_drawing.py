"""Classes told apart: colours, dashes, inks and the legend, for any number of them."""

from itertools import combinations

import numpy as np
import pytest

from meddet_d2.drawing import BACKGROUND, CAPTION, COLORS, DASHES, color_of, draw_legend, ink_of


def rgb(text: str) -> np.ndarray:
    return np.array(list(bytes.fromhex(text[1:])))


def test_the_first_colours_are_okabe_and_ito_s():
    assert tuple(map(color_of, range(6))) == COLORS and color_of(0) == "#E69F00" and color_of(1) == "#56B4E9"
    assert (ink_of(0), ink_of(1)) == ("#b25f00", "#0f6aa6")


@pytest.mark.parametrize(("classes", "least"), [(6, 75), (20, 75), (100, 50)])
def test_colours_of_many_classes_lie_apart_and_are_seen_on_black(classes, least):
    colors = [rgb(color_of(label)) for label in range(classes)]
    assert min(np.linalg.norm(one - other) for one, other in combinations(colors, 2)) > least
    assert all(np.linalg.norm(color - rgb(BACKGROUND)) > 80 for color in colors)
    assert len({(color_of(label), label % len(DASHES)) for label in range(classes)}) == classes


def test_inks_are_dark_enough_for_white():
    for label in range(100):
        assert rgb(ink_of(label)) @ (0.3, 0.59, 0.11) < 160, label


def test_a_legend_is_broken_where_it_is_too_wide():
    names = [f"a class with the number {number}" for number in range(9)]
    line, block = draw_legend(names, "a text"), draw_legend(names, "a text", width=600)
    assert line.height == CAPTION and line.width > 1500
    assert block.width <= 600 and block.height >= 3 * CAPTION
    for label in range(9):
        assert (np.asarray(block) == rgb(color_of(label))).all(axis=2).any(), label
    assert draw_legend(names[:2], width=600).tobytes() == draw_legend(names[:2]).tobytes()
