"""How fast the networks of a results folder are: side by side, trained, on a test image."""

from torch import nn

import meddet_d2
from detectron2.modeling import build_model
from meddet_d2.data import register_datasets
from meddet_d2.engine import MedDetTrainer
from meddet_d2.evaluation.timing import throughputs
from meddet_d2.files import write_json
from meddet_d2.modeling.weights import load_detector_weights

from ..provenance import hardware
from .plan import config_hash
from .report_parts import read_json
from .results_folder import ResultsFolder

LATENCY = "latency.json"


def measure_latency(folder: ResultsFolder, rounds: int = 11) -> dict[str, dict]:
    """Time the finished runs' networks, interleaved, and write latency.json.

    Networks that differ in their weights alone are timed once. Nothing is timed again as long as the runs are the same.

    Returns:
        ``{run: {"median", "low", "high"}}`` images per second of every finished run.
    """
    done = sorted(key for key, record in folder.records().items() if record["status"] == "done")
    earlier = read_json(folder.path / LATENCY)
    if earlier and sorted(earlier["images_per_second"]) == done:
        return earlier["images_per_second"]
    models: dict[str, nn.Module] = {}
    network_of: dict[str, str] = {}
    batch: list[dict] = []
    for key in done:
        cfg = meddet_d2.load_config(str(folder.path / key / "config.yaml"))
        cfg.MODEL.BOTTOM_UP.PRETRAINED = False
        network_of[key] = _network_hash(cfg)
        if network_of[key] not in models:
            model = build_model(cfg)
            load_detector_weights(model, str(folder.weights(key)))
            models[network_of[key]] = model
        if not batch:
            register_datasets(cfg)
            batch = next(iter(MedDetTrainer.build_test_loader(cfg, cfg.DATASETS.TEST[0])))
    speeds = throughputs(models, batch, rounds=rounds) if models else {}
    rates = {key: vars(speeds[network]) for key, network in network_of.items()}
    write_json(folder.path / LATENCY, {"hardware": hardware(), "rounds": rounds, "images_per_second": rates})
    return rates


def read(folder: ResultsFolder) -> dict:
    """Images per second by run, as they were measured last; empty if they never were."""
    content = read_json(folder.path / LATENCY)
    return content["images_per_second"] if content else {}


def _network_hash(cfg) -> str:
    """A hash of what is deployed: the same for a student alone and one that was taught."""
    plain = cfg.clone()
    for name in list(plain):
        if name not in ("MODEL", "DISTILL", "SEED", "OUTPUT_DIR"):
            del plain[name]
    plain.DISTILL.ENABLED = False
    return config_hash(plain)
