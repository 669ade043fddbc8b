"""The landmarks of a batch, and what is refused."""

import pytest
import torch
from small_landmarks import K, picture

from detectron2.structures import Instances
from meddet_d2.modeling.heatmap.landmark_labels import LandmarkTruth


def truth(*inputs, structures=0):
    return LandmarkTruth.of(list(inputs), K, structures, "cpu")


def test_a_batch_with_missing_landmarks_and_an_image_without_any():
    some = picture((64, 48), [[1.0, 2.0, 2], [3.5, 4.5, 1], [float("nan"), -7.0, 0]])
    found = truth(some, picture(landmarks=[]), picture(seed=1))
    assert found.points.shape == (3, K, 2) and len(found) == 3
    assert found.present.tolist() == [[True, True, False], [False] * 3, [True] * 3]
    assert found.points[0].tolist() == [[1, 2], [3.5, 4.5], [0, 0]]
    assert found.image_sizes == ((64, 48), (64, 64), (64, 64))
    assert torch.equal(found[1:].points, found.points[1:]) and len(found[:0]) == 0


def test_masks_are_padded_with_what_is_not_known():
    found = truth(picture((64, 48)), picture((60, 64)), structures=2)
    assert found.structures.shape == (2, 2, 64, 64)
    assert (found.structures[0, :, :, 48:] == 255).all() and (found.structures[1, :, 60:] == 255).all()
    assert found.structures[1, :, :60].max() == 1 and found[1:].structures.shape == (1, 2, 64, 64)


def without(name):
    inputs = picture()
    inputs["instances"] = Instances(
        (64, 64), **{k: v for k, v in inputs["instances"].get_fields().items() if k != name}
    )
    return inputs


def twice():
    inputs = picture()
    landmarks = inputs["instances"].gt_landmarks
    inputs["instances"] = Instances((64, 64), gt_landmarks=torch.cat([landmarks, landmarks]))
    return inputs


@pytest.mark.parametrize(
    "inputs, message",
    [
        (picture(landmarks=[[1.0, 2.0, 2], [3.0, 65.0, 2], [1.0, 1.0, 2]]), r"landmark 2 is at \(3.0, 65.0\), outside"),
        (picture(landmarks=[[1.0, 2.0, 2], [-9.0, 5.0, 1], [1.0, 1.0, 2]]), r"landmark 2 is at \(-9.0, 5.0\), outside"),
        (picture(landmarks=[[float("nan"), 2.0, 2], [3.0, 5.0, 1], [1.0, 1.0, 2]]), r"landmark 1 is at \(nan, 2.0\)"),
        (without("gt_landmarks"), r"no landmarks; name a data set of landmarks in DATASETS\.TRAIN"),
        (without("gt_structures"), r"no masks where MODEL\.LANDMARK\.TASKS has structure"),
        (twice(), r"landmarks of shape \(2, 3, 3\); an image has one set"),
        (
            {**picture(), "instances": picture((32, 64))["instances"]},
            r"size \(64, 64\) and its 'instances' of \(32, 64",
        ),
        ({"image": picture()["image"], "file_name": "0.png"}, "no 'instances' to train with"),
    ],
)
def test_what_is_wrong_is_one_line_that_names_the_image(inputs, message):
    with pytest.raises(ValueError, match=rf"^0\.png: .*{message}") as caught:
        truth(picture(seed=3), inputs, structures=2)
    assert "\n" not in str(caught.value)


def test_another_number_of_landmarks_or_structures():
    with pytest.raises(ValueError, match=r"0\.png: 3 landmarks, but the network has 5; set MODEL\.LANDMARK\.NUM_KEYP"):
        LandmarkTruth.of([picture()], 5, 0, "cpu")
    with pytest.raises(ValueError, match=r"0\.png: masks of shape \(1, 2, 64, 64\).*shape \(1, 4, 64, 64\)"):
        LandmarkTruth.of([picture()], K, 4, "cpu")
