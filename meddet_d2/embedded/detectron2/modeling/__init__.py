from .build import BACKBONE_REGISTRY, FPN, META_ARCH_REGISTRY, Backbone, build_backbone, build_model  # noqa: F401
from .postprocessing import detector_postprocess  # noqa: F401
