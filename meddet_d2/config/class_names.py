"""The classes that a config's network speaks of: those of its data, which the catalogs know."""

from collections.abc import Sequence

from detectron2.config import CfgNode
from detectron2.data import DatasetCatalog, MetadataCatalog

# The key that says how many classes the network has; 0: as many as the data.
NUM_CLASSES = "MODEL.GFL.NUM_CLASSES"


def class_names(cfg: CfgNode) -> tuple[str, ...] | None:
    """The names in the order of the class numbers, of the first known data set of DATASETS.TRAIN and DATASETS.TEST.

    Returns:
        None where no data set is named, or their json files are not here.
    """
    for name in (*cfg.DATASETS.TRAIN, *cfg.DATASETS.TEST):
        # Metadata of a name is made by asking for it.
        if name in DatasetCatalog and (names := MetadataCatalog.get(name).get("thing_classes")):
            return tuple(names)
    return None


def check_count(cfg: CfgNode, names: Sequence[str], source: str) -> None:
    """Refuse a number of classes that is neither 0 nor that of ``names``; ``source`` says whose they are, with a verb.

    Raises:
        ValueError: naming both.
    """
    count = cfg.MODEL.GFL.NUM_CLASSES
    if count not in (0, len(names)):
        raise ValueError(
            f"{NUM_CLASSES} is {count}, but {source} {len(names)} classes, {list(names)}; leave the key out (0: as the"
            " training data says)."
        )


def class_count(cfg: CfgNode) -> int:
    """How many classes a network has: MODEL.GFL.NUM_CLASSES, or, where that is 0, as many as the data.

    A config that names no data set, for looking at a network by itself, means CDH-1848's two.

    Raises:
        ValueError: it is 0, and the data sets that are named cannot say how many.
    """
    if cfg.MODEL.GFL.NUM_CLASSES:
        return cfg.MODEL.GFL.NUM_CLASSES
    named = (*cfg.DATASETS.TRAIN, *cfg.DATASETS.TEST)
    names = class_names(cfg)
    if named and names is None:
        files = [str(MetadataCatalog.get(name).get("json_file")) for name in named if name in DatasetCatalog]
        wrong = f"{files[0]} is not there" if files else f"no data set {named[0]} is known"
        raise ValueError(
            "MODEL.GFL.NUM_CLASSES is 0, which stands for the classes of DATASETS.TRAIN, but "
            f"{wrong}; register the data set (DATASETS.REGISTER), or set the number."
        )
    return len(names) if names else 2
