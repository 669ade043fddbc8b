"""From the labels of a labelling tool to the classes of a data set."""

import unicodedata
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence

from ...layout.data_set import CDH_CLASSES
from ...layout.levels import find_level, without_level
from ...layout.validate import name_mistake
from .omissions import Findings


class ClassMap:
    """Labels to classes.

    Case, spaces, underscores and hyphens do not count, and a level in the label ("protrusion C5/6") is left aside
    unless the whole label is named.

    Args:
        named: texts "CLASS" or "LABEL=CLASS"; the classes are in the order in which they first stand here. Texts
            LABEL=CLASS that name none but CDH-1848's classes stand for both of these.
        ignored: labels whose shapes are to be left out.
        only: the classes that there must be; any if empty.
        option: what ``named`` is called in errors. "--landmarks": a level in a label counts, and each has to be named.

    Attributes:
        classes: the names in the order of their ids; without ``named`` and ``only`` empty until `settle`.

    Raises:
        ValueError: a text is no such pair, names a class that cannot be, or maps a label twice.
    """

    def __init__(
        self,
        named: Sequence[str] = (),
        ignored: Sequence[str] = (),
        only: Sequence[str] = (),
        option: str = "--classes",
    ) -> None:
        self._known: dict[str, str] = {}
        self._ignored = {_plain(label): label for label in ignored}
        self._only, self._option = tuple(only), option
        self._levels = option == "--classes"
        found = []
        for text in named:
            label, pair, name = (part.strip() for part in text.rpartition("="))
            if (pair and not label) or (only and name not in only):
                choice = f"one of {', '.join(only)}" if only else "the name of a class"
                raise ValueError(f"{option} {text!r}: write LABEL=CLASS with {choice}{self._elsewhere()}.")
            if wrong := name_mistake(name):
                raise ValueError(f"{option} {text!r}: the class {name!r} {wrong}; give it another name.")
            found.append(name)
            self._learn(label or name, name)
        pairs = self._levels and named and all("=" in text for text in named) and set(found) <= set(CDH_CLASSES)
        self.classes = self._only or (CDH_CLASSES if pairs else tuple(dict.fromkeys(found)))
        self._learn_classes()

    def is_ignored(self, label: str) -> bool:
        return _plain(label) in self._ignored or (self._levels and _plain(without_level(label)) in self._ignored)

    def category(self, label: str) -> int | None:
        """The id of a label's class, from 1; None for a label that is not known."""
        name = self._known.get(_plain(label))
        if name is None and self._levels:
            name = self._known.get(_plain(without_level(label)))
        return None if name is None else self.classes.index(name) + 1

    def settle(self, labels: Iterable[str], findings: Findings) -> None:
        """Let the labels be the classes, if nothing else says them; otherwise refuse labels without a class.

        Labels that are all CDH-1848's classes stand for both of these. Others are sorted.

        Raises:
            ValueError: there are labels without a class, all listed with their numbers; or a label cannot be a class.
        """
        counts = Counter(label for label in labels if not self.is_ignored(label))
        if not self.classes:
            self._take(counts, findings)
        unknown = [(label, count) for label, count in counts.most_common() if self.category(label) is None]
        if unknown:
            listed = ", ".join(f"{label!r} ({count})" for label, count in unknown)
            first = unknown[0][0]
            raise ValueError(
                f"labels without a class: {listed}; say which it is, for example "
                f'{self._option} "{first}={self.classes[0]}", or leave its shapes out by --ignore-label "{first}"'
                f"{self._elsewhere()}."
            )

    def _take(self, counts: Counter[str], findings: Findings) -> None:
        spellings: dict[str, Counter[str]] = defaultdict(Counter)
        for label, count in counts.items():
            # What is nothing but a level is a class of that name.
            name = (find_level(label) and without_level(label)) or label
            spellings[_plain(name)][name] += count
        if set(spellings) <= set(map(_plain, CDH_CLASSES)):
            self.classes = CDH_CLASSES
        else:
            usual = (min(names, key=lambda name: (-names[name], name)) for names in spellings.values())
            self.classes = tuple(sorted(usual, key=lambda name: (name.casefold(), name)))
        for name in self.classes:
            if wrong := name_mistake(name):
                raise ValueError(f"the label {name!r} {wrong}, so it can be no class; name one: --classes LABEL=CLASS.")
            if len(names := spellings[_plain(name)]) > 1:
                findings.add("joined_labels", f"{name}: {', '.join(map(repr, sorted(names)))}")
        self._learn_classes()

    def _learn(self, label: str, name: str) -> None:
        if self._known.setdefault(_plain(label), name) != name:
            raise ValueError(f"{self._option}: the label {label!r} has two classes; give it one.")

    def _learn_classes(self) -> None:
        for name in self.classes:
            self._learn(name, name)
        for plain, label in self._ignored.items():
            if plain in self._known:
                raise ValueError(f"--ignore-label {label!r} is a label that has a class; take one of the two.")

    def _elsewhere(self) -> str:
        return "; to have other classes, choose a folder of another name by --output" if self._only else ""


def _plain(label: str) -> str:
    text = unicodedata.normalize("NFC", label).casefold()
    return "".join(letter for letter in text if letter not in " _-")
