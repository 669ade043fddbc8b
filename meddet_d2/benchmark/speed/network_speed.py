"""Networks by number of images: each alone, eager and as a CUDA graph, and from decoded images to boxes.

A graph is the floor: what the GPU needs where it never waits for Python.
"""

import copy
from collections.abc import Callable
from functools import partial

import torch

from meddet_d2.evaluation.timing import noise_batch
from meddet_d2.hardware.cuda_graphs import graph_network

from .speed_report import SpeedReport
from .timed_networks import Setup, network_alone, with_graph


def time_networks(report: SpeedReport, setup: Setup) -> None:
    """Fill a group for each number of images: "batch_1", "batch_8", "batch_32", or some of them.

    All calls of a group are timed in one run. Predictions are in fp32, and their ratios are to the network in fp32.
    """
    detectors = setup.detectors()
    for count in setup.batches:
        group = report.group(f"batch_{count}", setup.device)
        with report.allowing_failure(f"{group}, all of it,"):
            _time_batch(report, setup, group, detectors, count)


def _time_batch(report: SpeedReport, setup: Setup, group: str, detectors: dict, count: int) -> None:
    batch = noise_batch(setup.size, count)
    calls: dict[str, Callable[[], object]] = {}
    for name, detector in detectors.items():
        images = detector.preprocess_image(batch).tensor
        for precision, dtype in setup.precisions.items():
            function = network_alone(detector, dtype, setup.device)
            calls |= with_graph(report, setup, group, f"{name}, network, {precision}", function, images)
        predict = torch.inference_mode()
        calls[f"{name}, prediction"] = predict(partial(detector, batch))
        if setup.graphs:
            # Of the same weights; only what it calls its network is another.
            graphed = copy.copy(detector)
            graph_network(graphed, 1)
            calls[f"{name}, prediction, MODEL.CUDA_GRAPHS"] = predict(partial(graphed, batch))
    report.time(group, calls, images=count)
    for name in detectors:
        _ratios(report, setup, group, name)
    _comparisons(report, setup, group, detectors)


def _ratios(report: SpeedReport, setup: Setup, group: str, name: str) -> None:
    """Of one network."""
    key, alone, whole = name.replace(" ", "_"), f"{name}, network, fp32", f"{name}, prediction"
    report.ratio(group, f"{key}_prediction_over_network", whole, f"{alone}, eager")
    if setup.graphs:
        graphed = f"{whole}, MODEL.CUDA_GRAPHS"
        report.ratio(group, f"{key}_prediction_over_floor", whole, f"{alone}, graph")
        report.ratio(group, f"{key}_graphs_over_network", graphed, f"{alone}, eager")
        report.ratio(group, f"{key}_graphs_over_floor", graphed, f"{alone}, graph")
        for precision in setup.precisions:
            label = f"{name}, network, {precision}"
            report.ratio(group, f"{key}_eager_over_graph_{precision}", f"{label}, eager", f"{label}, graph")


def _comparisons(report: SpeedReport, setup: Setup, group: str, names: dict) -> None:
    """What nmODE^2 adds, and the other networks against the student."""
    plain = "student without nmODE2"
    report.ratio(group, "added_latency", "student, prediction", f"{plain}, prediction")
    for precision in setup.precisions if setup.graphs else ():
        rest = f"network, {precision}, graph"
        report.ratio(group, f"added_latency_graph_{precision}", f"student, {rest}", f"{plain}, {rest}")
    for name in [name for name in names if name not in ("student", plain)]:
        report.ratio(group, f"{name}_over_student", f"{name}, prediction", "student, prediction")
