"""Configuration: the keys with their defaults, and the files that set them."""

from .keys import add_meddet_config
from .loading import MOST_BASES, load_config, split_teacher

__all__ = ["MOST_BASES", "add_meddet_config", "load_config", "split_teacher"]
