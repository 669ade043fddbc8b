"""The mapper: boxes follow the picture, healthy images stay, errors name the file."""

import copy

import dicom_files
import nibabel
import numpy as np
import pytest
import torch
from fvcore.transforms.transform import CropTransform
from PIL import Image

from detectron2.data import transforms as T
from detectron2.structures import BoxMode
from meddet_d2.data import MedDetDatasetMapper
from meddet_d2.formats import ReadError

HEIGHT, WIDTH = 60, 80
BOX = (10, 20, 24, 8)  # x, y, width, height of a white block on black


class CropTo(T.Augmentation):
    """Cuts out a fixed window."""

    def __init__(self, x: int, y: int, width: int, height: int) -> None:
        self.window = (x, y, width, height)

    def get_transform(self, image):
        return CropTransform(*self.window)


@pytest.fixture
def record(tmp_path) -> dict:
    x, y, width, height = BOX
    image = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
    image[y : y + height, x : x + width] = (200, 100, 50)
    Image.fromarray(image).save(tmp_path / "block.png")
    box = {"bbox": list(BOX), "bbox_mode": BoxMode.XYWH_ABS, "category_id": 1, "iscrowd": 0, "level": "C5/6"}
    return {
        "file_name": str(tmp_path / "block.png"),
        "height": HEIGHT,
        "width": WIDTH,
        "image_id": 7,
        "patient_id": 3,
        "annotations": [box],
    }


def mapper(*augmentations, is_train: bool = True, image_format: str = "RGB") -> MedDetDatasetMapper:
    return MedDetDatasetMapper(is_train=is_train, augmentations=list(augmentations), image_format=image_format)


def block(image: torch.Tensor) -> list[float]:
    """The box (x1, y1, x2, y2) around the bright pixels of (3, H, W)."""
    rows, columns = torch.where(image.amax(dim=0) > 100)
    return [columns.min().item(), rows.min().item(), columns.max().item() + 1, rows.max().item() + 1]


def test_without_augmentation(record):
    before = copy.deepcopy(record)
    out = mapper()(record)
    assert record == before, "the record is not changed"
    assert out["image"].dtype == torch.uint8 and out["image"].shape == (3, HEIGHT, WIDTH)
    assert out["instances"].gt_boxes.tensor.tolist() == [[10, 20, 34, 28]] and block(out["image"]) == [10, 20, 34, 28]
    assert out["instances"].gt_classes.tolist() == [1]
    assert (out["image_id"], out["height"], out["width"], out["patient_id"]) == (7, HEIGHT, WIDTH, 3)
    assert "annotations" not in out


@pytest.mark.parametrize("name", ["slice.dcm", "no_extension", "volume.nii.gz"])
def test_files_of_a_scanner(record, tmp_path, name):
    """A json may name a DICOM file, or a NIfTI file for its mid-sagittal slice; both are windowed, not cut off."""
    x, y, width, height = BOX
    values = np.tile(np.arange(WIDTH, dtype=np.uint16), (HEIGHT, 1))
    values[y : y + height, x : x + width] = 3000
    if name.endswith(".nii.gz"):
        # Rows run down from the head and columns back from the face, so both axes are turned.
        volume = np.stack([values[::-1, ::-1].T] * 3).astype(np.int16)
        nibabel.save(nibabel.Nifti1Image(volume, np.eye(4)), tmp_path / name)
    else:
        dicom_files.write_dicom(tmp_path / name, values, BitsStored=12)
    record["file_name"] = str(tmp_path / name)
    out = mapper()(record)
    assert out["image"].dtype == torch.uint8 and out["image"].shape == (3, HEIGHT, WIDTH)
    assert block(out["image"]) == out["instances"].gt_boxes.tensor[0].tolist() == [10, 20, 34, 28]
    assert out["image"].unique().numel() > 5
    with pytest.raises(ValueError, match=name):
        mapper()({**record, "width": WIDTH + 1})


def test_a_loader_s_worker_names_the_damaged_file(record, tmp_path):
    """The error comes out of the worker as itself, with its line."""
    path = dicom_files.write_dicom(tmp_path / "cut.dcm", np.zeros((HEIGHT, WIDTH), np.uint16))
    path.write_bytes(path.read_bytes()[:-10])
    data = [{**record, "file_name": str(path)}]
    loader = torch.utils.data.DataLoader(data, num_workers=1, collate_fn=lambda batch: mapper()(batch[0]))
    with pytest.raises(ReadError, match=r"cut\.dcm: its pixels cannot be decoded"):
        next(iter(loader))


def test_channels(record):
    rgb, bgr = (mapper(image_format=order)(record)["image"] for order in ("RGB", "BGR"))
    assert rgb[:, 22, 12].tolist() == [200, 100, 50]
    assert torch.equal(bgr, rgb.flip(0))
    with pytest.raises(ValueError, match=r"INPUT\.FORMAT is 'L'"):
        mapper(image_format="L")


def horizontal_flip():
    return T.RandomFlip(prob=1.0, horizontal=True, vertical=False)


@pytest.mark.parametrize(
    ("augmentations", "size"),
    [
        ([horizontal_flip()], (60, 80)),
        ([T.RandomFlip(prob=1.0, horizontal=False, vertical=True)], (60, 80)),
        ([T.ResizeShortestEdge((120,), 200, "choice")], (120, 160)),
        ([T.ResizeShortestEdge((120,), 200, "choice"), horizontal_flip()], (120, 160)),
        ([CropTo(20, 10, 50, 40)], (40, 50)),
        ([CropTo(5, 10, 50, 40), horizontal_flip()], (40, 50)),
    ],
)
def test_boxes_follow_the_picture(record, augmentations, size):
    out = mapper(*augmentations)(record)
    assert out["image"].shape[1:] == size and out["instances"].image_size == size
    boxes = out["instances"].gt_boxes.tensor
    assert len(boxes) == 1
    # Within a pixel of the block itself, which interpolation blurs when it is resized.
    assert np.abs(boxes[0].numpy() - block(out["image"])).max() <= 1.0
    assert (out["height"], out["width"]) == (HEIGHT, WIDTH)


def test_a_box_that_was_cropped_away_is_gone(record):
    out = mapper(CropTo(40, 30, 30, 20))(record)
    assert len(out["instances"]) == 0 and out["image"].shape == (3, 20, 30)


def test_a_healthy_image_is_kept(record):
    out = mapper(horizontal_flip())({**record, "annotations": []})
    assert len(out["instances"]) == 0 and out["instances"].gt_boxes.tensor.shape == (0, 4)
    assert out["instances"].gt_classes.dtype == torch.int64


def test_crowds_are_left_out(record):
    record["annotations"].append({**record["annotations"][0], "iscrowd": 1})
    assert len(mapper()(record)["instances"]) == 1


def test_inference_gives_the_image_only(record):
    out = mapper(is_train=False)(record)
    assert "instances" not in out and "annotations" not in out and out["image"].shape == (3, HEIGHT, WIDTH)


def test_a_16_bit_image_is_not_saturated(record, tmp_path):
    values = np.tile(np.linspace(0, 4095, WIDTH).astype(np.uint16), (HEIGHT, 1))
    Image.fromarray(values).save(tmp_path / "deep.png")
    image = mapper()({**record, "file_name": str(tmp_path / "deep.png")})["image"]
    assert (image == 255).float().mean() < 0.05 and image.unique().numel() > 60


def test_errors_name_the_file(record, tmp_path):
    with pytest.raises(ValueError, match=r"block\.png: the file is 80 x 60 pixels, its record says 80 x 61") as caught:
        mapper()({**record, "height": 61})
    assert "\n" not in str(caught.value)
    (tmp_path / "cut.png").write_bytes((tmp_path / "block.png").read_bytes()[:60])
    with pytest.raises(ValueError, match=r"cut\.png"):
        mapper()({**record, "file_name": str(tmp_path / "cut.png")})
    with pytest.raises(FileNotFoundError, match=r"gone\.png"):
        mapper()({**record, "file_name": str(tmp_path / "gone.png")})


@pytest.fixture
def cfg(cfg):
    cfg.INPUT.FORMAT = "RGB"
    cfg.INPUT.MIN_SIZE_TRAIN, cfg.INPUT.MIN_SIZE_TEST = (120,), 90
    cfg.INPUT.RANDOM_FLIP = "horizontal"
    cfg.INPUT.INTENSITY_JITTER = 0.3
    return cfg


def test_from_config(cfg, record):
    train, test = MedDetDatasetMapper(cfg, is_train=True), MedDetDatasetMapper(cfg, is_train=False)
    assert train(record)["image"].shape == (3, 120, 160) and test(record)["image"].shape == (3, 90, 120)
    assert torch.equal(test(record)["image"], test(record)["image"])


def test_numpys_seed_decides(cfg, record):
    train = MedDetDatasetMapper(cfg, is_train=True)

    def run(seed: int) -> list[torch.Tensor]:
        np.random.seed(seed)
        outs = [train(record) for _ in range(4)]
        return [part for out in outs for part in (out["image"], out["instances"].gt_boxes.tensor)]

    first, again, other = run(0), run(0), run(1)
    assert all(map(torch.equal, first, again)) and not all(map(torch.equal, first, other))
    # The jitter changes the brightness of the block.
    assert len({int(image.max()) for image in first[::2]}) > 1


def test_bad_keys_are_named(cfg):
    cfg.INPUT.INTENSITY_JITTER = 1.0
    with pytest.raises(ValueError, match=r"INPUT\.INTENSITY_JITTER"):
        MedDetDatasetMapper(cfg, is_train=True)
    cfg.INPUT.INTENSITY_JITTER, cfg.INPUT.CROP.ENABLED = 0.0, True
    with pytest.raises(ValueError, match=r"INPUT\.CROP\.ENABLED"):
        MedDetDatasetMapper(cfg, is_train=True)
