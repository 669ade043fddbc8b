"""From the labels of a labelling tool to the two classes."""

import unicodedata
from collections import Counter
from collections.abc import Iterable, Sequence

from ...layout.data_set import CDH_CLASSES
from ...layout.levels import without_level


class ClassMap:
    """Labels to classes.

    Case, spaces, underscores and hyphens do not count, and a level in the label ("protrusion C5/6") is left aside
    unless the whole label is mapped.

    Args:
        pairs: texts "label=class" with one of CDH_CLASSES; the two classes' own names are always known.
        ignored: labels whose shapes are to be left out.

    Raises:
        ValueError: a text is no such pair, or maps a label twice.
    """

    def __init__(self, pairs: Iterable[str] = (), ignored: Sequence[str] = ()) -> None:
        self._categories = {_plain(name): index for index, name in enumerate(CDH_CLASSES, start=1)}
        self.pairs = list(pairs)
        for pair in self.pairs:
            label, separator, name = pair.rpartition("=")
            if not separator or not label.strip() or name.strip() not in CDH_CLASSES:
                raise ValueError(f"--classes {pair!r}: write LABEL=CLASS with one of {', '.join(CDH_CLASSES)}.")
            category = CDH_CLASSES.index(name.strip()) + 1
            if self._categories.setdefault(_plain(label), category) != category:
                raise ValueError(f"--classes: the label {label!r} has two classes; give it one.")
        self._ignored = {_plain(label) for label in ignored}
        both = [label for label in ignored if _plain(label) in self._categories]
        if both:
            raise ValueError(f"--ignore-label {both[0]!r} is a label that has a class; take one of the two.")

    def is_ignored(self, label: str) -> bool:
        return _plain(label) in self._ignored or _plain(without_level(label)) in self._ignored

    def category(self, label: str) -> int | None:
        """1 or 2, the class's id in the layout; None for a label that is not known."""
        return self._categories.get(_plain(label)) or self._categories.get(_plain(without_level(label)))

    def check(self, labels: Iterable[str]) -> None:
        """Refuse labels without a class.

        Raises:
            ValueError: there are some; all are listed with their numbers.
        """
        unknown = Counter(label for label in labels if not self.is_ignored(label) and self.category(label) is None)
        if unknown:
            listed = ", ".join(f"{label!r} ({count})" for label, count in unknown.most_common())
            first = next(iter(unknown))
            raise ValueError(
                f"labels without a class: {listed}; say which it is, for example "
                f'--classes "{first}={CDH_CLASSES[0]}", or leave its shapes out by --ignore-label "{first}".'
            )


def _plain(label: str) -> str:
    text = unicodedata.normalize("NFC", label).casefold()
    return "".join(letter for letter in text if letter not in " _-")
