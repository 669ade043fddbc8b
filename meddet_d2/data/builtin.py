"""The data sets this project knows by name, under $DETECTRON2_DATASETS."""

from functools import partial

from detectron2.config import CfgNode

from ..phantom import SPLITS, PhantomParams, generate
from ..places import datasets_root
from .cdh1848 import register_cdh_layout


def register_datasets(cfg: CfgNode) -> None:
    """Register every data set of the project, the phantom as DATASETS.PHANTOM describes it.

    Call it before anything is built, in every process. It may be called again, with another config or another
    $DETECTRON2_DATASETS.

    Args:
        cfg: a config with MedDet's keys.

    Raises:
        ValueError: a key of DATASETS.PHANTOM is out of its range.
    """
    root = datasets_root()
    for folder, splits in (("cdh1848", ("train", "val", "test")), ("spider_lumbar", ("train", "val"))):
        for split in splits:
            register_cdh_layout(f"{folder}_{split}", root / folder / f"{split}.json", root / folder / "images")
    params = PhantomParams.from_config(cfg)
    folder = params.folder(root)
    for split in SPLITS:
        register_cdh_layout(
            f"cdh_phantom_{split}", folder / f"{split}.json", folder / "images", prepare=partial(generate, params, root)
        )
