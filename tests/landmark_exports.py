"""A small landmark network on the disk: its checkpoint, and the files of an export through the command line."""

import pytest
import small_landmarks
import torch
from tiny_runs import load_tool

LANDMARKS = ("C2 top left", "C2 top right", "C2/3")
OPTIONS = [
    *("MODEL.META_ARCHITECTURE", "LandmarkDetector", *small_landmarks.PYRAMID),
    *("MODEL.LANDMARK.CHANNELS", 16, "DATASETS.TRAIN", ("no_such_set",), "DATASETS.TEST", ()),
    *("INPUT.MIN_SIZE_TEST", 96, "INPUT.MAX_SIZE_TEST", 96),
]


def like_a_trained_one(network):
    """The network with maps that differ from place to place, which those of random weights do not."""
    with torch.no_grad():
        network.head.predictor.weight.normal_(std=0.1)
    return network.eval()


@pytest.fixture(scope="session")
def landmark_export(tmp_path_factory):
    """The folder of the export, the network, and the options of the command: config, weights, KEY VALUE pairs."""
    folder = tmp_path_factory.mktemp("landmarks")
    network = like_a_trained_one(small_landmarks.network())
    torch.save({"model": network.state_dict(), "classes": list(LANDMARKS)}, folder / "weights.pth")
    (folder / "landmarks.yaml").write_text("VERSION: 2\n")
    arguments = ["--config-file", str(folder / "landmarks.yaml"), "--weights", str(folder / "weights.pth")]
    options = [str(option) for option in OPTIONS]
    command = [*arguments, "--output", str(folder / "exported"), *options]
    assert load_tool("export_model").main(command) == 0
    return folder / "exported", network, (arguments, options)
