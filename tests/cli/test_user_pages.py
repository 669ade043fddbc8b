"""docs/how_to/your_*.md: their files are written and their commands run as they stand there, on tiny data.

The commands of several_gpus.md run in test_processes.py.
"""

import json
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from class_sets import write_coco
from PIL import Image
from tiny_runs import ROOT, TEACHER_CONFIGS, TINY_DATA, TINY_STUDENT

# What makes a command of the pages one of seconds. It stands in the file that a page's own config is based on.
SHORT = [
    *TINY_DATA, "MODEL.DEVICE", "cpu", "MODEL.BOTTOM_UP.NAME", TINY_STUDENT,
    "SOLVER.MAX_ITER", 2, "SOLVER.WARMUP_ITERS", 1, "SOLVER.IMS_PER_BATCH", 2,
]  # fmt: skip
SHORT_TEACHERS = [
    "DISTILL.TEACHERS.CONFIGS", TEACHER_CONFIGS, "DISTILL.TRAIN_ALONE", False,
    "DISTILL.TEACHERS.OPTS", ("SOLVER.MAX_ITER", 1, "SOLVER.WARMUP_ITERS", 0, "SOLVER.IMS_PER_BATCH", 2),
]  # fmt: skip


def page_text(page: str) -> str:
    return (ROOT / "docs" / "how_to" / f"{page}.md").read_text(encoding="utf-8")


def blocks(page: str, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", page_text(page), re.DOTALL | re.MULTILINE)


def process(command: str, folder: Path) -> subprocess.CompletedProcess:
    """A command as it is typed in ``folder``, which is the home folder, too."""
    program, *arguments = shlex.split(command)
    if program == "meddet":
        arguments = ["-m", "meddet_d2", *arguments]
    else:
        assert program == "python", command
    arguments = [re.sub("^~", str(folder), one) for one in arguments]  # as the shell does
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "HOME": str(folder)}
    environment["DETECTRON2_DATASETS"] = str(folder / "datasets")
    return subprocess.run(
        [sys.executable, *arguments], cwd=folder, env=environment, capture_output=True, text=True, timeout=500
    )


def run_all(page: str, folder: Path) -> None:
    commands = "\n".join(blocks(page, "bash")).replace("\\\n", " ").splitlines()
    assert len(commands) >= 2
    for command in commands:
        done = process(command, folder)
        assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"


def write_base(folder: Path, name: str, *options) -> None:
    """The config ``name`` of this project under the same name in ``folder``, made short."""
    content = {"_BASE_": str(ROOT / "configs" / name.removeprefix("configs/"))}
    for key, value in zip(options[::2], options[1::2], strict=True):
        *sections, last = key.split(".")
        place = content
        for section in sections:
            place = place.setdefault(section, {})
        place[last] = list(value) if isinstance(value, tuple) else value
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(yaml.safe_dump(content))


@pytest.fixture
def checkout(tmp_path):
    """A folder with the project's scripts, as a checkout has them."""
    (tmp_path / "tools").symlink_to(ROOT / "tools")
    return tmp_path


@pytest.mark.slow
@pytest.mark.parametrize(
    ("page", "base", "options"),
    [
        ("your_backbone", "configs/quickstart/Base-Quickstart.yaml", SHORT),
        ("your_method", "configs/quickstart.yaml", SHORT + SHORT_TEACHERS),
    ],
)
def test_a_plugins_page(page, base, options, tmp_path):
    for text in blocks(page, "python") + blocks(page, "yaml"):
        (tmp_path / re.match(r"# (\S+)\n", text).group(1)).write_text(text)
    write_base(tmp_path, base, *options)
    run_all(page, tmp_path)
    # Without the plugin, the config that the training left says what is missing.
    config = next((tmp_path / "output").glob("my_*/config.yaml"))
    done = process(f"meddet analyze --config-file {config}", tmp_path)
    name = "my_" + page.removeprefix("your_")
    assert done.returncode == 1 and f"was used with the plugin {name}, which is not loaded" in done.stderr
    assert len(page_text(page).splitlines()) <= 80


@pytest.mark.slow
def test_the_page_of_classes(checkout):
    """Its json is a person's own, in the home folder; the page's config is based on a quickstart made short."""
    (text,) = (text for text in blocks("your_classes", "yaml") if text.startswith("# mine.yaml"))
    (checkout / "mine.yaml").write_text(text)
    write_base(checkout, "quickstart.yaml", *SHORT, *SHORT_TEACHERS)
    classes = {7: "cyst", 9: "mass"}
    write_coco(checkout / "chest", "train", images=4, categories=classes)
    write_coco(checkout / "chest", "test", first=20, categories=classes)
    run_all("your_classes", checkout)
    record = json.loads((checkout / "reading" / "clinical.json").read_text())
    assert record["subject"]["findings"] == ["cyst", "mass"]
    found = json.loads((checkout / "found" / "predictions.json").read_text())
    assert [one["name"] for one in found["categories"]] == ["cyst", "mass"]


@pytest.mark.slow
def test_the_page_of_a_data_set(checkout):
    """The page's json, and one of another patient that is like it."""
    (text,) = blocks("your_data_set", "json")
    for name, number in (("train", 1), ("test", 2)):
        content = json.loads(text)
        (image,) = content["images"]
        image |= {"file_name": f"a/{number}.png", "case": f"p{number}"}
        (box,) = content["annotations"]
        # A box of each class.
        content["annotations"].append({**box, "id": 2, "category_id": 9, "bbox": [100, 300, *box["bbox"][2:]]})
        path = checkout / "chest" / "slices" / image["file_name"]
        path.parent.mkdir(parents=True, exist_ok=True)
        shade = Image.radial_gradient("L").rotate(90 * number).resize((image["width"], image["height"]))
        shade.crop((number, 0, image["width"], image["height"])).resize(shade.size).save(path)
        (checkout / "chest" / f"{name}.json").write_text(json.dumps(content))
    run_all("your_data_set", checkout)
