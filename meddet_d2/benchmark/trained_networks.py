"""Trained networks to be tested again: the finished runs of a results folder, or checkpoints of one's own."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from .result_tables import collect
from .results_folder import ResultsFolder
from .suite import check_known


@dataclass(frozen=True)
class Network:
    """A trained network to be tested.

    Attributes:
        row: what its line in the table is called; the networks of a row are the same but for their seed.
        seed: of its training, or its number among those of its row.
        config, weights: its files.
        trained: what is known of its training, for the record.
    """

    row: str
    seed: int
    config: Path
    weights: Path
    trained: Mapping[str, object] = field(default_factory=dict)

    @property
    def label(self) -> str:
        return f"{self.row}, seed {self.seed}"


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
    rows = collect(folder)
    check_known("table", tables, [row.table for row in rows], folder.path)
    check_known("row", names, [row.row for row in rows], folder.path)
    chosen = [row for row in rows if (tables is None or row.table in tables) and (names is None or row.row in names)]
    unfinished = [row.row for row in chosen if not row.records]
    if (names and unfinished) or len(unfinished) == len(chosen):
        raise ValueError(
            f"{folder.path} has no finished run of {', '.join(unfinished or names or tables or [])}; finish it with: "
            f"meddet benchmark run --output {folder.path}"
        )
    left_out = [f"{row.row}, seed {seed}" for row in chosen for seed in sorted({*row.failed, *row.missing})]
    networks: dict[str, Network] = {}
    places: dict[str, str] = {}
    for row in chosen:
        for seed, record in sorted(row.records.items()):
            run = record["run"]
            # Rows of two tables may share a name, but then not always the run.
            name = row.row if places.setdefault(row.row, row.table) == row.table else f"{row.row} ({row.table})"
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
