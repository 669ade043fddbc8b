"""The phantom: deterministic, its boxes and classes true to its geometry, its files never half written."""

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from small_phantom import small_phantom

from meddet_d2.phantom import PhantomParams, generate, make_patient
from meddet_d2.phantom import phantom_dataset as phantom
from meddet_d2.phantom.anatomy import LEVELS

PARAMS = small_phantom(noise=(0.02, 0.05))


def contents(folder: Path) -> dict[str, bytes]:
    return {str(file.relative_to(folder)): file.read_bytes() for file in sorted(folder.rglob("*")) if file.is_file()}


def at(made, s: float, d: float) -> float:
    """The image's value at a point in spine coordinates."""
    (point,) = made.canvas.to_pixels(made.neck.spine(np.array([[s, d]])))
    return float(made.image[int(point[1]), int(point[0])])


def test_the_same_parameters_give_the_same_files(tmp_path):
    first = generate(PARAMS, tmp_path / "a")
    again = generate(PARAMS, tmp_path / "b")
    assert first.relative_to(tmp_path / "a") == again.relative_to(tmp_path / "b")
    assert contents(first) == contents(again)
    assert len(contents(first)) == 2 + 2 * 3  # two json files, two slices of three patients


def test_a_patient_does_not_depend_on_the_others(tmp_path):
    many = contents(generate(PARAMS, tmp_path))
    few = contents(generate(replace(PARAMS, train_patients=1), tmp_path))
    shared = [name for name in few if name.endswith(".png")]
    assert len(shared) == 4
    assert all(few[name] == many[name] for name in shared)


def test_another_seed_gives_another_patient():
    (one, _), (other, _) = make_patient(PARAMS, "train", 0), make_patient(replace(PARAMS, seed=4), "train", 0)
    assert not np.array_equal(one.image, other.image)


def test_patients_and_pictures_are_on_one_side_only(tmp_path):
    folder = generate(PARAMS, tmp_path)
    splits = {split: json.loads((folder / f"{split}.json").read_text()) for split in ("train", "test")}
    patients = {split: {image["patient_id"] for image in content["images"]} for split, content in splits.items()}
    assert patients["train"] == {"train-0001", "train-0002"} and patients["test"] == {"test-0001"}
    pictures = {name: data for name, data in contents(folder).items() if name.endswith(".png")}
    assert len(set(pictures.values())) == len(pictures)


def test_the_json_says_that_it_is_a_phantom_and_how_it_was_made(tmp_path):
    content = json.loads((generate(PARAMS, tmp_path) / "test.json").read_text())
    assert content["info"]["phantom"] is True and "phantom" in content["info"]["description"]
    remembered = content["info"]["parameters"]
    remembered = {key: tuple(value) if isinstance(value, list) else value for key, value in remembered.items()}
    assert PhantomParams(**remembered) == PARAMS
    assert [annotation["level"] for annotation in content["annotations"]] == 2 * list(LEVELS)


@pytest.mark.parametrize("number", range(4))
def test_boxes_hold_their_discs(number):
    params = replace(PARAMS, size=512, noise=(0.0, 0.0))
    for made in make_patient(params, "train", number):
        assert made.image.shape == (512, 512) and made.image.dtype == np.uint8
        assert [disc.level for disc, _ in made.boxes] == list(LEVELS)
        for disc, (x, y, width, height) in made.boxes:
            points = made.canvas.to_pixels(made.neck.spine(disc.outline()))
            assert (points >= (x, y)).all() and (points <= (x + width, y + height)).all()
            # As large as CDH-1848's: 42-50 x 18-20 pixels, more with a deep protrusion or where the neck is bent.
            assert 36 < width < 62 and 14 < height < 34
            assert max(height - np.ptp(points[:, 1]), width - np.ptp(points[:, 0])) < 6.0
            # The rim of the disc is dark, the vertebra above it is not.
            rim = at(made, disc.position, -0.93 * disc.width)
            marrow = at(made, disc.position - 0.5 * made.neck.shape["spacing"], -0.55 * disc.width)
            assert rim < 0.6 * marrow


def test_protrusions_reach_into_the_fluid_and_healthy_discs_do_not():
    params = replace(
        PARAMS,
        size=512,
        noise=(0.0, 0.0),
        protrusion_depth=(0.014, 0.021),
        healthy_depth=(0.0, 0.002),
        protrusion_rate=0.5,
    )
    seen = {True: 0, False: 0}
    for number in range(4):
        for made in make_patient(params, "train", number):
            for disc, _ in made.boxes:
                # Two pixels behind the front of the fluid.
                d = made.neck.shape["canal_front"] + 0.004
                behind_disc = at(made, disc.position + disc.shift, d)
                fluid = at(made, disc.position - 0.5 * made.neck.shape["spacing"], d)
                assert (behind_disc < 0.5 * fluid) == disc.protrudes
                seen[disc.protrudes] += 1
    assert min(seen.values()) > 5


def test_depth_alone_tells_the_class():
    depths: dict[bool, list[float]] = {True: [], False: []}
    nuclei: dict[bool, list[float]] = {True: [], False: []}
    params = replace(PARAMS, size=64)
    for number in range(40):
        for made in make_patient(params, "train", number):
            for disc, _ in made.boxes:
                depths[disc.protrudes].append(disc.depth)
                nuclei[disc.protrudes].append(disc.nucleus)
    assert min(depths[False]) >= 0.0 and max(depths[False]) <= 0.004
    assert min(depths[True]) >= 0.007 and max(depths[True]) <= 0.021
    assert 0.25 < len(depths[True]) / 480 < 0.45
    # Dark discs are as frequent among the healthy ones.
    dark = {protrudes: np.mean(np.array(values) < 0.25) for protrudes, values in nuclei.items()}
    assert abs(dark[True] - dark[False]) < 0.12 and 0.3 < dark[False] < 0.7


def test_the_cord_gives_way_to_a_deep_protrusion():
    params = replace(PARAMS, size=512, noise=(0.0, 0.0), protrusion_rate=1.0, protrusion_depth=(0.03, 0.03))
    made = make_patient(params, "train", 0)[0]
    disc, shape = made.boxes[2][0], made.neck.shape
    level, between = disc.position + disc.shift, disc.position - 0.5 * shape["spacing"]
    # Just behind the cord's usual back: pushed there at the disc, fluid between two discs.
    behind = shape["cord_middle"] + 0.5 * shape["cord_width"] + 0.003
    assert at(made, level, behind) < 0.7 * at(made, between, behind)
    # A rim of fluid is left between the protrusion and the cord.
    assert at(made, level, disc.depth + 0.0015) > 1.3 * at(made, level, shape["cord_middle"] + 0.006)


def test_a_high_zoom_leaves_discs_out_of_the_picture_without_a_box():
    made = make_patient(replace(PARAMS, zoom=3.0, size=128), "train", 0)[0]
    assert 0 < len(made.boxes) < 6
    for _, (x, y, width, height) in made.boxes:
        assert x >= 0 and y >= 0 and x + width <= 128.005 and y + height <= 128.005


def test_noise_is_what_was_asked_for():
    quiet = make_patient(replace(PARAMS, noise=(0.0, 0.0)), "train", 0)[0].image.astype(float)
    noisy = make_patient(replace(PARAMS, noise=(0.04, 0.04)), "train", 0)[0].image.astype(float)
    tissue = (quiet > 60) & (quiet < 200)
    assert 0.033 * 255 < (noisy - quiet)[tissue].std() < 0.047 * 255


def test_a_failure_leaves_nothing(tmp_path, monkeypatch):
    def fail_at_the_second(params, split, number, make=make_patient):
        if number == 1:
            raise KeyboardInterrupt
        return make(params, split, number)

    monkeypatch.setattr(phantom, "make_patient", fail_at_the_second)
    with pytest.raises(KeyboardInterrupt):
        generate(PARAMS, tmp_path)
    assert list((tmp_path / "cdh_phantom").iterdir()) == []
    monkeypatch.undo()
    assert len(contents(generate(PARAMS, tmp_path))) == 8


def test_only_a_rename_puts_it_in_its_place(tmp_path, monkeypatch):
    def refuse(source, target):
        assert len(contents(source)) == 8 and not Path(target).exists()
        raise OSError("refused")

    monkeypatch.setattr(Path, "rename", refuse)
    with pytest.raises(OSError, match="refused"):
        generate(PARAMS, tmp_path)
    assert list((tmp_path / "cdh_phantom").iterdir()) == []


def test_the_slower_of_two_uses_the_faster_ones(tmp_path, monkeypatch):
    write, winner = phantom._write, []

    def overtaken(params, folder):
        write(params, folder)
        monkeypatch.setattr(phantom, "_write", write)
        winner.append(generate(params, tmp_path))
        (winner[0] / "mark").touch()

    monkeypatch.setattr(phantom, "_write", overtaken)
    folder = generate(PARAMS, tmp_path)
    assert folder == winner[0] and (folder / "mark").exists()
    assert list(folder.parent.iterdir()) == [folder]


# The generator needs numpy and OpenCV only; without the package's __init__ a process starts in a second, not ten.
TWO_PROCESSES = """
import sys, types
for name in ("meddet_d2", "meddet_d2.data"):
    sys.modules[name] = types.ModuleType(name)
    sys.modules[name].__path__ = [name.replace(".", "/")]
from meddet_d2.phantom import PhantomParams, generate
print("ready", flush=True)
sys.stdin.readline()
print(generate({params!r}, sys.argv[1]))
"""


def test_two_processes_at_once(tmp_path):
    command = [sys.executable, "-c", TWO_PROCESSES.format(params=PARAMS), str(tmp_path)]
    options = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    runs = [subprocess.Popen(command, cwd=Path(__file__).resolve().parents[2], **options) for _ in range(2)]
    assert [run.stdout.readline() for run in runs] == ["ready\n", "ready\n"]
    for run in runs:
        run.stdin.write("go\n")
        run.stdin.flush()
    folders = {run.communicate(timeout=60)[0].strip() for run in runs}
    assert [run.returncode for run in runs] == [0, 0]
    (folder,) = map(Path, folders)
    assert list(folder.parent.iterdir()) == [folder] and len(contents(folder)) == 8


def test_what_is_there_is_not_made_again(tmp_path, monkeypatch):
    folder = generate(PARAMS, tmp_path)
    monkeypatch.setattr(phantom, "_write", lambda *_: pytest.fail("written again"))
    assert generate(PARAMS, tmp_path) == folder


def test_a_root_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(OSError, match="DETECTRON2_DATASETS") as caught:
        generate(PARAMS, tmp_path / "file")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("seed", -1),
        ("size", 10),
        ("zoom", 0.0),
        ("train_patients", 0),
        ("test_patients", 0),
        ("protrusion_rate", 1.5),
        ("protrusion_depth", (0.02, 0.01)),
        ("healthy_depth", (0.0, 0.4)),
        ("noise", (0.1,)),
    ],
)
def test_a_parameter_out_of_range_is_named(key, value):
    with pytest.raises(ValueError, match=f"DATASETS.PHANTOM.{key.upper()}") as caught:
        replace(PARAMS, **{key: value})
    assert "\n" not in str(caught.value)


def test_every_parameter_is_in_the_name():
    changed = {
        "seed": 4,
        "size": 97,
        "zoom": 1.1,
        "train_patients": 3,
        "test_patients": 2,
        "protrusion_depth": (0.007, 0.022),
        "healthy_depth": (0.0, 0.003),
        "protrusion_rate": 0.4,
        "noise": (0.0, 0.0),
    }
    names = {replace(PARAMS, **{key: value}).digest() for key, value in changed.items()}
    assert len(names | {PARAMS.digest()}) == len(changed) + 1
