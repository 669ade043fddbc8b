"""The data sets this project knows by name, under $DETECTRON2_DATASETS, and those that a config registers."""

from collections import Counter
from dataclasses import replace
from functools import partial

from detectron2.config import CfgNode

from ..layout.data_set import DataSet
from ..phantom import PHANTOM_LANDMARKS, SPLITS, PhantomParams, generate, generate_landmarks, landmarks_folder
from ..places import datasets_root
from .registration import cdh_layout, check_classes, check_landmarks, keep_apart, parse_entry, register_data_set

# What SPIDER's annotations carry besides the class of their category, as other data sets of the same files: where it
# stands, its values and their names, and the findings.
_SPIDER = {
    "spider_bulging": ("original.Disc bulging", (("1", "bulging"), ("0", "not bulging")), ("bulging",)),
    "spider_pfirrmann": (
        "original.Pfirrman grade",
        tuple((str(grade), f"grade {grade}") for grade in range(1, 6)),
        # A dark disc that has lost its form and height.
        ("grade 4", "grade 5"),
    ),
}


def register_datasets(cfg: CfgNode) -> None:
    """Register every data set of the project, the phantom as DATASETS.PHANTOM describes it, and DATASETS.REGISTER.

    Call it before anything is built, in every process. It may be called again, with another config or another
    $DETECTRON2_DATASETS.

    Args:
        cfg: a config with MedDet's keys.

    Raises:
        ValueError: a key of DATASETS.PHANTOM is out of its range, DATASETS.REGISTER cannot be read or names a data set
            twice, or the data sets that the config names do not agree on the classes (nor MODEL.GFL.NUM_CLASSES with
            them) or on the landmarks.
    """
    root = datasets_root()
    for folder, splits in (("cdh1848", ("train", "val", "test")), ("spider_lumbar", ("train", "val"))):
        for split in splits:
            data_set = cdh_layout(root / folder / f"{split}.json", root / folder / "images")
            register_data_set(f"{folder}_{split}", data_set)
            for name, (key, names, findings) in _SPIDER.items() if folder == "spider_lumbar" else ():
                graded = replace(data_set, classes=(), class_from=key, class_names=names, findings=findings)
                register_data_set(f"{name}_{split}", graded)
    params = PhantomParams.from_config(cfg)
    made, points = params.folder(root), landmarks_folder(params, root)
    for split in SPLITS:
        register_data_set(
            f"cdh_phantom_{split}",
            cdh_layout(made / f"{split}.json", made / "images"),
            prepare=partial(generate, params, root),
        )
        register_data_set(
            f"cdh_phantom_landmarks_{split}",
            DataSet(
                json_file=points / f"{split}.json",
                images=made / "images",
                classes=(PHANTOM_LANDMARKS.thing,),
                landmarks=PHANTOM_LANDMARKS,
            ),
            prepare=partial(generate_landmarks, params, root),
        )
    entries = [parse_entry(entry, cfg.DATASETS.PATIENT_KEY) for entry in cfg.DATASETS.REGISTER]
    own = {"cdh1848", "spider_lumbar", "cdh_phantom", "cdh_phantom_landmarks", *_SPIDER}
    for name, count in Counter(name for name, _ in entries).items():
        if count > 1 or name.rpartition("_")[0] in own:
            raise ValueError(f"DATASETS.REGISTER: {name} is there already; give each data set a different name.")
    for name, data_set in entries:
        register_data_set(name, data_set)
    check_classes(cfg)
    check_landmarks(cfg)
    keep_apart(cfg)
