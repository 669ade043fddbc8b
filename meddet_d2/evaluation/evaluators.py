"""Which evaluator a network's results go to."""

from collections.abc import Mapping, Sequence
from typing import Any

from fvcore.common.registry import Registry

from meddet_d2.distillation import task_for

EVALUATOR_REGISTRY = Registry("EVALUATOR")
EVALUATOR_REGISTRY.__doc__ = """
Evaluators: classes built with a data set's name and ``output_dir``, as Detectron2's ``DatasetEvaluator``. Each has
``RESULT``, the :attr:`Task.result` that it judges, ``PRIMARY``, the metric to go by, as "<group>/<metric>", and
``draw(network, loader, dataset_name, path)``, which writes a picture of some predictions. ``SMALLER_IS_BETTER`` lists
those of its metrics that are better when they are smaller; without it, all are better when they are larger. ``SUMMARY``
has the metrics of a run's table: by their key in summary.json, the metric and its decimals; without it, PRIMARY alone.
``unit(dataset_name)`` says what errors on a data set are in, where that is not the same for all.
"""


def evaluator_for(cfg: Any) -> Any:
    """The evaluator's class for the network that a config describes.

    Raises:
        ValueError: no task speaks for its meta-architecture, or no evaluator judges what comes out of it.
    """
    result = task_for(cfg.MODEL.META_ARCHITECTURE).result
    for _, evaluator in EVALUATOR_REGISTRY:
        if result == evaluator.RESULT:
            return evaluator
    known = ", ".join(sorted(evaluator.RESULT for _, evaluator in EVALUATOR_REGISTRY))
    raise ValueError(f"No evaluator judges {result}; known are {known}. Register one in EVALUATOR_REGISTRY.")


def is_better_smaller(evaluator: Any, metric: str) -> bool:
    """Whether an evaluator's metric is better when it is smaller; that of a class ("AP-<class>") is as its kind."""
    return metric.partition("-")[0] in getattr(evaluator, "SMALLER_IS_BETTER", ())


def summary_columns(evaluator: Any) -> Mapping[str, tuple[str, int]]:
    """The metrics of a run's table by their key in summary.json: each one's name, which heads it, and its decimals."""
    primary = evaluator.PRIMARY.split("/")[-1]
    return getattr(evaluator, "SUMMARY", {primary: (primary, 2)})


def unit_of(evaluator: Any, names: Sequence[str]) -> str | None:
    """What an evaluator's errors on some data sets are in, "mm" or "px"; None for one whose metrics have no unit.

    Raises:
        ValueError: they are in mm on one and in pixels on another, so that they have no mean.
    """
    if not hasattr(evaluator, "unit"):
        return None
    units = {name: evaluator.unit(name) for name in names}
    if len(set(units.values())) > 1:
        listed = ", ".join(f"{name} in {unit}" for name, unit in units.items())
        raise ValueError(f"Errors have no mean over these data sets ({listed}); evaluate them in runs of their own.")
    return next(iter(units.values()), None)


def first_metrics(results: Mapping[str, Any]) -> Mapping[str, float]:
    """The metrics of an evaluation's primary group, of its first data set where it has several; {} where it has none.

    Args:
        results: ``{group: {metric: value}}``, or such a dict for each data set. Empty on processes other than the main
            one.
    """
    for group in (evaluator.PRIMARY.split("/")[0] for _, evaluator in EVALUATOR_REGISTRY):
        if group in results:
            return results[group]
    return first_metrics(next(iter(results.values()))) if results else {}
