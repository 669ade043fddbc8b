"""A test set with what a network found on it, whatever kind of network it is, for a report."""

import shutil
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import meddet_d2
import detectron2
from detectron2.config import CfgNode

from ..data.registration import data_note
from ..files import checksum, replacing
from ..layout.data_set import DataSet
from ..pages import RESEARCH_USE


@dataclass(frozen=True, kw_only=True)
class EvaluatedRun:
    """What a report is made from.

    Attributes:
        name: of the test set.
        data_set: its files.
        results: the file of detections or landmarks.
        cfg: the config that names the test set, or None.
        model: "config" and "weights_sha256" of a network that was run for the report, None where none was.
    """

    name: str
    data_set: DataSet
    results: Path
    cfg: CfgNode | None
    model: dict[str, str | None]

    @property
    def network(self) -> bool:
        """Whether a network was run for the report; otherwise its results were given."""
        return self.model["config"] is not None

    def keep_results(self, folder: Path) -> None:
        """Put the results of a network that was run into the folder of the report, from which it is made again."""
        if self.network:
            with replacing(folder / self.results.name) as temporary:
                shutil.copyfile(self.results, temporary)

    def provenance(self, *, phantom: bool) -> dict[str, Any]:
        """What stands in the json before the figures; no path and no time, so that the same inputs give the same file.

        Args:
            phantom: whether the ground truth says of itself that it is this project's phantom.
        """
        # SPIDER and the phantom under another name stay what they are: known by their folder or by what the json says.
        known = ["phantom"] if phantom else self.data_set.json_file.resolve().parts[-3:-1]
        return {
            "research_use": RESEARCH_USE,
            "made_by": {
                "meddet_d2": meddet_d2.__version__,
                "detectron2": detectron2.__version__ if self.network else None,
                **{library: version(library) for library in ("scikit-learn", "pycocotools", "numpy")},
            },
            "data": {
                "name": self.name,
                "note": data_note("/".join([self.name, *known]), self.data_set),
                "ground_truth_sha256": checksum(self.data_set.json_file),
                "detections_sha256": checksum(self.results),
            },
        }
