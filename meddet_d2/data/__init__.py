from importlib.util import find_spec

from ..formats import read_image

# A deployed detector reads its images here, where torch may be missing.
if find_spec("torch") is None:
    __all__ = ["read_image"]
else:
    from detectron2.config import get_cfg

    from ..config import add_meddet_config
    from .builtin import register_datasets
    from .landmark_mapper import LandmarkMapper
    from .mapper import MedDetDatasetMapper
    from .mapper_choice import MAPPER_REGISTRY, mapper_for
    from .mri_noise import MRINoiseTransform, RandomMRINoise
    from .registration import cdh_layout, load_cdh_layout, load_data_set, register_cdh_layout, register_data_set
    from .training_stream import build_train_loader

    __all__ = [
        "MAPPER_REGISTRY",
        "LandmarkMapper",
        "MRINoiseTransform",
        "MedDetDatasetMapper",
        "RandomMRINoise",
        "build_train_loader",
        "cdh_layout",
        "load_cdh_layout",
        "load_data_set",
        "mapper_for",
        "read_image",
        "register_cdh_layout",
        "register_data_set",
        "register_datasets",
    ]

    # So that the names are known after `import meddet_d2`; tools register again with their own config.
    _cfg = get_cfg()
    add_meddet_config(_cfg)
    register_datasets(_cfg)
