"""A look at a data set before anyone trains on it; meddet check-data is its command.

Neither torch nor detectron2 is imported.
"""

from .data_report import Report, check_data

__all__ = ["Report", "check_data"]
