"""What a clinician asks of a detector: on patients, on lesions, with intervals, in tables and on a page.

Plain data and numpy, no torch: ``study`` makes cases from COCO's files, ``measure`` makes every figure from cases,
``figure_files`` and ``clinical_page`` write them.
"""

from .cases import Case, Subject
from .measure import Measurement, Settings
from .study import Study, read_study

__all__ = ["Case", "Measurement", "Settings", "Study", "Subject", "read_study"]
