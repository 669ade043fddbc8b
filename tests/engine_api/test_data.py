"""What this project relies on in ``detectron2.data``, on either engine."""

import numpy as np
import pytest

from detectron2.config import get_cfg
from detectron2.data import (
    DatasetCatalog,
    MetadataCatalog,
    build_detection_test_loader,
    get_detection_dataset_dicts,
)
from detectron2.data import (
    detection_utils as utils,
)
from detectron2.data import (
    transforms as T,
)
from detectron2.structures import BoxMode
from detectron2.utils import comm

NAME = "engine_api_test"


@pytest.fixture
def dataset():
    """Eight images, of which the third is healthy."""
    annotations = [{"bbox": [2.0, 3, 10, 20], "bbox_mode": BoxMode.XYWH_ABS, "category_id": 0, "iscrowd": 0}]
    records = [{"image_id": i, "annotations": annotations if i != 3 else []} for i in range(1, 9)]
    DatasetCatalog.register(NAME, lambda: records)
    MetadataCatalog.get(NAME).set(thing_classes=["disc"])
    yield
    DatasetCatalog.remove(NAME)
    MetadataCatalog.remove(NAME)


def test_catalogs():
    DatasetCatalog.register("engine_api_other", lambda: [{"image_id": 1}])
    try:
        assert (
            "engine_api_other" in DatasetCatalog.list() and DatasetCatalog.get("engine_api_other")[0]["image_id"] == 1
        )
        with pytest.raises(AssertionError):
            DatasetCatalog.register("engine_api_other", list)
    finally:
        DatasetCatalog.remove("engine_api_other")
    with pytest.raises(KeyError, match="engine_api_other"):
        DatasetCatalog.get("engine_api_other")


def test_metadata_is_kept_and_cannot_be_changed():
    meta = MetadataCatalog.get("engine_api_meta")
    meta.set(thing_classes=["a", "b"])
    meta.set(thing_classes=["a", "b"])
    assert MetadataCatalog.get("engine_api_meta") is meta and meta.name == "engine_api_meta"
    assert meta.thing_classes == ["a", "b"] and meta.get("colour", 4) == 4 and meta.get("colour") is None
    with pytest.raises(AssertionError):
        meta.thing_classes = ["b", "a"]
    with pytest.raises(AttributeError, match="colour"):
        _ = meta.colour
    MetadataCatalog.remove("engine_api_meta")


@pytest.mark.parametrize(("filter_empty", "count"), [(False, 8), (True, 7)])
def test_empty_images_are_filtered_on_demand(dataset, filter_empty, count):
    assert len(get_detection_dataset_dicts(NAME, filter_empty=filter_empty)) == count
    assert len(get_detection_dataset_dicts([NAME], filter_empty=filter_empty)) == count


@pytest.mark.parametrize("workers", [0, 2])
def test_test_loader_gives_every_image_once(dataset, monkeypatch, workers):
    cfg = get_cfg()
    cfg.DATALOADER.NUM_WORKERS = workers
    loader = build_detection_test_loader(cfg, NAME, mapper=lambda d: d["image_id"] * 10)
    assert list(loader) == [[10 * i] for i in range(1, 9)] and len(loader) == 8
    monkeypatch.setattr(comm, "get_world_size", lambda: 3)
    shares = []
    for rank in range(3):
        monkeypatch.setattr(comm, "get_rank", lambda rank=rank: rank)
        shares.append(list(build_detection_test_loader(cfg, [NAME], mapper=lambda d: d["image_id"])))
    assert shares == [[[1], [2], [3]], [[4], [5], [6]], [[7], [8]]]


@pytest.mark.parametrize(
    ("augmentation", "expected"),
    [
        (T.RandomFlip(prob=1.0), [20, 5, 25, 15]),
        (T.RandomFlip(prob=1.0, horizontal=False, vertical=True), [5, 5, 10, 15]),
        (T.ResizeTransform(20, 30, 40, 15), [2.5, 10, 5, 30]),
        (T.ResizeShortestEdge(40, 1000), [10, 10, 20, 30]),
        (T.ResizeShortestEdge([40], 30, "choice"), [5, 5, 10, 15]),
    ],
)
@pytest.mark.parametrize("dtype", [np.uint8, np.float32])
def test_boxes_follow_the_image(augmentation, expected, dtype):
    image = np.zeros((20, 30, 3), dtype=dtype)
    image[5:15, 5:10] = 200
    inputs = T.AugInput(image, boxes=np.array([[5.0, 5, 10, 15]]))
    transforms = T.AugmentationList([augmentation])(inputs)
    np.testing.assert_allclose(inputs.boxes[0], expected)
    np.testing.assert_allclose(transforms.apply_box(np.array([[5.0, 5, 10, 15]]))[0], expected)
    bright = np.argwhere(inputs.image[..., 0] > 100)
    assert inputs.image.dtype == dtype and inputs.image.ndim == 3
    np.testing.assert_allclose([*bright.min(0)[::-1], *(bright.max(0)[::-1] + 1)], expected, atol=1.0)
    # Floats: upstream truncates a box of integers when it resizes.
    annotation = {"bbox": [5.0, 5.0, 5.0, 10.0], "bbox_mode": BoxMode.XYWH_ABS, "category_id": 0}
    moved = utils.transform_instance_annotations(annotation, transforms, inputs.image.shape[:2])
    np.testing.assert_allclose(moved["bbox"], expected)
    assert moved["bbox_mode"] == BoxMode.XYXY_ABS


@pytest.mark.parametrize(
    ("old", "lengths", "new"),
    [
        ((323, 1178), (480, 1333), (365, 1333)),
        ((1024, 201), (800, 512), (512, 100)),
        ((329, 658), (800, 1333), (667, 1333)),
        ((500, 400), (160, 200), (200, 160)),
        ((300, 300), (160, 100), (100, 100)),
    ],
)
def test_resized_shapes_are_rounded_as_upstream(old, lengths, new):
    """In the first three one rounding, for both limits together, is a pixel off."""
    assert T.ResizeShortestEdge.get_output_shape(*old, *lengths) == new


def test_intensities():
    image = np.full((4, 4, 3), 100, dtype=np.uint8)
    image[0] = 200
    bright = T.RandomBrightness(1.5, 1.5).get_transform(image)
    assert bright.apply_image(image)[3, 0, 0] == 150 and bright.apply_image(image)[0, 0, 0] == 255
    flat = T.RandomContrast(0.0, 0.0).get_transform(image).apply_image(image)
    assert flat.min() == flat.max() == 125 and flat.dtype == np.uint8
    assert bright.apply_box(np.array([[1.0, 2, 3, 4]]))[0].tolist() == [1, 2, 3, 4]


def test_augmentations_follow_numpys_seed():
    def draw():
        np.random.seed(5)
        augmentations = [T.ResizeShortestEdge((20, 40), 100, "range"), T.RandomFlip()]
        return [T.AugmentationList(augmentations)(T.AugInput(np.zeros((20, 30), np.uint8))) for _ in range(8)]

    first, second = draw(), draw()
    assert [str(t) for t in first] == [str(t) for t in second] and len({str(t) for t in first}) > 2
    np.random.seed(5)
    size = np.random.randint(20, 41)
    assert (first[0].transforms[0].new_h, first[0].transforms[0].new_w) == (size, int(size * 1.5 + 0.5))
    assert isinstance(first[0].transforms[1], T.HFlipTransform) == (np.random.uniform() < 0.5)


def test_own_augmentations_get_what_they_name():
    class CropToBoxes(T.Augmentation):
        def get_transform(self, image, boxes):
            assert image.shape == (9, 9)
            return T.NoOpTransform() if len(boxes) else T.HFlipTransform(9)

    inputs = T.AugInput(np.arange(81, dtype=np.uint8).reshape(9, 9), boxes=np.zeros((0, 4)))
    transforms = T.AugmentationList([CropToBoxes(), T.VFlipTransform(9)])(inputs)
    assert inputs.image[0, 0] == 80 and len(transforms) == 2


def test_annotations_become_instances():
    instances = utils.annotations_to_instances([], (8, 9))
    assert len(instances) == 0 and instances.gt_boxes.tensor.shape == (0, 4) and instances.image_size == (8, 9)
    outside = {"bbox": [-4.0, 2, 20, 5], "bbox_mode": BoxMode.XYXY_ABS, "category_id": 1}
    empty = {"bbox": [3, 3, 0, 2], "bbox_mode": BoxMode.XYWH_ABS, "category_id": 0}
    moved = [utils.transform_instance_annotations(a, T.TransformList([]), (8, 9)) for a in (outside, empty)]
    instances = utils.filter_empty_instances(utils.annotations_to_instances(moved, (8, 9)))
    assert instances.gt_boxes.tensor.tolist() == [[0, 2, 9, 5]] and instances.gt_classes.tolist() == [1]


def test_build_augmentation():
    cfg = get_cfg()
    resize, flip = utils.build_augmentation(cfg, is_train=True)
    assert isinstance(resize, T.ResizeShortestEdge) and isinstance(flip, T.RandomFlip)
    assert len(utils.build_augmentation(cfg, is_train=False)) == 1
    cfg.INPUT.RANDOM_FLIP, cfg.INPUT.MIN_SIZE_TEST = "none", 0
    assert len(utils.build_augmentation(cfg, is_train=True)) == 1
    (keep,) = utils.build_augmentation(cfg, is_train=False)
    assert isinstance(keep(T.AugInput(np.zeros((5, 6), np.uint8))), T.NoOpTransform), "0 means no resizing"
