"""The classes or landmarks that a config's network speaks of: those of its data, which the catalogs know."""

from collections.abc import Sequence

from detectron2.config import CfgNode
from detectron2.data import DatasetCatalog, MetadataCatalog

# The key that says how many classes the network has; 0: as many as the data.
NUM_CLASSES = "MODEL.GFL.NUM_CLASSES"
# The same of landmarks.
NUM_KEYPOINTS = "MODEL.LANDMARK.NUM_KEYPOINTS"
# By the result of a network's task: the key that says how many things of this kind it finds.
COUNT_KEYS = {"boxes": NUM_CLASSES, "landmarks": NUM_KEYPOINTS}
NOUNS = {"boxes": "classes", "landmarks": "landmarks"}


def class_names(cfg: CfgNode) -> tuple[str, ...] | None:
    """The names in the order of the class numbers, of the first known data set of DATASETS.TRAIN and DATASETS.TEST.

    Returns:
        None where no data set is named, or their json files are not here.
    """
    return _first(cfg, "thing_classes")


def keypoint_names(cfg: CfgNode) -> tuple[str, ...] | None:
    """The landmarks' names in their order, as :func:`class_names`; None also where the data sets have no landmarks."""
    return _first(cfg, "keypoint_names")


def _first(cfg: CfgNode, key: str) -> tuple[str, ...] | None:
    for name in (*cfg.DATASETS.TRAIN, *cfg.DATASETS.TEST):
        # Metadata of a name is made by asking for it.
        if name in DatasetCatalog and (names := MetadataCatalog.get(name).get(key)):
            return tuple(names)
    return None


def check_count(cfg: CfgNode, names: Sequence[str], source: str, result: str = "boxes") -> None:
    """Refuse a number of classes, or of landmarks, that is neither 0 nor that of ``names``.

    Args:
        cfg: whose key says the number.
        names: of the classes or landmarks.
        source: whose they are, with a verb.
        result: of the network's task.

    Raises:
        ValueError: naming both.
    """
    count = {NUM_CLASSES: cfg.MODEL.GFL.NUM_CLASSES, NUM_KEYPOINTS: cfg.MODEL.LANDMARK.NUM_KEYPOINTS}
    key = COUNT_KEYS[result]
    _check(count[key], key, names, f"{source} {len(names)} {NOUNS[result]}")


def class_count(cfg: CfgNode) -> int:
    """How many classes a network has: MODEL.GFL.NUM_CLASSES, or, where that is 0, as many as the data.

    A config that names no data set, for looking at a network by itself, means CDH-1848's two.

    Raises:
        ValueError: it is 0, and the data sets that are named cannot say how many.
    """
    if cfg.MODEL.GFL.NUM_CLASSES:
        return cfg.MODEL.GFL.NUM_CLASSES
    names = class_names(cfg)
    if names is None and (cfg.DATASETS.TRAIN or cfg.DATASETS.TEST):
        raise _unknown(cfg, NUM_CLASSES, "classes")
    return len(names) if names else 2


def keypoint_count(cfg: CfgNode) -> int:
    """How many landmarks a network has: MODEL.LANDMARK.NUM_KEYPOINTS, or, where that is 0, as many as the data.

    Raises:
        ValueError: it is 0 and no data set says how many, or it is not the data set's number.
    """
    count, names = cfg.MODEL.LANDMARK.NUM_KEYPOINTS, keypoint_names(cfg)
    if names is None and not count:
        raise _unknown(cfg, NUM_KEYPOINTS, "landmarks")
    if names is not None:
        _check(count, NUM_KEYPOINTS, names, f"the data set has {len(names)} landmarks")
    return count or len(names or ())


def _check(count: int, key: str, names: Sequence[str], source: str) -> None:
    if count not in (0, len(names)):
        raise ValueError(
            f"{key} is {count}, but {source}, {list(names)}; leave the key out (0: as the training data says)."
        )


def _unknown(cfg: CfgNode, key: str, what: str) -> ValueError:
    named = (*cfg.DATASETS.TRAIN, *cfg.DATASETS.TEST)
    files = [str(MetadataCatalog.get(name).get("json_file")) for name in named if name in DatasetCatalog]
    if not named:
        wrong = "none is named"
    elif not files:
        wrong = f"no data set {named[0]} is known"
    elif any(MetadataCatalog.get(name).get("thing_classes") for name in named if name in DatasetCatalog):
        wrong = f"{named[0]} has none"
    else:
        wrong = f"{files[0]} is not there"
    return ValueError(
        f"{key} is 0, which stands for the {what} of DATASETS.TRAIN, but {wrong}; register the data set "
        "(DATASETS.REGISTER), or set the number."
    )
