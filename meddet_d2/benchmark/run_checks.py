"""Mistakes that would cost a run, found before the first one."""

from collections.abc import Sequence

from tqdm import tqdm

from detectron2.config import CfgNode
from detectron2.data import DatasetCatalog
from detectron2.modeling import build_model
from meddet_d2.data import register_datasets
from meddet_d2.engine.guards import check_config
from meddet_d2.engine.stages import check_distillation

from .plan import Run


def check_runs(runs: Sequence[Run]) -> None:
    """Build every network, teacher and distiller once without memory, and read (or draw) the data sets.

    Raises:
        ValueError, FileNotFoundError: as building or reading says, with the run's name before it. An unknown backbone,
            method or fusion comes with those that are known.
    """
    distinct = list({run.config_hash: run for run in runs}.values())
    known: set[str] = set()
    for run in tqdm(distinct, desc="Checking the configs", unit="config", disable=None, leave=False):
        try:
            check_config(run.cfg)
            if run.cfg.DISTILL.ENABLED:
                check_distillation(run.cfg)
            else:
                _build(run.cfg)
            data = run.cfg.DATASETS.dump()
            if data not in known:
                register_datasets(run.cfg)
                for name in (*run.cfg.DATASETS.TRAIN, *run.cfg.DATASETS.TEST):
                    DatasetCatalog.get(name)
                known.add(data)
        except (ValueError, OSError, KeyError) as error:
            message = error.args[0] if isinstance(error, KeyError) and error.args else error
            raise ValueError(f"{run.name} ({run.source}): {message}") from error


def _build(cfg: CfgNode) -> None:
    cfg = cfg.clone()
    cfg.defrost()
    cfg.MODEL.DEVICE = "meta"
    cfg.MODEL.BOTTOM_UP.PRETRAINED = False
    build_model(cfg)
