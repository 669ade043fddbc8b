"""What this project relies on in ``detectron2.data``, on either engine."""

import itertools
import json

import numpy as np
import pytest
import torch
from PIL import Image

from detectron2.config import get_cfg
from detectron2.data import (
    DatasetCatalog,
    DatasetMapper,
    MetadataCatalog,
    build_detection_test_loader,
    build_detection_train_loader,
    get_detection_dataset_dicts,
)
from detectron2.data import (
    detection_utils as utils,
)
from detectron2.data import (
    transforms as T,
)
from detectron2.data.build import AspectRatioGroupedDataset, MapDataset
from detectron2.data.datasets import load_coco_json, register_coco_instances
from detectron2.data.samplers import InferenceSampler, TrainingSampler
from detectron2.structures import BoxMode
from detectron2.utils import comm

NAME = "engine_api_test"
# Image 3 is healthy. Category ids are neither in order nor contiguous. Images 2 and 4 are wider than high.
SIZES = {1: (40, 30), 2: (20, 50), 3: (40, 30), 4: (24, 36)}  # (height, width)
BOXES = {1: [(7, [2, 3, 10, 20])], 2: [(5, [0, 0, 50, 20]), (7, [10, 5, 6, 7])], 4: [(5, [1, 2, 3, 4])]}


@pytest.fixture
def dataset(tmp_path):
    rng = np.random.default_rng(0)
    images, annotations = [], []
    for image_id, (height, width) in SIZES.items():
        pixels = rng.integers(0, 256, (height, width, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(tmp_path / f"{image_id}.png")
        images.append({"id": image_id, "file_name": f"{image_id}.png", "height": height, "width": width})
        for category, bbox in BOXES.get(image_id, []):
            row = {"id": len(annotations) + 1, "image_id": image_id, "category_id": category, "bbox": bbox}
            annotations.append({**row, "iscrowd": 0, "area": bbox[2] * bbox[3], "level": f"C{len(annotations)}"})
    categories = [{"id": 7, "name": "non-protrusion"}, {"id": 5, "name": "protrusion"}]
    content = {"images": images[::-1], "annotations": annotations, "categories": categories}
    json_file = tmp_path / "coco.json"
    json_file.write_text(json.dumps(content))
    register_coco_instances(NAME, {"colour": "grey"}, str(json_file), str(tmp_path))
    yield str(json_file), str(tmp_path)
    DatasetCatalog.remove(NAME)
    MetadataCatalog.remove(NAME)


@pytest.fixture
def cfg():
    cfg = get_cfg()
    cfg.DATASETS.TRAIN = cfg.DATASETS.TEST = (NAME,)
    cfg.DATALOADER.NUM_WORKERS = 0
    cfg.DATALOADER.FILTER_EMPTY_ANNOTATIONS = False
    cfg.DATALOADER.ASPECT_RATIO_GROUPING = False
    cfg.SOLVER.IMS_PER_BATCH = 2
    cfg.INPUT.MIN_SIZE_TRAIN, cfg.INPUT.MIN_SIZE_TEST = (60,), 60
    cfg.SEED = 3
    return cfg


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


def test_coco_json(dataset):
    records = load_coco_json(*dataset, NAME, extra_annotation_keys=["level"])
    assert [record["image_id"] for record in records] == [1, 2, 3, 4], "in the order of ids"
    assert [len(record["annotations"]) for record in records] == [1, 2, 0, 1], "images without a box are kept"
    meta = MetadataCatalog.get(NAME)
    assert meta.thing_classes == ["protrusion", "non-protrusion"]
    assert meta.thing_dataset_id_to_contiguous_id == {5: 0, 7: 1}
    wide = records[1]
    assert (wide["height"], wide["width"]) == (20, 50) and wide["file_name"].endswith("2.png")
    assert [annotation["category_id"] for annotation in wide["annotations"]] == [0, 1]
    assert [annotation["level"] for annotation in wide["annotations"]] == ["C1", "C2"]
    assert wide["annotations"][0]["bbox_mode"] == BoxMode.XYWH_ABS


def test_coco_json_without_a_name_keeps_category_ids(dataset):
    assert load_coco_json(*dataset)[1]["annotations"][0]["category_id"] == 5


def test_registered_metadata(dataset):
    meta = MetadataCatalog.get(NAME)
    assert (meta.json_file, meta.image_root, meta.evaluator_type, meta.colour) == (*dataset, "coco", "grey")


@pytest.mark.parametrize(("filter_empty", "ids"), [(False, [1, 2, 3, 4]), (True, [1, 2, 4])])
def test_empty_images_are_filtered_on_demand(dataset, filter_empty, ids):
    assert [d["image_id"] for d in get_detection_dataset_dicts(NAME, filter_empty=filter_empty)] == ids
    assert [d["image_id"] for d in get_detection_dataset_dicts([NAME], filter_empty=filter_empty)] == ids


def test_training_sampler_permutes_in_every_epoch():
    stream = list(itertools.islice(TrainingSampler(5, seed=11), 15))
    epochs = [stream[0:5], stream[5:10], stream[10:15]]
    assert all(sorted(epoch) == [0, 1, 2, 3, 4] for epoch in epochs) and epochs[0] != epochs[1]
    assert stream == list(itertools.islice(TrainingSampler(5, seed=11), 15))
    assert stream != list(itertools.islice(TrainingSampler(5, seed=12), 15))
    generator = torch.Generator().manual_seed(11)
    assert stream == [i for _ in range(3) for i in torch.randperm(5, generator=generator).tolist()]
    assert list(itertools.islice(TrainingSampler(3, shuffle=False), 7)) == [0, 1, 2, 0, 1, 2, 0]


def test_processes_share_the_training_stream(monkeypatch):
    monkeypatch.setattr(comm, "get_world_size", lambda: 2)
    streams = []
    for rank in range(2):
        monkeypatch.setattr(comm, "get_rank", lambda rank=rank: rank)
        streams.append(list(itertools.islice(TrainingSampler(6, seed=1), 3)))
    assert sorted(streams[0] + streams[1]) == [0, 1, 2, 3, 4, 5]


def test_inference_sampler_covers_every_image_once(monkeypatch):
    assert list(InferenceSampler(4)) == [0, 1, 2, 3] and len(InferenceSampler(4)) == 4
    monkeypatch.setattr(comm, "get_world_size", lambda: 3)
    shares = []
    for rank in range(3):
        monkeypatch.setattr(comm, "get_rank", lambda rank=rank: rank)
        shares.append(list(InferenceSampler(8)))
    assert shares == [[0, 1, 2], [3, 4, 5], [6, 7]]


def test_datasets_of_datasets():
    mapped = MapDataset([{"value": 1}, {"value": 2}], lambda d: d["value"] * 10)
    assert len(mapped) == 2 and [mapped[0], mapped[1]] == [10, 20]
    shapes = [(1, 2), (2, 1), (3, 1), (1, 3), (1, 1)]
    grouped = AspectRatioGroupedDataset([{"height": h, "width": w} for h, w in shapes], 2)
    batches = [[(d["height"], d["width"]) for d in batch] for batch in grouped]
    assert batches == [[(2, 1), (3, 1)], [(1, 2), (1, 3)]]


def test_mapper_and_training_loader(dataset, cfg):
    loader = build_detection_train_loader(cfg)
    batches = list(itertools.islice(loader, 2))
    assert [len(batch) for batch in batches] == [2, 2]
    seen = {d["image_id"]: d for batch in batches for d in batch}
    assert set(seen) == {1, 2, 3, 4}, "an epoch of two batches"
    expected = torch.randperm(4, generator=torch.Generator().manual_seed(3)) + 1
    assert [d["image_id"] for batch in batches for d in batch] == expected.tolist()
    for image_id, mapped in seen.items():
        height, width = SIZES[image_id]
        scale = 60 / min(height, width)
        assert mapped["image"].dtype == torch.uint8 and (mapped["height"], mapped["width"]) == (height, width)
        assert mapped["image"].shape == (3, int(height * scale + 0.5), int(width * scale + 0.5))
        assert len(mapped["instances"]) == len(BOXES.get(image_id, [])) and "annotations" not in mapped
        assert mapped["instances"].gt_boxes.tensor.shape[1] == 4 and mapped["instances"].gt_classes.dtype == torch.int64


def test_training_loader_takes_a_mapper_and_explicit_arguments(dataset, cfg):
    ids = [d["image_id"] for d in next(iter(build_detection_train_loader(cfg, mapper=lambda d: d)))]
    dicts = get_detection_dataset_dicts(NAME, filter_empty=False)
    loader = build_detection_train_loader(
        dataset=dicts,
        mapper=lambda d: d,
        sampler=TrainingSampler(len(dicts), seed=3),
        total_batch_size=2,
        aspect_ratio_grouping=False,
    )
    assert [d["image_id"] for d in next(iter(loader))] == ids


def test_worker_processes_give_the_same_order_and_differ_in_their_random_numbers(dataset, cfg):
    def first(num_workers):
        cfg.DATALOADER.NUM_WORKERS = num_workers
        loader = build_detection_train_loader(cfg, mapper=lambda d: (d["image_id"], float(np.random.rand())))
        return [d for batch in itertools.islice(loader, 4) for d in batch]

    alone, helped = first(0), first(2)
    assert [image_id for image_id, _ in alone] == [image_id for image_id, _ in helped]
    assert len({number for _, number in helped}) == 8


def test_aspect_ratio_grouping(dataset, cfg):
    cfg.DATALOADER.ASPECT_RATIO_GROUPING = True
    for batch in itertools.islice(build_detection_train_loader(cfg, mapper=lambda d: d), 5):
        assert len({d["width"] > d["height"] for d in batch}) == 1


def test_test_loader_gives_every_image_once(dataset, cfg):
    loader = build_detection_test_loader(cfg, NAME)
    batches = list(loader)
    assert [d["image_id"] for (d,) in batches] == [1, 2, 3, 4]
    assert "instances" not in batches[0][0] and batches[0][0]["image"].shape == (3, 80, 60)
    explicit = build_detection_test_loader(
        get_detection_dataset_dicts(NAME, filter_empty=False), mapper=DatasetMapper(cfg, is_train=False), batch_size=3
    )
    assert [len(batch) for batch in explicit] == [3, 1]


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


def test_build_augmentation(cfg):
    resize, flip = utils.build_augmentation(cfg, is_train=True)
    assert isinstance(resize, T.ResizeShortestEdge) and isinstance(flip, T.RandomFlip)
    assert len(utils.build_augmentation(cfg, is_train=False)) == 1
    cfg.INPUT.RANDOM_FLIP, cfg.INPUT.MIN_SIZE_TEST = "none", 0
    assert len(utils.build_augmentation(cfg, is_train=True)) == 1
    (keep,) = utils.build_augmentation(cfg, is_train=False)
    assert isinstance(keep(T.AugInput(np.zeros((5, 6), np.uint8))), T.NoOpTransform), "0 means no resizing"


def test_read_image(tmp_path):
    pixels = np.zeros((2, 3, 3), dtype=np.uint8)
    pixels[0, 0] = (10, 20, 30)
    Image.fromarray(pixels).save(tmp_path / "a.png")
    path = str(tmp_path / "a.png")
    assert utils.read_image(path, format="RGB")[0, 0].tolist() == [10, 20, 30]
    assert utils.read_image(path, format="BGR")[0, 0].tolist() == [30, 20, 10]
    assert utils.read_image(path, format="L").shape == (2, 3, 1)
    exif = Image.Exif()
    exif[0x0112] = 6  # the camera was turned: rotate by 270 degrees
    Image.fromarray(pixels).save(tmp_path / "turned.png", exif=exif)
    assert utils.read_image(str(tmp_path / "turned.png"), format="RGB").shape == (3, 2, 3)


def test_image_of_another_size_is_refused(dataset, cfg):
    record = get_detection_dataset_dicts(NAME, filter_empty=False)[0]
    record["width"] = 31
    with pytest.raises(utils.SizeMismatchError, match=r"1\.png"):
        DatasetMapper(cfg, is_train=True)(record)
    sized = {"file_name": "x"}
    utils.check_image_size(sized, np.zeros((4, 5, 3)))
    assert (sized["height"], sized["width"]) == (4, 5)
