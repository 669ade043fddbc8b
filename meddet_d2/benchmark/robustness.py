"""Trained networks under MRI noise: every corruption in every severity, on the same corrupted images for all of them.

What is measured goes into robustness.json after each condition (a corruption in a severity, or "clean"). So a run that
was stopped goes on where it was. robustness_report.py makes tables and a picture of it.
"""

import contextlib
import io
import itertools
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from tqdm import tqdm

from detectron2.data import DatasetCatalog, MetadataCatalog
from meddet_d2.data import MedDetDatasetMapper, read_image, register_datasets
from meddet_d2.data.mri_noise import check_corruption, corrupt, image_seed
from meddet_d2.distillation import task_of
from meddet_d2.evaluation import evaluator_for, first_metrics
from meddet_d2.files import checksum, write_json
from meddet_d2.hardware.gpu_memory import enough_memory

from ..provenance import hardware
from .report_parts import read_json
from .trained_networks import Network

ROBUSTNESS = "robustness.json"
CLEAN = "clean"
METRICS = ("AP50", "AP", "recall50")
# What two measurements must have in common to stand in one table.
SAME = ("sources", "engine", "dataset", "annotations", "corruptions", "severities")


def conditions(corruptions: Sequence[str], severities: Sequence[int]) -> dict[str, tuple[str, int] | None]:
    """Every condition by its name in the json, "clean" first.

    Raises:
        ValueError: an unknown corruption or severity, or one is given twice.
    """
    pairs = list(itertools.product(corruptions, severities))
    for pair in pairs:
        check_corruption(*pair)
    named = {condition_name(*pair): pair for pair in pairs}
    if len(named) != len(pairs) or not named:
        raise ValueError("Give at least one corruption and one severity, and each of them once.")
    return {CLEAN: None, **named}


def condition_name(corruption: str, severity: int) -> str:
    """What a condition is called in the json."""
    return f"{corruption}/{severity}"


def measure(
    networks: Sequence[Network],
    output: Path,
    *,
    corruptions: Sequence[str],
    severities: Sequence[int],
    batch: int,
    command: str,
    made_by: Mapping[str, object],
) -> dict:
    """Measure what output/robustness.json does not hold yet.

    Args:
        networks: to be tested, on the same data set.
        output: the folder of robustness.json.
        corruptions, severities: conditions, besides the clean images.
        batch: images that go through a network at once, at least 1.
        command: for the record.
        made_by: the present provenance.

    Returns:
        The content of robustness.json, which then has all conditions of all ``networks``.

    Raises:
        FileNotFoundError, ValueError: a config, checkpoint or image is missing or wrong, the networks were not trained
            for one data set, or the file holds what these cannot stand beside. One line that names it.
    """
    named = conditions(corruptions, severities)
    if batch < 1:
        raise ValueError(f"--batch is {batch}; give the number of images at once, from 1 up.")
    for network in tqdm(networks, desc="Loading", unit="network", disable=None, leave=False):
        network.load()
        result = task_of(network.model).result
        if result != "boxes":
            raise ValueError(
                f"{network.label} finds {result}, but this table is of boxes' AP; leave it out, and evaluate it on"
                " noisy images (meddet evaluate)."
            )
    dataset = _dataset(networks)
    images = len(DatasetCatalog.get(dataset))
    head = {
        "dataset": dataset,
        "annotations": checksum(MetadataCatalog.get(dataset).json_file)[:12],
        "images": images,
        "corruptions": list(corruptions),
        "severities": list(severities),
        "hardware": hardware(),
        **made_by,
    }
    content = _begin(output / ROBUSTNESS, head, networks, command)
    missing = {name: [item for item in networks if name not in item.record["measured"]] for name in named}
    missing = {name: items for name, items in missing.items() if items}
    total = images * sum(map(len, missing.values()))
    begin = time.monotonic()
    with tqdm(total=total, desc="MRI noise", unit="image", disable=None, dynamic_ncols=True) as bar:
        for number, (name, items) in enumerate(missing.items(), 1):
            bar.set_description(name)
            for item, metrics in zip(items, _test(items, dataset, named[name], batch, bar), strict=True):
                item.record["measured"][name] = metrics
            write_json(output / ROBUSTNESS, content)
            scores = sorted(item.record["measured"][name]["AP50"] for item in items)
            left = tqdm.format_interval((time.monotonic() - begin) * (len(missing) / number - 1))
            tqdm.write(f"[{number}/{len(missing)}] {name}: AP50 {scores[0]:.1f} to {scores[-1]:.1f} (left {left})")
    return content


def _dataset(networks: Sequence[Network]) -> str:
    """Register the networks' test set and give its name; refuse networks of different ones."""
    first = networks[0]
    for item in networks:
        if not item.cfg.DATASETS.TEST:
            raise ValueError(f"{item.label}: DATASETS.TEST is empty; name the data set to test on.")
        ours, theirs = (other.cfg.DATASETS for other in (first, item))
        if ours.TEST[0] != theirs.TEST[0] or ("phantom" in ours.TEST[0] and ours.PHANTOM != theirs.PHANTOM):
            raise ValueError(
                f"{first.label} and {item.label} have different test sets (DATASETS.TEST or"
                " DATASETS.PHANTOM); test them apart, each with another --output."
            )
    register_datasets(first.cfg)
    return first.cfg.DATASETS.TEST[0]


def _begin(path: Path, head: dict, networks: Sequence[Network], command: str) -> dict:
    """The json to go on with: what is there already, with the networks that are new to it."""
    content = read_json(path) or {**head, "commands": [], "networks": []}
    for key in SAME:
        if content.get(key) != head[key]:
            raise ValueError(
                f"{path} was made with the {key} {content.get(key)}, now it is {head[key]}; delete it or move it away."
            )
    known = {(record["row"], record["seed"]): record for record in content["networks"]}
    for item in networks:
        earlier = known.get((item.row, item.seed))
        if earlier is None:
            content["networks"].append(item.record)
        elif earlier["weights"] != item.record["weights"]:
            raise ValueError(f"{path} holds {item.label} with other weights; delete it or move it away.")
        else:
            item.record = earlier
    if command not in content["commands"]:
        content["commands"].append(command)
    return content


def _test(
    items: Sequence[Network], dataset: str, condition: tuple[str, int] | None, batch: int, bar: tqdm
) -> list[dict[str, float]]:
    """``METRICS`` of each network under one condition. An image is read and corrupted once for all of them."""
    records = DatasetCatalog.get(dataset)
    mappers = [MedDetDatasetMapper(item.cfg, is_train=False) for item in items]
    evaluators = [evaluator_for(item.cfg)(dataset, distributed=False) for item in items]
    for evaluator in evaluators:
        evaluator.reset()
    for start in range(0, len(records), batch):
        part = records[start : start + batch]
        images = [_image(record, condition) for record in part]
        for item, mapper, evaluator in zip(items, mappers, evaluators, strict=True):
            inputs = [mapper.map_image(record, image) for record, image in zip(part, images, strict=True)]
            what = f"--batch {len(part)} at INPUT.MIN_SIZE_TEST {item.cfg.INPUT.MIN_SIZE_TEST}"
            with torch.inference_mode(), enough_memory(what, "lower one of them"):
                evaluator.process(inputs, item.model(inputs))
            bar.update(len(part))
    # COCO's own report of every evaluation goes to the standard output.
    with contextlib.redirect_stdout(io.StringIO()):
        results = [first_metrics(evaluator.evaluate()) for evaluator in evaluators]
    return [{metric: result[metric] for metric in METRICS} for result in results]


def _image(record: dict, condition: tuple[str, int] | None):
    image = read_image(record["file_name"])
    if condition is None:
        return image
    try:
        return corrupt(image, *condition, image_seed(*condition, record["image_id"]))
    except ValueError as error:
        raise ValueError(f"{record['file_name']}: {error}") from error
