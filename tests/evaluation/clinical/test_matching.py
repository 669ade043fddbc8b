"""Matching and average precision against pycocotools, scikit-learn, and by hand."""

import contextlib
import io

import numpy as np
import pytest
from clinical_sets import CLASSES, make_case, random_cases
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval
from sklearn.metrics import precision_recall_curve

from meddet_d2.evaluation.clinical.curves import average_precision, precision_recall
from meddet_d2.evaluation.clinical.matching import match

A, B = (10, 10, 20, 10), (50, 10, 20, 10)


def coco_ap(cases, iou, agnostic=False):
    """pycocotools' own average precision of each class (or of all at once), NaN without boxes."""
    images, annotations, found = [], [], []
    for case in cases:
        images.append({"id": case.number})
        for box, label, crowd in zip(case.boxes.tolist(), case.labels, case.crowd, strict=True):
            record = {"id": len(annotations) + 1, "image_id": case.number, "category_id": int(label) + 1, "bbox": box}
            annotations.append(record | {"area": box[2] * box[3], "iscrowd": int(crowd)})
        for box, label, score in zip(case.found_boxes.tolist(), case.found_labels, case.found_scores, strict=True):
            record = {"id": len(found) + 1, "image_id": case.number, "category_id": int(label) + 1, "bbox": box}
            found.append(record | {"score": float(score), "area": box[2] * box[3], "iscrowd": 0})
    categories = [{"id": index + 1, "name": name} for index, name in enumerate(CLASSES)]
    both = [COCO(), COCO()]
    with contextlib.redirect_stdout(io.StringIO()):
        for coco, records in zip(both, (annotations, found), strict=True):
            coco.dataset = {"images": images, "annotations": records, "categories": categories}
            coco.createIndex()
        evaluation = COCOeval(*both, "bbox")
        evaluation.params.iouThrs = np.array([iou])
        evaluation.params.useCats = not agnostic
        evaluation.evaluate()
        evaluation.accumulate()
    precision = evaluation.eval["precision"][0, :, :, 0, -1]
    return [np.nan if (column < 0).all() else column.mean() for column in precision.T]


@pytest.mark.parametrize("iou", [0.3, 0.5, 0.75, 1.0])
def test_average_precision_is_pycocotools_own(iou):
    rng = np.random.default_rng(0)
    for _ in range(60):
        cases = random_cases(rng)
        ours = [average_precision(match(cases, iou, [label])) for label in range(2)]
        np.testing.assert_allclose(ours, coco_ap(cases, iou), rtol=0, atol=1e-9)
        ours = average_precision(match(cases, iou))
        np.testing.assert_allclose(ours, coco_ap(cases, iou, agnostic=True)[0], rtol=0, atol=1e-9)


def test_more_than_a_hundred_detections_of_an_image():
    rng = np.random.default_rng(1)
    boxes = [(*rng.integers(0, 400, 2), 20, 20, 0) for _ in range(40)]
    found = [(*boxes[rng.integers(40)][:4], 0, rng.random()) for _ in range(130)]
    cases = [make_case(1, 1, boxes, found)]
    matches = match(cases, 0.5, [0])
    assert (len(matches.score), matches.beyond_limit) == (100, 30)
    assert average_precision(matches) == pytest.approx(coco_ap(cases, 0.5)[0], abs=1e-9)


def test_the_better_score_takes_the_box_and_the_second_is_false():
    case = make_case(boxes=[(*A, 0)], found=[(*A, 0, 0.6), (11, 10, 20, 10, 0, 0.9)])
    matches = match([case], 0.5, [0])
    assert matches.score.tolist() == [0.9, 0.6] and matches.truth.tolist() == [0, -1]


def test_a_detection_takes_the_box_that_it_overlaps_most():
    case = make_case(boxes=[(*A, 0), (12, 10, 20, 10, 0)], found=[(12, 10, 20, 10, 0, 0.9)])
    assert match([case], 0.5, [0]).truth.tolist() == [1]


def test_of_equal_overlaps_the_last_box_is_taken_as_coco_does():
    # Between two boxes, and then a detection that only the second of them would suit.
    found = [(12, 10, 20, 10, 0, 0.9), (14, 10, 20, 10, 0, 0.8)]
    cases = [make_case(boxes=[(*A, 0), (14, 10, 20, 10, 0)], found=found)]
    matches = match(cases, 0.75, [0])
    assert matches.truth.tolist() == [1, -1]
    assert average_precision(matches) == pytest.approx(coco_ap(cases, 0.75)[0], abs=1e-9)


def test_what_lies_on_a_crowd_counts_neither_way():
    found = [(*A, 0, 0.9), (*A, 0, 0.8), (*B, 0, 0.7)]
    matches = match([make_case(boxes=[(*A, 0), (*B, 0)], found=found, crowd=[0])], 0.5, [0])
    assert (matches.score.tolist(), matches.truth.tolist(), matches.on_crowd) == ([0.7], [0], 2)
    assert average_precision(matches) == pytest.approx(1.0)


def test_a_class_matters_unless_it_is_asked_not_to():
    cases = [make_case(boxes=[(*A, 0)], found=[(*A, 1, 0.9)])]
    assert not match(cases, 0.5, [0]).hit.any() and not match(cases, 0.5, [1]).hit.any()
    assert match(cases, 0.5).hit.all()


def test_the_curve_is_scikit_learns_and_counts_what_nobody_found():
    rng = np.random.default_rng(2)
    for _ in range(40):
        matches = match(random_cases(rng, steps=60), 0.5, [0])
        curve = precision_recall(matches)
        if not matches.hit.any():
            assert not curve.recall.any()
            continue
        precision, recall, threshold = precision_recall_curve(matches.hit, matches.score)
        share = matches.hit.sum() / len(matches.truth_image)
        np.testing.assert_array_equal(curve.threshold, threshold[::-1])
        np.testing.assert_allclose(curve.precision, precision[-2::-1])
        np.testing.assert_allclose(curve.recall, recall[-2::-1] * share)


def test_one_point_for_a_score_that_all_share():
    cases = [make_case(boxes=[(*A, 0), (*B, 0)], found=[(*A, 0, 0.5), (60, 60, 9, 9, 0, 0.5)])]
    curve = precision_recall(match(cases, 0.5, [0]))
    assert [column.tolist() for column in curve] == [[0.5], [0.5], [0.5]]


def test_nothing_annotated_and_nothing_found():
    empty = [make_case()]
    assert np.isnan(average_precision(match(empty, 0.5, [0]))) and not len(
        precision_recall(match(empty, 0.5, [0])).recall
    )
    assert average_precision(match([make_case(boxes=[(*A, 0)])], 0.5, [0])) == 0.0


def test_weights_are_copies_of_images():
    rng = np.random.default_rng(3)
    for _ in range(40):
        # Distinct scores: the order of equal ones is free.
        cases = random_cases(rng, steps=10**6)
        weights = rng.integers(0, 4, len(cases))
        copies = [case for case, weight in zip(cases, weights, strict=True) for _ in range(weight)]
        if not copies:
            continue
        ours, expected = average_precision(match(cases, 0.5, [0]), weights), average_precision(match(copies, 0.5, [0]))
        np.testing.assert_allclose(ours, expected, atol=1e-12)
