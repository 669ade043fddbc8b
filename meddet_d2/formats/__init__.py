"""From a file of a scanner or an exported picture to what the network sees: 8-bit RGB, a pseudonym, a spacing.

DICOM, NIfTI, PNG, JPEG and TIFF are known by their content. Neither torch nor detectron2 is imported. pydicom and
nibabel are imported when a file of theirs is met: a deployed detector of pictures does without them.
"""

from .identity import Pseudonyms
from .inputs import collect
from .reader import read_image, read_slices
from .records import MRSlice, Problem, ReadError
from .windowing import window

__all__ = ["MRSlice", "Problem", "Pseudonyms", "ReadError", "collect", "read_image", "read_slices", "window"]
