"""Data sets, and loading them."""
# ruff: noqa: F401

from . import datasets, samplers, transforms
from .build import MapDataset, build_detection_test_loader, build_detection_train_loader, get_detection_dataset_dicts
from .catalog import DatasetCatalog, Metadata, MetadataCatalog
from .dataset_mapper import DatasetMapper
