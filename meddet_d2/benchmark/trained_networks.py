"""Trained networks to be tested again: the finished runs of a results folder, or given checkpoints."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import nn

from detectron2.config import CfgNode
from meddet_d2.config import load_config
from meddet_d2.deploy.torch_predictor import load_detector
from meddet_d2.distillation.teacher_configs import changed
from meddet_d2.files import checksum

from .plan import config_hash
from .result_tables import collect
from .results_folder import ResultsFolder
from .suite import select

# What networks with and without nmODE^2 have in common, wherever they lie.
PLAIN = ("MODEL.NMODE.KIND", "none", "MODEL.WEIGHTS", "", "MODEL.BOTTOM_UP.PRETRAINED", False)


@dataclass
class Network:
    """A trained network to be tested; ``cfg``, ``model`` and ``record``, its entry in the json, once it is loaded."""

    row: str  # of the table; the networks of a row are the same but for their seed
    seed: int  # of its training, or its number among those of its row
    config: Path
    weights: Path
    trained: Mapping[str, object] = field(default_factory=dict)  # what is known of its training, for the record
    cfg: CfgNode = field(init=False)
    model: nn.Module = field(init=False)
    record: dict = field(init=False)

    @property
    def label(self) -> str:
        return f"{self.row}, seed {self.seed}"

    def load(self) -> None:
        """Read the files and build the network.

        Raises:
            FileNotFoundError, ValueError: a file is missing or wrong; the message names the network and the file.
        """
        try:
            self.cfg = load_config(str(self.config))
            if not torch.cuda.is_available():
                self.cfg.MODEL.DEVICE = "cpu"
            self.model, _ = load_detector(self.cfg, str(self.weights))
        except (ValueError, OSError) as error:
            raise type(error)(f"{self.label}: {error}") from error
        self.record = {
            "row": self.row,
            "seed": self.seed,
            "weights": checksum(self.weights)[:12],
            "nmode": self.cfg.MODEL.NMODE.KIND,
            "config_but_nmode": config_hash(changed(self.cfg, PLAIN)),
            "trained": dict(self.trained),
            "measured": {},
        }


def from_results(
    folder: ResultsFolder, tables: Sequence[str] | None = None, names: Sequence[str] | None = None
) -> tuple[list[Network], list[str]]:
    """The finished runs of a results folder, each once, and what is left out because it is not finished.

    Args:
        folder: of ``benchmark.py run``.
        tables, names: only these; all by default.

    Raises:
        ValueError: there is no such table or row, or nothing that was asked for is finished.
    """
    chosen = select(collect(folder), tables, names, folder.path)
    unfinished = [row.name for row in chosen if not row.records]
    if (names and unfinished) or len(unfinished) == len(chosen):
        raise ValueError(
            f"{folder.path} has no finished run of {', '.join(unfinished)}; finish it with: "
            f"meddet benchmark run --output {folder.path}"
        )
    left_out = [f"{row.name}, seed {seed}" for row in chosen for seed in sorted({*row.outcomes} - {*row.records})]
    networks: dict[str, Network] = {}
    places: dict[str, str] = {}
    for row in chosen:
        for seed, record in row.records.items():
            run = record["run"]
            # Rows of two tables may share a name, but then not always the run.
            name = row.name if places.setdefault(row.name, row.table) == row.table else f"{row.name} ({row.table})"
            trained = {key: record[key] for key in ("commit", "sources", "hardware")}
            files = folder.path / run / "config.yaml", folder.weights(run)
            networks.setdefault(run, Network(name, seed, *files, {"run": run, **trained}))
    return list(networks.values()), list(dict.fromkeys(left_out))


def from_files(triples: Sequence[tuple[str, str, str]]) -> list[Network]:
    """Networks given as (name, config file, checkpoint); those of one name are numbered from 1 as its seeds."""
    networks: list[Network] = []
    for row, config, weights in triples:
        number = 1 + sum(network.row == row for network in networks)
        networks.append(Network(row, number, Path(config), Path(weights)))
    return networks
