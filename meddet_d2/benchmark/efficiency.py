"""Sizes and speeds of networks side by side: a suite's, untrained, and those of a results folder, trained."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from torch import nn

from detectron2.config import CfgNode
from detectron2.modeling import build_model
from meddet_d2.config import load_config
from meddet_d2.deploy.torch_predictor import load_detector
from meddet_d2.engine import MedDetTrainer
from meddet_d2.evaluation.complexity import count
from meddet_d2.evaluation.timing import noise_batch, throughputs
from meddet_d2.files import write_json

from ..provenance import hardware
from . import report_parts as parts
from .plan import config_hash
from .results_folder import ResultsFolder
from .suite import Row

EFFICIENCY, LATENCY = "efficiency.json", "latency.json"
# Pretrained values do not matter.
UNTRAINED = ("MODEL.BOTTOM_UP.PRETRAINED", False)


def compare(rows: Sequence[Row], *, size: int = 512, images: int = 1, rounds: int = 11) -> list[dict]:
    """Build the networks of some rows with random weights, count them and time them side by side.

    Args:
        rows: their configs at the paper's size.
        size: height and width of the images in pixels.
        images: in one call.
        rounds: timed calls of each network.

    Returns:
        Of each row {"name", "teacher", "parameters", "macs_mmcv", "throughput", "paper"}: multiply-adds are of one
        image, counted as mmcv, and so the paper, does; the throughput is {"median", "low", "high"}.

    Raises:
        ValueError, FileNotFoundError: a config is wrong or missing, or a number is too small.
    """
    batch = noise_batch(size, images)
    models = {row.name: build_model(load_config(str(row.config), UNTRAINED)) for row in rows}
    speeds = throughputs(models, batch, rounds=rounds)
    networks = []
    for row in rows:
        counted = count(models[row.name], size, size)
        costs = {"parameters": counted["params"], "macs_mmcv": counted["macs_mmcv"], "throughput": speeds[row.name]}
        networks.append({"name": row.name, "teacher": row.teacher, **costs, "paper": dict(row.paper)})
    return networks


def table(networks: Sequence[Mapping]) -> str:
    """The comparison as markdown, with each network's ratios to the smallest teacher."""
    teachers = [network for network in networks if network["teacher"]] or networks
    smallest = min(teachers, key=lambda network: network["parameters"])
    headers = {"params_m": "parameters, M", "gflops": "GFLOPs", "fps": "FPS", "map": "mAP", "recall": "recall"}
    lines = []
    for network in networks:
        size, macs, speed = (network[key] for key in ("parameters", "macs_mmcv", "throughput"))
        paper = {f"the paper's {name}": parts.number(network["paper"].get(key), "g") for key, name in headers.items()}
        lines.append(
            {
                "network": network["name"],
                "parameters": f"{parts.millions(size)} ({size / smallest['parameters']:.2f})",
                "multiply-adds": f"{macs / 1e9:.2f} G ({macs / smallest['macs_mmcv']:.2f})",
                "images/s": f"{speed['median']:.2f} ({speed['median'] / smallest['throughput']['median']:.2f})",
                "(quartiles)": f"{speed['low']:.2f} to {speed['high']:.2f}",
                **paper,
            }
        )
    return f"{parts.table(lines)}\n\nIn brackets: relative to {smallest['name']}, the smallest teacher."


def write(networks: Sequence[Mapping], output: Path, *, size: int, images: int, rounds: int, command: str) -> str:
    """Write efficiency.json and efficiency.md into a folder; returns the table, and how it was measured."""
    how = (
        f"Random weights (so that almost nothing is left to suppress), noise of {size} x {size} pixels,"
        f" {images} image(s) a call, calls interleaved in {rounds} rounds, medians and quartiles"
    )
    text = table(networks)
    content = {"table": text, "networks": networks, "size": size, "images": images, "rounds": rounds}
    end = ". The paper's FPS are of another machine."
    return f"{text}\n{parts.write_timing(output / EFFICIENCY, how, end, text, content, command)}"


def measure_latency(folder: ResultsFolder, rounds: int = 11) -> dict[str, dict[str, float]]:
    """Time the finished runs' networks, trained, on a test image, and write latency.json.

    Networks that differ in their weights alone are timed once. Nothing is timed again as long as the runs are the same.

    Returns:
        ``{run: {"median", "low", "high"}}`` images per second, the latter two the quartiles.
    """
    done = sorted(folder.finished())
    earlier = read_latency(folder)
    if earlier and sorted(earlier) == done:
        return earlier
    models: dict[str, nn.Module] = {}
    network_of: dict[str, str] = {}
    batch: list[dict] = []
    for key in done:
        cfg = load_config(str(folder.path / key / "config.yaml"), UNTRAINED)
        network_of[key] = _network_hash(cfg)
        if network_of[key] not in models:
            models[network_of[key]], _ = load_detector(cfg, str(folder.weights(key)))
        batch = batch or next(iter(MedDetTrainer.build_test_loader(cfg, cfg.DATASETS.TEST[0])))
    speeds = throughputs(models, batch, rounds=rounds) if models else {}
    rates = {key: speeds[network] for key, network in network_of.items()}
    write_json(folder.path / LATENCY, {"hardware": hardware(), "rounds": rounds, "images_per_second": rates})
    return rates


def read_latency(folder: ResultsFolder) -> dict[str, dict[str, float]]:
    """Images per second by run, as they were measured last; empty if they never were."""
    return (parts.read_json(folder.path / LATENCY) or {"images_per_second": {}})["images_per_second"]


def _network_hash(cfg: CfgNode) -> str:
    """A hash of what is deployed: the same for a student alone and one that was taught."""
    plain = cfg.clone()
    for name in set(plain) - {"MODEL", "DISTILL", "SEED", "OUTPUT_DIR"}:
        del plain[name]
    plain.DISTILL.ENABLED = False
    return config_hash(plain)
