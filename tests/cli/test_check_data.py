"""tools/check_data.py from its command line: what it prints, writes and returns, and what bad input does to it."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from landmark_sets import LandmarkSet
from layouts import HEIGHT, WIDTH, Layout, picture
from PIL import Image
from tiny_runs import load_tool

from meddet_d2 import formats
from meddet_d2.curation.checking import image_facts as facts

ROOT = Path(__file__).resolve().parents[2]
check_data = load_tool("check_data")


def main(*arguments):
    return check_data.main([str(argument) for argument in arguments])


def codes(capsys):
    """The codes of what --quiet printed."""
    return [line.split()[0] for line in capsys.readouterr().out.splitlines()]


def leak(content):
    content["images"][0]["patient_id"] = "secret-1"


def unknown_level(content):
    content["annotations"][0]["level"] = "?"


def test_nothing_wrong(tmp_path, capsys):
    Layout(tmp_path / "data")
    assert main(tmp_path / "data", "--strict", "--output", tmp_path / "out") == 0
    printed = capsys.readouterr()
    assert printed.out.splitlines() == [
        f"{tmp_path}/data/train.json, images in {tmp_path}/data/images",
        f"{tmp_path}/data/test.json, images in {tmp_path}/data/images",
        "       images  patients  healthy  boxes  protrusion  non-protrusion",
        "train       8         4        1     42          21              21",
        "test        4         2        1     18           9               9",
        "0 errors, 0 warnings, 0 notes.",
    ]
    assert "12/12" in printed.err, "the bar"
    assert json.loads((tmp_path / "out" / "findings.json").read_text()) == {
        "errors": 0,
        "warnings": 0,
        "notes": 0,
        "findings": [],
    }
    counts = json.loads((tmp_path / "out" / "counts.json").read_text())["splits"]
    assert list(counts) == ["train", "test"] and counts["train"]["boxes"] == 42
    assert sorted(os.listdir(tmp_path / "out")) == ["counts.json", "data.html", "findings.json"]


def test_exit_status_of_warnings_and_errors(tmp_path, capsys):
    layout = Layout(tmp_path)
    layout.change(unknown_level)
    assert main(tmp_path, "--quiet") == 0 and codes(capsys) == ["W308"]
    assert main(tmp_path, "--quiet", "--strict") == 1
    layout.change(leak, "test")
    assert main(tmp_path, "--quiet") == 1
    printed = capsys.readouterr()
    assert [line.split()[0] for line in printed.out.splitlines()[-2:]] == ["E121", "W308"] and printed.err == ""


def test_a_finding_in_full(tmp_path):
    layout = Layout(tmp_path / "data")
    layout.change(leak, "test")
    layout.change(unknown_level)
    assert main(tmp_path / "data", "--output", tmp_path / "out") == 1
    text = (tmp_path / "out" / "findings.json").read_text()
    assert json.loads(text)["findings"] == [
        {
            "code": "E121",
            "name": "leak",
            "severity": "error",
            "split": "test",
            "image_id": 20,
            "annotation_id": None,
            "file_name": "020.png",
            "text": "the patient of images 2, 3 of train is also that of image 20 of test; move all images of a "
            "patient to one side.",
        },
        {
            "code": "W308",
            "name": "level-unknown",
            "severity": "warning",
            "split": "train",
            "image_id": 2,
            "annotation_id": 1,
            "file_name": "002.png",
            "text": "its level is not of the form C5/6 or C7/T1.",
        },
    ]


def test_no_file_that_is_written_names_a_patient_or_a_folder(tmp_path):
    layout = Layout(tmp_path / "data")
    layout.change(leak, "test")
    layout.change(lambda content: content["images"][1].update(file_name="gone.png"))
    layout.file(5).write_bytes(b"")
    assert main(tmp_path / "data", "--output", tmp_path / "out") == 1
    for file in (tmp_path / "out").iterdir():
        text = file.read_text()
        assert "secret" not in text and str(tmp_path) not in text


def test_nothing_is_overwritten_without_force(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(check_data, "write_page", lambda report, path: path.write_text("a page"))
    Layout(tmp_path / "data")
    (tmp_path / "out").mkdir()
    assert main(tmp_path / "data", "--output", tmp_path / "out", "--quiet") == 0, "an empty folder is no reason"
    (tmp_path / "out" / "data.html").write_text("mine")
    (tmp_path / "out" / "other.txt").write_text("mine")
    assert main(tmp_path / "data", "--output", tmp_path / "out") == 2
    printed = capsys.readouterr()
    assert printed.out == "" and printed.err.startswith(f"error: {tmp_path}/out is not empty;")
    assert (tmp_path / "out" / "data.html").read_text() == "mine"
    assert main(tmp_path / "data", "--output", tmp_path / "out", "--force", "--quiet") == 0
    assert (tmp_path / "out" / "data.html").read_text() == "a page"
    assert (tmp_path / "out" / "other.txt").read_text() == "mine"
    assert main(tmp_path / "data", "--output", tmp_path / "out" / "other.txt", "--force") == 2
    assert "is a file" in capsys.readouterr().err


@pytest.mark.parametrize(
    "arguments",
    [[], ["--dataset", "x"], ["--dataset", "x", "--config-file", "y", "--images", "z"], ["a", "--unknown"]],
)
def test_wrong_usage(arguments):
    with pytest.raises(SystemExit) as caught:
        main(*arguments)
    assert caught.value.code == 2


def test_an_unknown_data_set_is_named(capsys):
    assert main("--dataset", "necks", "--config-file", ROOT / "configs" / "quickstart.yaml") == 2
    assert capsys.readouterr().err.startswith("error: --dataset necks: no such data set; cdh1848_test, ")


def test_images_may_lie_elsewhere_and_missing_jsons_do_not_stop_the_others(tmp_path, capsys):
    layout = Layout(tmp_path / "data")
    (tmp_path / "data" / "images").rename(tmp_path / "pictures of necks")
    assert main(tmp_path / "data", tmp_path / "absent", "--images", tmp_path / "pictures of necks", "--quiet") == 1
    (line,) = capsys.readouterr().out.splitlines()
    assert line.startswith("E101 json-missing absent: there is no absent; put it there")
    (tmp_path / "data" / "train.json").write_text("{'images': []}")
    assert main(tmp_path / "data", "--images", tmp_path / "pictures of necks", "--quiet") == 1
    first, second = capsys.readouterr().out.splitlines()
    assert (
        first.startswith("E102 json-broken train: not a json file: it is no json (Expecting property name")
        and second[:4] == "N504"
    )
    assert layout.contents


# --- files -----------------------------------------------------------------------------------------------------------


def enormous(path):
    """A sound PNG header of 40,000 x 40,000 pixels."""
    Image.new("1", (8, 8)).save(path, "PNG")
    content = bytearray(path.read_bytes())
    content[16:24] = (40_000).to_bytes(4, "big") * 2
    import zlib

    content[29:33] = zlib.crc32(content[12:29]).to_bytes(4, "big")
    path.write_bytes(content)


def animated(path):
    frames = [Image.fromarray(picture(seed)) for seed in (1, 2)]
    frames[0].save(path, "PNG", save_all=True, append_images=frames[1:])


def colours(mode, kind):
    def write(path):
        grey = Image.fromarray(picture(3))
        image = Image.merge("RGB", [grey] * 3).convert(mode)
        if mode == "RGBA":
            image.putalpha(255)
        image.save(path, kind)

    return write


FILES = {
    "truncated": (lambda path: path.write_bytes(path.read_bytes()[:500]), ["E201"]),
    "zero bytes": (lambda path: path.write_bytes(b""), ["E201"]),
    "no image": (lambda path: path.write_text("PatientName: Jane Doe"), ["E201"]),
    "enormous": (enormous, ["E201"]),
    "animated": (animated, ["E201"]),
    "a folder": (lambda path: path.unlink() or path.mkdir(), ["E117"]),
    "a dead link": (lambda path: path.unlink() or path.symlink_to("nowhere"), ["E117"]),
    "cmyk": (colours("CMYK", "JPEG"), []),
    "rgba": (colours("RGBA", "PNG"), []),
    "palette": (lambda path: Image.fromarray(picture(3)).convert("P").save(path, "PNG"), []),
    "16 bits": (lambda path: Image.fromarray(picture(3).astype(np.uint16) * 100).save(path, "PNG"), ["N501"]),
    "floats": (lambda path: Image.fromarray(picture(3) / np.float32(7)).save(path, "TIFF"), ["N501"]),
    "not a number": (
        lambda path: Image.fromarray(np.full((HEIGHT, WIDTH), np.nan, np.float32)).save(path, "TIFF"),
        ["E201"],
    ),
}


@pytest.mark.parametrize("kind", FILES)
def test_one_bad_file_is_named_and_the_others_are_checked(kind, tmp_path, capsys):
    write, expected = FILES[kind]
    layout = Layout(tmp_path / "data")
    write(layout.file(3))
    status = main(tmp_path / "data", "--quiet")
    printed = capsys.readouterr()
    assert [line.split()[0] for line in printed.out.splitlines()] == expected and printed.err == ""
    assert status == int(any(code[0] == "E" for code in expected))
    for line in printed.out.splitlines():
        assert "3" in line and "Jane" not in line and str(tmp_path) not in line


def test_files_outside_the_folder_are_never_opened(tmp_path, capsys, monkeypatch):
    layout = Layout(tmp_path)
    (tmp_path / "outside.png").write_bytes(layout.file(4).read_bytes())
    opened = []
    monkeypatch.setattr(facts, "read_image", lambda path: opened.append(path.name) or formats.read_image(path))
    for name in ("../outside.png", str(tmp_path / "outside.png")):
        layout.change(lambda content, name=name: content["images"][1].update(file_name=name))
        assert main(tmp_path, "--quiet") == 1 and codes(capsys) == ["E114", "N504"]
    assert len(opened) == 2 * 11 and "outside.png" not in opened


def test_names_with_spaces_and_letters_of_the_world(tmp_path, capsys):
    folder = tmp_path / "meine Däten 頸椎"
    layout = Layout(folder)
    layout.file(3).rename(folder / "images" / "Hals 頸 ö.png")
    layout.change(lambda content: content["images"][1].update(file_name="Hals 頸 ö.png", width=95))
    assert main(folder, "--quiet") == 1
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("E202 other-size train image 3 (Hals 頸 ö.png): it is 96 x 128 pixels")


# --- registered data sets, other data, no torch ----------------------------------------------------------------------


@pytest.mark.parametrize("name", ["cdh_phantom_train", "cdh_phantom_landmarks_train"])
def test_the_phantom_has_no_errors_and_no_warnings(name, tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("DETECTRON2_DATASETS", str(tmp_path / "sets"))
    config = tmp_path / "tiny.yaml"
    config.write_text(
        f"_BASE_: {ROOT / 'configs' / 'quickstart.yaml'}\n"
        "DATASETS:\n  PHANTOM:\n    TRAIN_PATIENTS: 10\n    TEST_PATIENTS: 5\n"
    )
    arguments = ("--dataset", name, "--config-file", config, "--quiet", "--output", tmp_path / "out")
    assert main(*arguments, "--strict") == 0
    assert set(codes(capsys)) <= {"N502"}
    counts = json.loads((tmp_path / "out" / "counts.json").read_text())["splits"]
    assert {name: one["images"] for name, one in counts.items()} == {"train": 20, "test": 10}
    assert "no figure on them is a figure on patients" in (tmp_path / "out" / "data.html").read_text()


def test_a_landmark_set_is_counted_by_its_points(tmp_path, capsys):
    made = LandmarkSet(tmp_path / "marks")
    made.change(lambda content: content["annotations"][0]["landmarks"].__setitem__(2, 0))
    assert main(made.folder, "--output", tmp_path / "out", "--patient-key", "patient_id") == 0
    out = capsys.readouterr().out
    heading, train, test = out.splitlines()[2:5]
    assert " ".join(heading.split()) == "images patients landmarks not labelled with spacing mm of a pixel"
    assert train.split() == ["train", "4", "2", "15", "1", "4", "0.4", "to", "0.5"]
    assert test.split()[:5] == ["test", "2", "1", "8", "0"]
    counts = json.loads((tmp_path / "out" / "counts.json").read_text())["splits"]["train"]
    assert counts["missing_by_landmark"] == {"front": 1}
    page = (tmp_path / "out" / "data.html").read_text()
    assert "Landmarks that are not labelled" in page and "Traceback" not in page


@pytest.mark.skipif("MEDDET_SPIDER_LUMBAR" not in os.environ, reason="MEDDET_SPIDER_LUMBAR names no folder")
def test_spider_lumbar_has_no_errors(tmp_path, capsys):
    assert main(os.environ["MEDDET_SPIDER_LUMBAR"], "--quiet", "--output", tmp_path) == 0
    assert codes(capsys) == ["W222", "W222", "W302"]
    assert "Lumbar images" in (tmp_path / "data.html").read_text()


def test_a_folder_is_checked_without_torch(tmp_path):
    Layout(tmp_path / "data").change(leak, "test")
    script = (
        "import sys\nsys.modules['torch'] = None\nsys.modules['detectron2'] = None\nsys.argv[0] = sys.argv[1]\n"
        "import runpy\nsys.argv = sys.argv[1:]\nrunpy.run_path(sys.argv[0], run_name='__main__')\n"
    )
    command = [sys.executable, "-c", script, ROOT / "tools" / "check_data.py", tmp_path / "data", "--quiet"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [*command, "--output", tmp_path / "out"], capture_output=True, text=True, env=environment, timeout=120
    )
    assert (done.returncode, done.stderr) == (1, "") and done.stdout.startswith("E121 leak test image 20")
    assert (tmp_path / "out" / "data.html").is_file()
