"""Sizes and speeds of several networks side by side: parameters, multiply-adds, images per second."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from detectron2.modeling import build_model
from meddet_d2.config import load_config
from meddet_d2.evaluation.complexity import count
from meddet_d2.evaluation.timing import Throughput, noise_batch, throughputs
from meddet_d2.files import write_json

from ..provenance import describe_hardware, hardware, provenance_now
from .report_parts import table as markdown_table
from .report_parts import write_text
from .suite import Row

EFFICIENCY = "efficiency.json"


@dataclass(frozen=True)
class NetworkCost:
    """One network's figures.

    Attributes:
        name: as the table shows it.
        teacher: whether it teaches.
        parameters: number of weights and biases.
        macs_mmcv: multiply-adds of one image as mmcv, and so the paper, counts them.
        throughput: images per second.
        paper: the paper's figures, maybe none.
    """

    name: str
    teacher: bool
    parameters: int
    macs_mmcv: int
    throughput: Throughput
    paper: Mapping[str, float]


def compare(rows: Sequence[Row], *, size: int = 512, images: int = 1, rounds: int = 11) -> list[NetworkCost]:
    """Build the networks of some rows with random weights, count them and time them side by side.

    Args:
        rows: their configs at the paper's size, as :func:`meddet_d2.load_config` reads them.
        size: height and width of the images in pixels.
        images: in one call.
        rounds: timed calls of each network.

    Raises:
        ValueError, FileNotFoundError: a config is wrong or missing, or a number is too small.
    """
    batch = noise_batch(size, images)
    models = {}
    for row in rows:
        cfg = load_config(str(row.config))
        cfg.MODEL.BOTTOM_UP.PRETRAINED = False  # the values do not matter
        models[row.name] = build_model(cfg)
    speeds = throughputs(models, batch, rounds=rounds)
    counted = {name: count(model, size, size) for name, model in models.items()}
    return [
        NetworkCost(
            name=row.name,
            teacher=row.teacher,
            parameters=counted[row.name]["params"],
            macs_mmcv=counted[row.name]["macs_mmcv"],
            throughput=speeds[row.name],
            paper=dict(row.paper),
        )
        for row in rows
    ]


def table(networks: Sequence[NetworkCost]) -> str:
    """The comparison as markdown, with each network's ratios to the smallest teacher."""
    teachers = [network for network in networks if network.teacher] or list(networks)
    smallest = min(teachers, key=lambda network: network.parameters)
    lines = []
    for network in networks:
        speed, paper = network.throughput, network.paper
        lines.append(
            [
                network.name,
                f"{network.parameters / 1e6:.2f} M ({network.parameters / smallest.parameters:.2f})",
                f"{network.macs_mmcv / 1e9:.2f} G ({network.macs_mmcv / smallest.macs_mmcv:.2f})",
                f"{speed.median:.2f} ({speed.median / smallest.throughput.median:.2f})",
                f"{speed.low:.2f} to {speed.high:.2f}",
                *(f"{paper[key]:g}" if key in paper else "" for key in ("params_m", "gflops", "fps", "map", "recall")),
            ]
        )
    ours = ("network", "parameters", "multiply-adds", "images/s", "(quartiles)")
    theirs = ("parameters, M", "GFLOPs", "FPS", "mAP", "recall")
    headers = (*ours, *(f"the paper's {name}" for name in theirs))
    below = f"In brackets: relative to {smallest.name}, the smallest teacher."
    return f"{markdown_table(lines, headers)}\n\n{below}"


def write(networks: Sequence[NetworkCost], output: Path, *, size: int, images: int, rounds: int, command: str) -> str:
    """Write efficiency.json and efficiency.md into a folder.

    Returns:
        The table, with a line that says how it was measured.
    """
    made_by, machine = provenance_now(), hardware()
    note = (
        f"Random weights (so that almost nothing is left to suppress), noise of {size} x {size} pixels,"
        f" {images} image(s) a call, calls interleaved in {rounds} rounds, medians and quartiles; on"
        f" {describe_hardware(machine)}, {made_by['engine']}, torch {made_by['torch']}."
        " The paper's FPS are of another machine."
    )
    text = table(networks)
    content = {
        "note": note,
        "table": text,
        "networks": [asdict(network) for network in networks],
        "size": size,
        "images": images,
        "rounds": rounds,
        "hardware": machine,
        "command": command,
        **made_by,
    }
    write_json(output / EFFICIENCY, content)
    write_text(output / "efficiency.md", f"{note}\n\n{text}\n\n```bash\n{command}\n```\n")
    return f"{text}\n{note}"
