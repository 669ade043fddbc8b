"""Graphs by size of batch: with a recorder in CUDA's place everywhere, and with CUDA's where there is a GPU."""

from itertools import chain

import pytest
import torch
from tiny_gfl import student_config, two_images

from detectron2.modeling import build_model
from meddet_d2.deploy.torch_predictor import TorchPredictor
from meddet_d2.engine import DistillationTrainer, MedDetTrainer, evaluate
from meddet_d2.hardware import fast
from meddet_d2.hardware.cuda_graphs import GraphedNetwork, graph_network, record


def recorder(log):
    """As CUDA's: one memory for all outputs of a graph, and what is replayed is what the function then was."""

    def record_here(function, images):
        log.append(tuple(images.shape))
        memory = function(images)

        def replay(images):
            for place, values in zip(chain(*memory), chain(*function(images)), strict=True):
                place.copy_(values)
            return memory

        return replay

    return record_here


@pytest.fixture
def detector(tmp_path):
    torch.manual_seed(0)
    cfg = student_config(tmp_path)
    cfg.MODEL.DEVICE = "cpu"
    model = build_model(cfg).eval()
    model.score_thresh = 0.0  # or random weights find nothing
    return model


def found(model, inputs):
    with torch.inference_mode():
        return [result["instances"].get_fields() for result in model(inputs)]


def test_one_graph_for_a_size_and_the_same_boxes(detector, caplog):
    inputs = two_images()
    others = [{**one, "image": one["image"].flip(1)} for one in inputs]
    expected = [found(detector, batch) for batch in (inputs, others, inputs[:1])]
    log: list[tuple[int, ...]] = []
    detector.network = GraphedNetwork(detector.network, 1, recorder(log))
    for _ in range(2):
        for batch, wanted in zip((inputs, others, inputs[:1]), expected, strict=True):
            for one, right in zip(found(detector, batch), wanted, strict=True):
                assert len(right["scores"]) > 10
                torch.testing.assert_close(one["scores"], right["scores"])
                torch.testing.assert_close(one["pred_boxes"].tensor, right["pred_boxes"].tensor)
    # The second size is above the limit: it runs without a graph, and one warning says so.
    assert len(log) == 1 and log[0][0] == 2
    assert caplog.text.count("MODEL.CUDA_GRAPHS is 1, and batches had so many sizes before this one of 1 x ") == 1


def test_no_graph_where_gradients_are_kept_or_under_autocast(detector):
    log: list[tuple[int, ...]] = []
    detector.network = GraphedNetwork(detector.network, 4, recorder(log))
    detector(two_images())
    with torch.no_grad(), torch.autocast("cpu", dtype=torch.bfloat16):
        detector(two_images())
    assert log == []
    with torch.no_grad():
        detector(two_images())
    assert len(log) == 1


def test_without_cuda_a_warning_and_the_network_as_it_is(detector, caplog):
    graph_network(detector, 2)
    assert "MODEL.CUDA_GRAPHS is 2, but MODEL.DEVICE is cpu" in caplog.text and "network" not in vars(detector)


def test_mistakes_are_one_line(detector):
    with pytest.raises(ValueError, match=r"MODEL.CUDA_GRAPHS is -1; give a number of sizes"):
        graph_network(detector, -1)
    with pytest.raises(ValueError, match=r"a Linear has no network to record"):
        graph_network(torch.nn.Linear(1, 1), 1)


def test_cudas_graphs_replay_new_images_and_new_weights(detector, cuda):
    detector.to(cuda)
    batches = [two_images(), [{**one, "image": one["image"].flip(2)} for one in two_images()]]
    eager = [found(detector, batch) for batch in batches]
    graph_network(detector, 1)
    for batch, wanted in zip(batches, eager, strict=True):
        for one, right in zip(found(detector, batch), wanted, strict=True):
            torch.testing.assert_close(one["scores"], right["scores"], rtol=1e-4, atol=1e-5)
    with torch.no_grad():
        detector.head.cls_predictor.bias.add_(3.0)
    assert found(detector, batches[0])[0]["scores"].max() > 1.5 * eager[0][0]["scores"].max()


def test_a_recorded_function_is_called_no_more(cuda):
    calls = []

    def double(x):
        calls.append(1)
        return 2 * x

    replay = record(double, torch.zeros(3, device=cuda))
    count = len(calls)
    assert replay(torch.arange(3.0, device=cuda)).tolist() == [0, 2, 4] and len(calls) == count


def test_every_way_to_evaluate_asks_for_graphs(tmp_path, monkeypatch):
    """Training's, --eval-only's and predict's; the machine need not have CUDA."""
    cfg, asked = student_config(tmp_path), []
    cfg.MODEL.CUDA_GRAPHS = 3
    cfg.MODEL.WEIGHTS = str(tmp_path / "student.pth")
    torch.save({"model": build_model(cfg).state_dict(), "classes": ["a", "b"]}, cfg.MODEL.WEIGHTS)
    monkeypatch.setattr(fast, "graph_network", lambda network, sizes: asked.append(sizes))
    monkeypatch.setattr(MedDetTrainer, "test", lambda cfg, model: {})
    DistillationTrainer.build_model(cfg)
    evaluate(cfg)
    TorchPredictor(cfg, cfg.MODEL.WEIGHTS)
    assert asked == [3, 3, 3]
