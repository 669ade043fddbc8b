"""docs/how_to/your_*.md: their files are written and their commands run as they stand there, on tiny data."""

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from tiny_runs import ROOT, TINY_DATA

PAGES = ("your_backbone", "your_method")
# So that a command takes seconds; what the pages set themselves stays.
SHORT = [
    *TINY_DATA,
    *("SOLVER.MAX_ITER", 2, "SOLVER.IMS_PER_BATCH", 2, "DISTILL.TRAIN_ALONE", False),
    *("DISTILL.TEACHERS.OPTS", "('SOLVER.MAX_ITER', 1, 'SOLVER.IMS_PER_BATCH', 2)", "MODEL.DEVICE", "cpu"),
]


def blocks(page: str, language: str) -> list[str]:
    text = (ROOT / "docs" / "how_to" / f"{page}.md").read_text(encoding="utf-8")
    return re.findall(rf"^```{language}\n(.*?)^```", text, re.DOTALL | re.MULTILINE)


def run(command: str, folder: Path, options=()) -> str:
    program, *arguments = shlex.split(command)
    assert program == "meddet", command
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "DETECTRON2_DATASETS": str(folder / "datasets")}
    done = subprocess.run(
        [sys.executable, "-m", "meddet_d2", *arguments, *map(str, options)],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        timeout=500,
    )
    assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
    return done.stdout + done.stderr


@pytest.mark.slow
@pytest.mark.parametrize("page", PAGES)
def test_the_pages_files_and_commands_work(page, tmp_path):
    for text in blocks(page, "python") + blocks(page, "yaml"):
        (tmp_path / re.match(r"# (\S+)\n", text).group(1)).write_text(text)
    commands = "\n".join(blocks(page, "bash")).replace("\\\n", " ").splitlines()
    assert len(commands) >= 2
    for command in commands:
        run(command, tmp_path, SHORT)
    # Without the plugin, the config that the training left says what is missing.
    config = next((tmp_path / "output").glob("my_*/config.yaml"))
    done = subprocess.run(
        [sys.executable, "-m", "meddet_d2", "analyze", "--config-file", str(config)],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=300,
    )
    name = "my_" + page.removeprefix("your_")
    assert done.returncode == 1 and f"was used with the plugin {name}, which is not loaded" in done.stderr
    pages = (ROOT / "docs" / "how_to" / f"{page}.md").read_text()
    assert len(pages.splitlines()) <= 80
