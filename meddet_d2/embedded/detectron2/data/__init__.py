"""Data sets, and loading them."""
# ruff: noqa: F401

from . import transforms
from .build import build_detection_test_loader, get_detection_dataset_dicts
from .catalog import DatasetCatalog, Metadata, MetadataCatalog
