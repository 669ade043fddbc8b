"""Which mapper a network's training reads its images through."""

from fvcore.common.registry import Registry

from .landmark_mapper import LandmarkMapper
from .mapper import MedDetDatasetMapper

MAPPER_REGISTRY = Registry("MAPPER")
MAPPER_REGISTRY.__doc__ = """
Mappers: subclasses of MedDetDatasetMapper with ``RESULT``, the result of the tasks whose networks they serve.
"""
for _mapper in (MedDetDatasetMapper, LandmarkMapper):
    MAPPER_REGISTRY.register(_mapper)


def mapper_for(result: str) -> type[MedDetDatasetMapper]:
    """The mapper for networks out of which ``result`` comes, a task's; that of boxes where no other is registered."""
    found = [mapper for _, mapper in MAPPER_REGISTRY if result == mapper.RESULT]
    return found[-1] if found else MedDetDatasetMapper
