"""The phantom's landmarks lie on the anatomy that is painted, and leave the data set of boxes as it is."""

import json
from dataclasses import replace

import cv2
import numpy as np
import pytest
from small_phantom import small_phantom

from meddet_d2.layout.csxa_names import CSXA_NAMES
from meddet_d2.layout.data_set import DataSet
from meddet_d2.layout.landmarks import NOT_LABELLED
from meddet_d2.phantom import PHANTOM_LANDMARKS, PhantomParams, generate, generate_landmarks, make_patient
from meddet_d2.phantom.anatomy import LEVELS
from meddet_d2.phantom.canvas import Canvas
from meddet_d2.phantom.landmark_dataset import landmarks_folder, neck_landmarks, neck_structures
from meddet_d2.phantom.phantom_dataset import new_canvas

PARAMS = small_phantom()
LARGE = replace(PARAMS, size=512)


def points_of(params: PhantomParams, made) -> dict[str, np.ndarray]:
    points = neck_landmarks(made.neck, made.canvas, params.size)
    return {name: np.array(point) for name, point in zip(PHANTOM_LANDMARKS.names, points, strict=True)}


def mask_of(params: PhantomParams, made, outline: np.ndarray) -> np.ndarray:
    """(S, S): the share of each pixel that the painting fills with an outline."""
    canvas: Canvas = new_canvas(params, made.neck)
    canvas.fill(outline, 1.0)
    return canvas.render()[0]


def centroid(mask: np.ndarray) -> np.ndarray:
    rows, columns = np.indices(mask.shape)
    return np.array([(mask * (columns + 0.5)).sum(), (mask * (rows + 0.5)).sum()]) / mask.sum()


def test_names_are_csxa_s_and_the_discs_():
    assert len(CSXA_NAMES) == 23 and len(PHANTOM_LANDMARKS.names) == len(set(PHANTOM_LANDMARKS.names)) == 29
    assert CSXA_NAMES[:5] == ("C2 centroid", "C2 bottom left", "C2 bottom right", "C3 top left", "C3 top right")
    assert CSXA_NAMES[-1] == "C7 bottom right" and PHANTOM_LANDMARKS.names[23:] == tuple(f"{x} disc" for x in LEVELS)
    assert {name for pair in PHANTOM_LANDMARKS.skeleton for name in pair} == set(PHANTOM_LANDMARKS.names)


@pytest.mark.parametrize("number", range(3))
def test_a_disc_centre_is_the_middle_of_its_painted_disc_and_in_its_box(number):
    for made in make_patient(LARGE, "train", number):
        points = points_of(LARGE, made)
        assert len(made.boxes) == 6
        for disc, (x, y, width, height) in made.boxes:
            centre = points[f"{disc.level} disc"][:2]
            mask = mask_of(LARGE, made, disc.body_outline())
            assert mask[int(centre[1]), int(centre[0])] == 1.0
            # Where the neck is bent a disc is a wedge, whose centroid lies a little toward its wide end.
            assert np.abs(centroid(mask) - centre).max() < 0.5
            assert x < centre[0] < x + width and y < centre[1] < y + height


@pytest.mark.parametrize("number", range(3))
def test_corners_of_bodies_lie_on_the_border_of_what_is_painted(number):
    made = make_patient(LARGE, "train", number)[0]
    points = points_of(LARGE, made)
    for vertebra, body in zip(("C2", "C3", "C4", "C5", "C6", "C7"), made.neck.bodies(), strict=False):
        mask = (mask_of(LARGE, made, body.outline()) > 0.5).astype(np.uint8)
        middle = centroid(mask)
        if vertebra == "C2":
            assert np.abs(points["C2 centroid"][:2] - middle).max() < 0.5
        for corner in ("top left", "top right", "bottom left", "bottom right"):
            if vertebra == "C2" and corner.startswith("top"):
                continue
            point = points[f"{vertebra} {corner}"][:2]
            # Distances of pixel middles to the nearest pixel on the other side of the border.
            inside, outside = (cv2.distanceTransform(one, cv2.DIST_L2, 5) for one in (mask, 1 - mask))
            column, row = point.astype(int)
            assert max(inside[row, column], outside[row, column]) <= 1.5
            out = (point - middle) / np.linalg.norm(point - middle)
            for step, value in ((-1.5, 1), (1.5, 0)):
                column, row = np.floor(point + step * out).astype(int)
                assert mask[row, column] == value, f"{vertebra} {corner}"
            # In the picture itself: dark bone at the corner, marrow in the middle.
            assert made.image[int(point[1]), int(point[0])] < 0.6 * made.image[int(middle[1]), int(middle[0])]


def test_left_is_the_front_and_vertebrae_follow_each_other():
    for number in range(6):
        points = points_of(LARGE, make_patient(LARGE, "test", number)[0])
        for vertebra in ("C3", "C4", "C5", "C6", "C7"):
            for end in ("top", "bottom"):
                assert points[f"{vertebra} {end} left"][0] < points[f"{vertebra} {end} right"][0]
            for side in ("left", "right"):
                assert points[f"{vertebra} top {side}"][1] < points[f"{vertebra} bottom {side}"][1]
        heights = [points["C2 centroid"][1], *(points[f"{level} disc"][1] for level in LEVELS)]
        assert heights == sorted(heights)


def test_what_zoom_moves_out_of_the_image_is_not_labelled():
    zoomed = replace(LARGE, zoom=3.0)
    whole, part = (make_patient(params, "train", 0)[0] for params in (LARGE, zoomed))
    before, after = points_of(LARGE, whole), points_of(zoomed, part)
    seen = [name for name, point in after.items() if point[2] > 0]
    assert 4 < len(seen) < 25
    assert all(tuple(after[name]) == NOT_LABELLED for name in after if name not in seen)
    # ZOOM magnifies about one point, so what is left moves by one map, and what is gone would lie outside.
    shift = after[seen[0]][:2] - 3.0 * before[seen[0]][:2]
    for name, point in before.items():
        moved = 3.0 * point[:2] + shift
        if name in seen:
            assert np.abs(moved - after[name][:2]).max() < 1e-3
        else:
            assert (moved < 0).any() or (moved > 512).any()


@pytest.mark.parametrize("zoom", [1.0, 2.0])
def test_structures_are_what_is_painted_of_bodies_and_discs(zoom):
    params = replace(LARGE, zoom=zoom)
    made = make_patient(params, "train", 1)[0]
    bodies, discs = neck_structures(made.neck, made.canvas, 512)
    painted = new_canvas(params, made.neck)
    for body in made.neck.bodies():
        painted.fill(body.outline(), 1.0)
    for disc in made.neck.discs:
        painted.fill(disc.body_outline(), 0.0, 0.5)
        painted.fill(disc.lobe_outline(), 0.0, 0.5)
    for polygons, expected in zip((bodies, discs), painted.render(), strict=True):
        mask = np.zeros((512, 512), np.uint8)
        for polygon in polygons:
            corners = np.reshape(polygon, (-1, 2)) - 0.5
            cv2.fillPoly(mask, [np.rint(32 * corners).astype(np.int32)], 1, shift=5)
        inside = expected > 0.5 * expected.max()
        assert (inside & (mask > 0)).sum() / (inside | (mask > 0)).sum() > 0.93
    assert 6 < len(bodies) <= 10 if zoom == 1.0 else len(bodies) < 7


def read(params: PhantomParams, root) -> dict:
    folder = generate_landmarks(params, root)
    return DataSet(json_file=folder / "train.json", images=params.folder(root) / "images").read()


def test_millimetres_do_not_depend_on_size_and_zoom(tmp_path):
    lengths = []
    for number, params in enumerate((PARAMS, replace(PARAMS, size=160, zoom=1.5), replace(PARAMS, size=64))):
        content = read(params, tmp_path / str(number))
        image, values = content["images"][0], content["annotations"][0]["landmarks"]
        assert image["spacing"] == [pytest.approx(230 / (params.size * params.zoom), abs=1e-6)] * 2
        one, other = (np.array(values[3 * n : 3 * n + 2]) * image["spacing"][0] for n in (3, 22))
        lengths.append(np.linalg.norm(one - other))
    assert lengths == pytest.approx([lengths[0]] * 3, rel=1e-4)
    assert 70 < lengths[0] < 130  # from C3's top to C7's bottom


def test_the_boxes_stay_as_they_are_and_lend_their_images(tmp_path):
    made = generate(PARAMS, tmp_path / "alone")
    content = read(PARAMS, tmp_path / "both")
    folder = landmarks_folder(PARAMS, tmp_path / "both")
    assert sorted(path.name for path in folder.iterdir()) == ["test.json", "train.json"]
    for path in made.rglob("*.*"):
        assert path.read_bytes() == (PARAMS.folder(tmp_path / "both") / path.relative_to(made)).read_bytes()
    assert [image["patient_id"] for image in content["images"]] == ["train-0001"] * 2 + ["train-0002"] * 2
    assert content["info"]["phantom"] is True and content["categories"][0]["flip_pairs"] == []
    before = (folder / "train.json").stat().st_mtime_ns
    generate_landmarks(PARAMS, tmp_path / "both")
    assert (folder / "train.json").stat().st_mtime_ns == before
    box = content["annotations"][0]
    xs, ys = box["landmarks"][0::3], box["landmarks"][1::3]
    assert box["bbox"] == pytest.approx([min(xs), min(ys), max(xs) - min(xs), max(ys) - min(ys)], abs=2e-4)
    # The json's points are those of the slice that is painted, in its pixels.
    second = json.loads((folder / "train.json").read_text())["annotations"][1]
    slices = make_patient(PARAMS, "train", 0)
    assert second["landmarks"] == [v for point in neck_landmarks(slices[1].neck, slices[1].canvas, 96) for v in point]
