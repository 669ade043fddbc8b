"""The trainer's loaders give a landmark network its points and masks, and the same ones after a resume."""

import itertools

import pytest
import small_landmarks
import torch
from landmark_sets import LandmarkSet

from detectron2.data import DatasetCatalog, MetadataCatalog
from meddet_d2.data import register_datasets
from meddet_d2.engine import MedDetTrainer
from meddet_d2.engine.validation import build_loss_loader


@pytest.fixture
def landmark_cfg(tmp_path):
    made = LandmarkSet(tmp_path / "set", structures=["shell"])
    before = set(DatasetCatalog.keys())
    cfg = small_landmarks.config("MODEL.LANDMARK.NUM_KEYPOINTS", 4, "MODEL.LANDMARK.NUM_STRUCTURES", 1)
    cfg.DATASETS.REGISTER = tuple(f"shells_{split}={made.folder}/{split}.json" for split in ("train", "test"))
    cfg.DATASETS.TRAIN, cfg.DATASETS.TEST = ("shells_train",), ("shells_test",)
    cfg.INPUT.RANDOM_FLIP, cfg.SEED, cfg.DATALOADER.NUM_WORKERS, cfg.SOLVER.IMS_PER_BATCH = "none", 3, 0, 2
    cfg.INPUT.MIN_SIZE_TRAIN, cfg.INPUT.MIN_SIZE_TEST = (64,), 64
    cfg.INPUT.MAX_SIZE_TRAIN = cfg.INPUT.MAX_SIZE_TEST = 64
    register_datasets(cfg)
    yield cfg
    for name in set(DatasetCatalog.keys()) - before:
        DatasetCatalog.remove(name)
        MetadataCatalog.remove(name)


def test_training_gets_turned_images_with_their_points_and_masks(landmark_cfg):
    loader = MedDetTrainer.build_train_loader(landmark_cfg)
    batches = list(itertools.islice(loader, 4))
    points = torch.cat([one["instances"].gt_landmarks for batch in batches for one in batch])
    assert points.shape == (8, 4, 3) and points[..., 0].std(dim=0).min() > 1
    assert all(one["image"].shape == (3, 64, 64) for batch in batches for one in batch)
    assert all(one["instances"].gt_structures.shape == (1, 1, 64, 64) for batch in batches for one in batch)
    # A resumed run goes on with the third batch, turned as it was.
    resumed = MedDetTrainer.build_train_loader(landmark_cfg)
    resumed.batch_sampler.start = 2
    again = list(itertools.islice(resumed, 2))
    for one, other in zip(itertools.chain(*batches[2:]), itertools.chain(*again), strict=True):
        assert torch.equal(one["image"], other["image"])
        assert torch.equal(one["instances"].gt_landmarks, other["instances"].gt_landmarks)


def test_the_validation_loss_sees_points_and_masks_without_augmentation(landmark_cfg):
    items = [one for batch in build_loss_loader(landmark_cfg, ["shells_test"]) for one in batch]
    assert [tuple(one["image"].shape) for one in items] == [(3, 48, 64)] * 2
    assert items[0]["instances"].gt_landmarks[0, 1].tolist() == [48, 24, 2]
    assert (items[0]["instances"].gt_structures == 255).all() and items[0]["spacing"] == [0.5, 0.4]


def test_test_sets_in_mm_and_in_pixels_are_refused_before_the_training(landmark_cfg, tmp_path):
    other = LandmarkSet(tmp_path / "other", structures=["shell"])
    other.change(lambda content: [image.pop("spacing") for image in content["images"]], "test")
    landmark_cfg.DATASETS.REGISTER = (*landmark_cfg.DATASETS.REGISTER, f"shells_px={other.folder}/test.json")
    register_datasets(landmark_cfg)
    landmark_cfg.OUTPUT_DIR = str(tmp_path / "run")
    landmark_cfg.DATASETS.TEST = ("shells_test", "shells_px")
    with pytest.raises(ValueError, match=r"no mean over these data sets .shells_test in mm, shells_px in px"):
        MedDetTrainer(landmark_cfg)
