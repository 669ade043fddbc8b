"""MRI noise: a function of image, kind, severity and seed; stronger with severity; and nothing moves."""

import random

import cv2
import numpy as np
import pytest
import torch
from PIL import Image

from detectron2.data import transforms as T
from detectron2.structures import BoxMode
from meddet_d2.data import MedDetDatasetMapper, MRINoiseTransform, RandomMRINoise
from meddet_d2.data import mri_noise as noise
from meddet_d2.data.mri_noise import CORRUPTIONS, SEVERITIES, corrupt, image_seed
from meddet_d2.phantom import PhantomParams, make_patient

every_corruption = pytest.mark.parametrize("corruption", CORRUPTIONS)
# With something that differs from slice to slice.
SEEDED = [name for name in CORRUPTIONS if name not in ("gibbs", "low_resolution")]
PHANTOM = PhantomParams(
    seed=5, size=160, zoom=1.4, train_patients=1, test_patients=1, protrusion_rate=0.5,
    protrusion_depth=(0.01, 0.02), healthy_depth=(0.0, 0.004), noise=(0.01, 0.02),
)  # fmt: skip


@pytest.fixture(scope="module")
def slices() -> list[np.ndarray]:
    return [make_patient(PHANTOM, "test", number)[0].image for number in range(6)]


def psnr(image: np.ndarray, other: np.ndarray) -> float:
    return float(cv2.PSNR(image, other))


def shift(image: np.ndarray, other: np.ndarray) -> float:
    """Pixels that one slice is moved against another, by the best correlation of the two, whatever their brightness.

    Not by the phase of their spectra, of which Gibbs ringing and low resolution leave the inner part alone.
    """
    stop = cv2.TERM_CRITERIA_EPS | cv2.TERM_CRITERIA_COUNT, 100, 1e-5
    start = np.eye(2, 3, dtype=np.float32)
    _, found = cv2.findTransformECC(image, other, start, cv2.MOTION_TRANSLATION, stop, None, 5)
    return float(np.hypot(*found[:, 2]))


@every_corruption
def test_the_same_bytes_for_the_same_seed(slices, corruption):
    first = corrupt(slices[0], corruption, 3, seed=7)
    np.random.seed(1)
    torch.manual_seed(1)
    random.seed(1)
    assert np.array_equal(first, corrupt(slices[0].copy(), corruption, 3, seed=7))
    others = [corrupt(slices[0], corruption, 3, seed) for seed in (8, 9, 10)]
    assert all(np.array_equal(first, other) for other in others) == (corruption not in SEEDED)


@every_corruption
def test_no_global_random_state_is_touched(slices, corruption):
    corrupt(slices[0], corruption, 2, seed=0)  # the libraries are imported
    np.random.seed(3)
    torch.manual_seed(3)
    random.seed(3)
    before = np.random.get_state(), torch.get_rng_state(), random.getstate()
    corrupt(slices[0], corruption, 2, seed=0)
    state = np.random.get_state()
    assert np.array_equal(before[0][1], state[1]) and before[0][2:] == state[2:]
    assert torch.equal(before[1], torch.get_rng_state()) and before[2] == random.getstate()


@every_corruption
def test_each_severity_is_stronger_than_the_one_before(slices, corruption):
    means = []
    for severity in SEVERITIES:
        outs = [corrupt(image, corruption, severity, seed) for seed, image in enumerate(slices)]
        means.append(np.mean([psnr(image, out) for image, out in zip(slices, outs, strict=True)]))
    assert (np.diff(means) < -0.4).all(), means
    # Mild but there; strong, but of a spine.
    assert 24 < means[0] < 36 and 12 < means[-1] < 25, means


@every_corruption
@pytest.mark.parametrize("severity", [1, 5])
def test_the_anatomy_stays_where_it_is(slices, corruption, severity):
    moved = [shift(image, corrupt(image, corruption, severity, seed)) for seed, image in enumerate(slices)]
    assert max(moved) < 0.5, moved


def test_a_shift_would_be_seen(slices):
    assert shift(slices[0], np.roll(slices[0], 2, axis=0)) == pytest.approx(2, abs=0.1)


@every_corruption
def test_boxes_and_masks_stay(slices, corruption):
    transform = MRINoiseTransform(corruption, 4, 0)
    boxes, mask = np.array([[10.0, 20.0, 34.5, 28.25]]), slices[0] > 100
    assert np.array_equal(transform.apply_box(boxes), boxes)
    assert np.array_equal(transform.apply_segmentation(mask), mask)
    assert np.array_equal(transform.apply_image(slices[0]), corrupt(slices[0], corruption, 4, 0))
    assert isinstance(transform.inverse(), T.NoOpTransform)


@every_corruption
def test_grey_stays_grey_and_colour_keeps_its_channels(slices, corruption):
    grey = np.repeat(slices[0][:, :, None], 3, axis=2)
    out = corrupt(grey, corruption, 3, 4)
    assert out.shape == grey.shape and out.dtype == np.uint8 and out.flags.writeable
    assert np.array_equal(out[..., 0], corrupt(slices[0], corruption, 3, 4))
    assert (out == out[..., :1]).all()
    colour = np.stack([slices[0], slices[0] // 2, slices[0] // 4], axis=2)
    out = corrupt(colour, corruption, 1, 4).astype(float)
    ratios = out.mean(axis=(0, 1)) / out[..., 0].mean()
    # Noise brightens what is dark, so its channels come nearer to each other.
    assert np.allclose(ratios, [1, 0.5, 0.25], atol=0.05), ratios


@every_corruption
@pytest.mark.parametrize("shape", [(32, 32), (32, 57), (211, 48), (16, 16), (33, 129, 3)])
def test_small_and_oblong_slices(corruption, shape):
    rng = np.random.default_rng(0)
    coarse = rng.integers(0, 256, (5, 5, *shape[2:]), dtype=np.uint8)
    image = cv2.resize(coarse, shape[1::-1], interpolation=cv2.INTER_CUBIC)
    before = image.copy()
    for severity in SEVERITIES:
        out = corrupt(image, corruption, severity, 2)
        assert out.shape == shape and out.dtype == np.uint8 and not np.array_equal(out, image), severity
    assert np.array_equal(image, before)


@every_corruption
def test_an_empty_slice_stays_empty(corruption):
    empty = np.zeros((40, 40), np.uint8)
    assert np.array_equal(corrupt(empty, corruption, 5, 0), empty)


def test_air_gets_ricians_floor():
    image = np.zeros((128, 128), np.uint8)
    image[:, 64:] = 200
    level = noise.LEVELS["rician"][1]
    out = corrupt(image, "rician", 2, 0).astype(float)
    air, tissue = out[:, :64], out[:, 64:]
    assert air.mean() == pytest.approx(200 * level * np.sqrt(np.pi / 2), rel=0.03)
    assert tissue.std() == pytest.approx(200 * level, rel=0.03)


def test_values_beyond_white_are_cut_off():
    out = corrupt(np.full((64, 64), 250, np.uint8), "bias_field", 5, 0)
    assert out.max() == 255 and (out == 255).mean() > 0.1 and out.min() < 150


def test_ghosts_lie_at_fractions_of_the_picture(slices):
    """A small bright square alone: its ghosts are 1/2, 1/3 or 1/4 of the side away, along one axis."""
    image = np.zeros((120, 120), np.uint8)
    image[56:64, 56:64] = 255
    for seed in range(8):
        ghosts = corrupt(image, "ghosting", 5, seed).astype(float)
        ghosts[52:68, 52:68] = 0
        bright = np.argwhere(ghosts > 0.6 * ghosts.max())
        along = np.ptp(bright, axis=0).argmax()
        assert np.abs(bright[:, 1 - along] - 59.5).max() <= 6
        away = np.abs(bright[:, along] - 59.5) / 120
        assert min(np.abs(away - part).min() for part in (1 / 2, 1 / 3, 1 / 4)) < 0.04


def test_bias_is_as_strong_as_it_says():
    flat = np.full((80, 50), 20, np.uint8)
    for severity, strength in zip(SEVERITIES, noise.LEVELS["bias_field"], strict=True):
        factors = np.log(corrupt(flat, "bias_field", severity, severity) / 20.0)
        assert np.abs(factors).max() == pytest.approx(strength, abs=0.12)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("salt", 1, 0), "'salt'; there are rician, motion, ghosting"),
        (("rician", 0, 0), "severity 0 .* from 1 to 5"),
        (("rician", 6, 0), "severity 6"),
    ],
)
def test_bad_names_and_severities(arguments, words):
    for refused in (lambda: corrupt(np.zeros((32, 32), np.uint8), *arguments), lambda: MRINoiseTransform(*arguments)):
        with pytest.raises(ValueError, match=words) as caught:
            refused()
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("image", "words"),
    [
        (np.zeros((32, 32), np.uint16), "uint8 images"),
        (np.zeros((32, 32, 4), np.uint8), "uint8 images"),
        (np.zeros((15, 32), np.uint8), "32 x 15"),
    ],
)
def test_bad_images(image, words):
    with pytest.raises(ValueError, match=words):
        corrupt(image, "rician", 1, 0)


@pytest.mark.parametrize("library", ["torchio", "monai.transforms"])
def test_a_missing_library_is_named_with_the_command(monkeypatch, library):
    monkeypatch.setitem(__import__("sys").modules, library, None)
    with pytest.raises(ValueError, match=r'pip install -c constraints\.txt -e "\.\[noise\]"') as caught:
        RandomMRINoise(0.5, CORRUPTIONS, (1, 3))
    assert library.partition(".")[0] in str(caught.value) and "\n" not in str(caught.value)


def test_the_seed_of_an_image():
    seeds = {image_seed(kind, level, image) for kind in CORRUPTIONS for level in SEVERITIES for image in (1, 2, 11)}
    assert len(seeds) == 7 * 5 * 3
    assert image_seed("rician", 1, 1) == 3802914511939488288, "of every machine, and for good"


# --- in training -----------------------------------------------------------------------------------------------------


@pytest.fixture
def cfg(cfg):
    cfg.INPUT.FORMAT = "RGB"
    cfg.INPUT.MIN_SIZE_TRAIN, cfg.INPUT.MIN_SIZE_TEST = (160,), 160
    cfg.INPUT.RANDOM_FLIP = "none"
    return cfg


@pytest.fixture
def record(tmp_path, slices) -> dict:
    Image.fromarray(slices[0]).save(tmp_path / "slice.png")
    box = {"bbox": [60.5, 70.0, 20.0, 8.0], "bbox_mode": BoxMode.XYWH_ABS, "category_id": 1}
    return {"file_name": str(tmp_path / "slice.png"), "height": 160, "width": 160, "image_id": 1, "annotations": [box]}


def test_the_default_is_none_and_knows_all_kinds(cfg, record, slices):
    assert tuple(cfg.INPUT.MRI_NOISE.KINDS) == CORRUPTIONS
    image = MedDetDatasetMapper(cfg, is_train=True)(record)["image"]
    assert np.array_equal(image[0].numpy(), slices[0])


def test_the_mapper_corrupts_in_training_only(cfg, record, slices):
    cfg.INPUT.MRI_NOISE.PROB = 1.0
    cfg.INPUT.MRI_NOISE.KINDS = ("gibbs",)
    cfg.INPUT.MRI_NOISE.SEVERITY = (2, 2)
    out = MedDetDatasetMapper(cfg, is_train=True)(record)
    assert np.array_equal(out["image"][0].numpy(), corrupt(slices[0], "gibbs", 2, 0))
    assert out["instances"].gt_boxes.tensor.tolist() == [[60.5, 70.0, 80.5, 78.0]]
    assert np.array_equal(MedDetDatasetMapper(cfg, is_train=False)(record)["image"][0].numpy(), slices[0])


def test_noise_comes_before_the_resizing(cfg, record, slices):
    cfg.INPUT.MRI_NOISE.PROB, cfg.INPUT.MRI_NOISE.KINDS = 1.0, ("low_resolution",)
    cfg.INPUT.MRI_NOISE.SEVERITY, cfg.INPUT.MIN_SIZE_TRAIN = (5, 5), (80,)
    image = MedDetDatasetMapper(cfg, is_train=True)(record)["image"][0].numpy()
    first = corrupt(slices[0], "low_resolution", 5, 0)
    assert np.array_equal(image, np.asarray(Image.fromarray(first).resize((80, 80), Image.BILINEAR)))


def test_numpys_seed_decides_which_and_how_often(cfg, record, slices):
    cfg.INPUT.MRI_NOISE.PROB = 0.5
    mapper = MedDetDatasetMapper(cfg, is_train=True)

    def run(seed: int) -> list[bytes]:
        np.random.seed(seed)
        return [mapper(record)["image"].numpy().tobytes() for _ in range(24)]

    first = run(0)
    assert first == run(0) != run(1)
    clean = first.count(np.stack([slices[0]] * 3).tobytes())
    assert 6 <= clean <= 18 and len(set(first)) > 5


def test_kinds_and_severities_are_drawn_from_what_was_asked(slices):
    augmentation = RandomMRINoise(1.0, ("spike", "gibbs"), (2, 4))
    np.random.seed(0)
    drawn = {(t.corruption, t.severity) for t in (augmentation.get_transform(slices[0]) for _ in range(60))}
    assert drawn == {(kind, severity) for kind in ("spike", "gibbs") for severity in (2, 3, 4)}


@pytest.mark.parametrize(
    ("key", "value", "words"),
    [
        ("PROB", 1.5, r"MRI_NOISE\.PROB is 1\.5"),
        ("PROB", -0.1, r"MRI_NOISE\.PROB is -0\.1"),
        ("KINDS", (), r"MRI_NOISE\.KINDS is empty"),
        ("KINDS", ("rain",), "'rain'"),
        ("SEVERITY", (3, 2), r"MRI_NOISE\.SEVERITY is \(3, 2\)"),
        ("SEVERITY", (0, 2), r"MRI_NOISE\.SEVERITY"),
    ],
)
def test_bad_keys_are_named(cfg, key, value, words):
    cfg.INPUT.MRI_NOISE.PROB = 0.5
    cfg.INPUT.MRI_NOISE[key] = value
    with pytest.raises(ValueError, match=words):
        MedDetDatasetMapper(cfg, is_train=True)
