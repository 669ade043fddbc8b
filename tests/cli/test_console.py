"""The commands that README and docs print: each exists, and its own parser takes its options."""

import importlib
import re
import shlex

import pytest
from tiny_runs import ROOT

from meddet_d2.cli import console, prepare_images, prepare_landmarks, prepare_spider

PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md")), ROOT / "datasets" / "README.md"]
PREPARATIONS = {"images": prepare_images, "spider": prepare_spider, "landmarks": prepare_landmarks}


def commands(text: str) -> list[list[str]]:
    """The words of each command of this project in a page's blocks of bash, without what is around it."""
    found = []
    for block in re.findall(r"^ *```bash\n(.*?)^ *```", text, re.DOTALL | re.MULTILINE):
        for line in block.replace("\\\n", " ").splitlines():
            match = re.search(r"(?:^|[\s'])(meddet|(?:tools|datasets)/\w+\.py) (?=[\w-])([^|;&#]*)", line)
            if match:
                # A shell's variable stands for a number.
                words = re.sub(r"\$\w+", "1", match[2].rstrip("' "))
                found.append([match[1], *shlex.split(words)])
    return found


def parse(program: str, arguments: list[str]) -> None:
    if program != "meddet":
        module = importlib.import_module(f"meddet_d2.cli.{program.split('/')[1].removesuffix('.py')}")
    elif arguments[0] == "prepare":
        module, arguments = PREPARATIONS[arguments[1]], arguments[2:]
    else:
        module, arguments = importlib.import_module(console.COMMANDS[arguments[0]][0]), arguments[1:]
    if hasattr(module, "parse_args"):
        module.parse_args(arguments)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_the_pages_commands_are_understood(page):
    for program, *arguments in commands(page.read_text(encoding="utf-8")):
        try:
            parse(program, arguments)
        except SystemExit as end:
            assert end.code == 0, f"{program} {shlex.join(arguments)}"  # --help


def test_commands_are_found():
    text = "```bash\npython tools/predict.py in --output out  # why\nX=1 meddet train \\\n  --resume && ls\n```\n"
    assert commands(text) == [["tools/predict.py", "in", "--output", "out"], ["meddet", "train", "--resume"]]
    assert sum(len(commands(page.read_text(encoding="utf-8"))) for page in PAGES) > 40
