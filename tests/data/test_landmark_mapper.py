"""The landmarks' mapper: points stay on the anatomy, what leaves the image is not labelled, a mirror renames."""

import copy

import numpy as np
import pytest
import torch
from fvcore.transforms.transform import CropTransform, HFlipTransform, PadTransform, VFlipTransform
from landmark_sets import LandmarkSet
from PIL import Image

from detectron2.data import DatasetCatalog, MetadataCatalog
from detectron2.data import transforms as T
from meddet_d2.data import LandmarkMapper, MedDetDatasetMapper, RandomMRINoise, mapper_for, register_datasets
from meddet_d2.data.affine import RandomAffine
from meddet_d2.data.mri_noise import CORRUPTIONS
from meddet_d2.data.randomness import seeded_randomness

HEIGHT, WIDTH, SIGMA = 120, 100, 3.0
POINTS = np.array([[40.3, 30.7], [70.0, 52.5], [55.25, 85.0], [31.9, 61.4]])


@pytest.fixture
def record(tmp_path) -> dict:
    """A blob at each landmark; the last landmark is not labelled, and its numbers are senseless."""
    rows, columns = np.indices((HEIGHT, WIDTH)) + 0.5
    image = sum(200 * np.exp(-((columns - x) ** 2 + (rows - y) ** 2) / (2 * SIGMA**2)) for x, y in POINTS)
    Image.fromarray(image.round().astype(np.uint8)).save(tmp_path / "blobs.png")
    values = [value for x, y in POINTS for value in (x, y, 2)]
    annotation = {"bbox": [31.9, 30.7, 38.1, 54.3], "bbox_mode": 1, "category_id": 0, "iscrowd": 0}
    return {
        "file_name": str(tmp_path / "blobs.png"),
        "height": HEIGHT,
        "width": WIDTH,
        "image_id": 3,
        "patient_id": "p1",
        "spacing": [0.5, 0.4],
        "annotations": [{**annotation, "landmarks": [*values, 1e9, -7, 0]}],
    }


def mapper(*augmentations, is_train: bool = True, **options) -> LandmarkMapper:
    return LandmarkMapper(is_train=is_train, augmentations=list(augmentations), image_format="BGR", **options)


def refound(image: torch.Tensor, points: np.ndarray, reach: float) -> np.ndarray:
    """Centroids (N, 2) of what is brighter than its surroundings near points (N, 2)."""
    values = image[0].numpy().astype(float)
    rows, columns = np.indices(values.shape) + 0.5
    centres = []
    for x, y in points:
        near = np.hypot(columns - x, rows - y) < reach
        weight = np.where(near, np.clip(values - np.median(values[near]), 0, None), 0)
        centres.append([(weight * columns).sum() / weight.sum(), (weight * rows).sum() / weight.sum()])
    return np.array(centres)


def resize(length: int):
    return T.ResizeShortestEdge((length,), 1000, "choice")


@pytest.mark.parametrize(
    "augmentations",
    [
        [],
        [resize(63)],
        [resize(237)],
        [RandomAffine(15, 0.2, 0.05)],
        [resize(160), RandomAffine(15, 0.2, 0.05, 10)],
        [PadTransform(7, 3, 11, 20)],
        [resize(80), PadTransform(0, 0, 16, 32)],
        [CropTransform(12, 8, 80, 100)],
    ],
)
def test_points_stay_on_the_anatomy(record, augmentations):
    before = copy.deepcopy(record)
    for seed in range(5):
        with seeded_randomness(seed):
            out = mapper(*augmentations)(record)
        landmarks = out["instances"].gt_landmarks
        assert landmarks.shape == (1, 5, 3) and landmarks.dtype == torch.float32
        assert landmarks[0, :, 2].tolist() == [2, 2, 2, 2, 0] and landmarks[0, 4].tolist() == [0, 0, 0]
        points = landmarks[0, :4, :2].numpy()
        assert np.abs(refound(out["image"], points, 9 * min(out["image"].shape[1:]) / 120) - points).max() < 0.1
        assert out["instances"].image_size == tuple(out["image"].shape[1:])
    assert record == before, "the record is not changed"
    assert (out["height"], out["width"]) == (HEIGHT, WIDTH) and "annotations" not in out
    assert out["patient_id"] == "p1" and out["spacing"] == [0.5, 0.4]


@pytest.mark.parametrize("kind", CORRUPTIONS)
def test_noise_moves_no_point(record, kind):
    """On the mean of many draws, since noise moves the centroid of one."""
    images = []
    for seed in range(12):
        with seeded_randomness(seed):
            out = mapper(RandomMRINoise(1.0, (kind,), (1, 1)))(record)
        images.append(out["image"][0].double())
        assert np.abs(out["instances"].gt_landmarks[0, :4, :2].numpy() - POINTS).max() < 1e-4
    assert np.abs(refound(torch.stack(images).mean(0)[None], POINTS, 9) - POINTS).max() < 0.1


def test_what_leaves_the_image_is_not_labelled(record):
    out = mapper(CropTransform(35, 20, 60, 60))(record)
    assert out["instances"].gt_landmarks[0].tolist() == [
        [pytest.approx(5.3, abs=1e-4), pytest.approx(10.7, abs=1e-4), 2],
        [35, 32.5, 2],
        [0, 0, 0],
        [0, 0, 0],
        [0, 0, 0],
    ]


@pytest.mark.parametrize("mirror", [HFlipTransform(WIDTH), VFlipTransform(HEIGHT)])
def test_a_mirror_exchanges_names_and_needs_to_be_told_which(record, mirror):
    with pytest.raises(ValueError, match=r"blobs\.png: mirrored") as caught:
        mapper(mirror)(record)
    assert "\n" not in str(caught.value)
    kept = mapper(mirror, flip=(0, 1, 2, 3, 4))(record)
    swapped = mapper(mirror, flip=(0, 3, 2, 1, 4))(record)
    assert torch.equal(kept["instances"].gt_landmarks[:, [0, 3, 2, 1, 4]], swapped["instances"].gt_landmarks)
    points = kept["instances"].gt_landmarks[0, :4, :2].numpy()
    assert np.abs(refound(kept["image"], points, 9) - points).max() < 0.1
    # Mirrored twice is turned.
    assert mapper(HFlipTransform(WIDTH), VFlipTransform(HEIGHT))(record)["instances"].gt_landmarks[0, 1].tolist() == [
        30, 67.5, 2,
    ]  # fmt: skip


def square(x: float, y: float, half: float = 6.0) -> list[float]:
    return [x - half, y - half, x + half, y - half, x + half, y + half, x - half, y + half]


def test_structures_move_with_the_picture(record):
    record["annotations"][0]["structures"] = [[square(*POINTS[0]), square(*POINTS[1])], []]
    for seed in range(4):
        with seeded_randomness(seed):
            instances = mapper(resize(240), RandomAffine(15, 0.2, 0.05), structures=2)(record)["instances"]
        masks, points = instances.gt_structures[0], instances.gt_landmarks[0, :2, :2].numpy()
        assert masks.dtype == torch.uint8 and masks.shape == (2, *instances.image_size) and not masks[1].any()
        assert set(masks[0].unique().tolist()) == {0, 1}
        rows, columns = np.indices(instances.image_size) + 0.5
        for x, y in points:
            near = (np.hypot(columns - x, rows - y) < 30) & (masks[0].numpy() == 1)
            # At least 2.4 * 0.8 times as wide as the square of 12 pixels.
            assert near.sum() > (12 * 1.9) ** 2
            assert np.hypot(columns[near].mean() - x, rows[near].mean() - y) < 0.5


def test_structures_that_nobody_has_said_are_unknown(record):
    assert not mapper()(record)["instances"].has("gt_structures")
    assert (mapper(structures=2)(record)["instances"].gt_structures == 255).all()
    record["annotations"][0]["structures"] = [[]]
    with pytest.raises(ValueError, match=r"blobs\.png: its record has 1 structures, .* is 2"):
        mapper(structures=2)(record)


def test_the_same_random_numbers_give_the_same_sample(record):
    def draw(*numbers):
        with seeded_randomness(*numbers):
            return mapper(RandomMRINoise(0.5, ("rician",), (1, 3)), RandomAffine(15, 0.2, 0.05))(record)

    one, again, other = draw(1, 2), draw(1, 2), draw(1, 3)
    assert torch.equal(one["image"], again["image"])
    assert torch.equal(one["instances"].gt_landmarks, again["instances"].gt_landmarks)
    assert not torch.equal(one["instances"].gt_landmarks, other["instances"].gt_landmarks)


@pytest.mark.parametrize("annotations", [[], [{"bbox": [1, 1, 2, 2], "bbox_mode": 1, "category_id": 0}], None])
def test_a_record_without_landmarks_is_refused_in_training_only(record, annotations):
    record["annotations"] = 2 * record["annotations"] if annotations is None else annotations
    with pytest.raises(ValueError, match=r"blobs\.png: its record has no landmarks, or more than one"):
        mapper()(record)
    assert "instances" not in mapper(is_train=False)(record)


def test_the_result_of_a_task_chooses_the_mapper():
    assert mapper_for("landmarks") is LandmarkMapper
    assert mapper_for("boxes") is MedDetDatasetMapper is mapper_for("something else")


@pytest.fixture
def known(cfg, tmp_path):
    """A config whose DATASETS.TRAIN is a landmark set with a category as given."""
    before = set(DatasetCatalog.keys())

    def make(**category):
        made = LandmarkSet(tmp_path / "set", **category)
        cfg.DATASETS.REGISTER = tuple(f"marks_{split}={made.folder}/{split}.json" for split in ("train", "test"))
        cfg.DATASETS.TRAIN, cfg.DATASETS.TEST = ("marks_train",), ("marks_test",)
        cfg.INPUT.MIN_SIZE_TRAIN, cfg.INPUT.MAX_SIZE_TRAIN = (64,), 64
        cfg.INPUT.MIN_SIZE_TEST, cfg.INPUT.MAX_SIZE_TEST = 64, 64
        register_datasets(cfg)
        return cfg

    yield make
    for name in set(DatasetCatalog.keys()) - before:
        DatasetCatalog.remove(name)
        MetadataCatalog.remove(name)


def test_a_flip_without_a_flip_map_is_refused(known):
    cfg = known()
    cfg.INPUT.RANDOM_FLIP = "horizontal"
    with pytest.raises(ValueError, match=r"INPUT\.RANDOM_FLIP is horizontal.*flip_pairs") as caught:
        LandmarkMapper(cfg, is_train=True)
    assert "\n" not in str(caught.value)
    LandmarkMapper(cfg, is_train=False)
    cfg.INPUT.RANDOM_FLIP = "none"
    assert LandmarkMapper(cfg, is_train=True).flip is None


@pytest.mark.parametrize(("pairs", "order"), [([], [0, 1, 2, 3]), ([["right horn", "left horn"]], [0, 1, 3, 2])])
def test_the_json_says_what_a_mirror_exchanges(known, pairs, order):
    cfg = known(flip_pairs=pairs)
    cfg.INPUT.RANDOM_FLIP = "horizontal"
    assert LandmarkMapper(cfg, is_train=True).flip.tolist() == order


def test_a_config_fits_the_long_side_and_augments_in_training_alone(known):
    cfg = known()
    cfg.INPUT.RANDOM_FLIP = "none"
    records = DatasetCatalog.get("marks_train")
    out = LandmarkMapper(cfg, is_train=False)(records[0])
    assert out["image"].shape == (3, 48, 64) and "instances" not in out
    shapes, places = set(), []
    for seed in range(8):
        with seeded_randomness(seed):
            out = LandmarkMapper(cfg, is_train=True)(records[0])
        shapes.add(tuple(out["image"].shape))
        places.append(out["instances"].gt_landmarks[0, 1, :2].numpy())
    assert shapes == {(3, 64, 64)} and np.std(places, axis=0).min() > 0.5
    cfg.INPUT.LANDMARK.ROTATION = cfg.INPUT.LANDMARK.SCALE = cfg.INPUT.LANDMARK.SHIFT = 0.0
    out = LandmarkMapper(cfg, is_train=True)(records[0])
    assert out["image"].shape == (3, 48, 64)
    assert out["instances"].gt_landmarks[0, 1].tolist() == [48, 24, 2]
