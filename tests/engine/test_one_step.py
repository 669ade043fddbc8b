"""docs/one_step.md names the files of a step: these, and no others."""

import re
import sys
from pathlib import Path

import meddet_d2
from detectron2.utils.events import EventStorage
from meddet_d2.engine import DistillationTrainer

PACKAGE = Path(meddet_d2.__file__).resolve().parent
PAGE = PACKAGE.parent / "docs" / "one_step.md"
# Where images come from is another page's matter.
ROOMS = ("distillation", "engine", "hardware", "modeling")


def named() -> tuple[list[str], list[str]]:
    """The files to open, from the page's table, and those that they call."""
    text = PAGE.read_text()
    table = re.findall(r"^\| \d+ \| `([\w/]+\.py)` \|", text, re.MULTILINE)
    called = re.findall(r"`([\w/]+\.py)`", text.split("**What these files call.**")[1])
    return table, called


def entered(call) -> set[str]:
    """The files of the package in which a function began while ``call`` ran."""
    found = set()

    def note(frame, event, argument):
        path = Path(frame.f_code.co_filename)
        if event == "call" and PACKAGE in path.parents and frame.f_code.co_name != "<module>":
            found.add(path.relative_to(PACKAGE).as_posix())

    sys.setprofile(note)
    try:
        call()
    finally:
        sys.setprofile(None)
    return {path for path in found if path.split("/")[0] in ROOMS}


def test_the_page_has_at_most_eleven_files_and_they_are_there():
    table, called = named()
    assert 5 < len(table) <= 11 and not set(table) & set(called)
    assert [path for path in (*table, *called) if not (PACKAGE / path).is_file()] == []


def test_a_step_enters_the_files_of_the_page_and_no_others(distil_cfg):
    trainer = DistillationTrainer(distil_cfg("DISTILL.MEDDET.AATM.WARMUP", 0.0))

    def step():
        # The first hook is the method's; the others belong to the engine and to what comes after a step.
        trainer._hooks[0].before_step()
        trainer.run_step()
        trainer._hooks[0].after_step()

    with EventStorage(0) as trainer.storage:
        trainer.iter = 0
        step()
        table, called = named()
        assert entered(step) == {*table, *called}
