"""3D Slicer's points: read as they are, moved to the slice's pixels, and refused where nothing says how."""

import json

import numpy as np
import pytest
from dicom_files import write_dicom

from meddet_d2.cli import prepare_images
from meddet_d2.curation.preparation.slicer import on_slice, read_slicer

# A slice that is tilted in the patient: the directions of its rows and its columns.
ROW, COLUMN = np.array([0.0, 0.6, -0.8]), np.array([0.0, -0.8, -0.6])
CORNER, SPACING = np.array([3.0, -50.0, 40.0]), (0.5, 0.8)
TAGS = {
    "ImageOrientationPatient": [*ROW, *COLUMN],
    "ImagePositionPatient": list(CORNER),
    "PixelSpacing": list(SPACING),
    "SliceThickness": 6.0,
}
PIXELS = np.random.default_rng(0).integers(0, 255, (40, 30), dtype=np.uint8)


def in_patient(x, y, off=0.0):
    """LPS in mm of a point in continuous pixels."""
    across, down = (x - 0.5) * SPACING[1], (y - 0.5) * SPACING[0]
    return (CORNER + across * ROW + down * COLUMN + off * np.cross(ROW, COLUMN)).tolist()


def write(path, points, system="LPS", **markup):
    sign = -1 if system == "RAS" else 1
    controls = [
        {"label": label, "position": [sign * x, sign * y, z], "positionStatus": "defined"}
        for label, (x, y, z) in points.items()
    ]
    content = {"markups": [{"type": "Fiducial", "coordinateSystem": system, "controlPoints": controls, **markup}]}
    path.write_text(json.dumps(content))
    return path


@pytest.mark.parametrize("system", ["LPS", "RAS"])
def test_points_land_on_their_pixels(tmp_path, system):
    image = write_dicom(tmp_path / "scan.dcm", PIXELS, **TAGS)
    places = {"a": (0.5, 0.5), "b": (12.25, 33.75), "c": (29.5, 1.0)}
    points = {label: in_patient(x, y, off=2.5) for label, (x, y) in places.items()}
    (annotation,) = read_slicer(write(tmp_path / "scan.mrk.json", points, system))
    assert annotation.image == "scan"
    found = {p.label: (p.x, p.y) for shape in on_slice(annotation, image).shapes for p in shape.points}
    assert found.keys() == places.keys()
    for label, place in places.items():
        assert found[label] == pytest.approx(place, abs=1e-6)


def test_an_undefined_point_is_not_marked(tmp_path):
    path = write(tmp_path / "scan.mrk.json", {"a": in_patient(1, 1), "b": in_patient(2, 2)})
    content = json.loads(path.read_text())
    content["markups"][0]["controlPoints"][0]["positionStatus"] = "missing"
    path.write_text(json.dumps(content))
    (annotation,) = read_slicer(path)
    assert [shape.label for shape in annotation.shapes] == ["b"]


@pytest.mark.parametrize(
    ("markup", "text"),
    [
        ({"type": "Curve"}, "a markup is a 'Curve'"),
        ({"coordinateUnits": "cm"}, "the coordinates are LPS in cm"),
        ({"coordinateSystem": "XYZ"}, "the coordinates are XYZ"),
        ({"controlPoints": [{"label": "a", "position": [1, 2]}]}, "no position"),
        ({"controlPoints": [{"label": "a", "position": [1, 2, "x"]}]}, "not a finite number"),
        ({"controlPoints": [{"position": [1, 2, 3]}]}, "no label"),
    ],
)
def test_what_cannot_be_a_point_says_why(tmp_path, markup, text):
    (annotation,) = read_slicer(write(tmp_path / "scan.mrk.json", {"a": (1, 2, 3)}, **markup))
    assert text in annotation.shapes[0].points_problem and annotation.shapes[0].points == ()


def test_not_slicers(tmp_path):
    (tmp_path / "a.mrk.json").write_text('{"shapes": []}')
    with pytest.raises(ValueError, match="not 3D Slicer's"):
        list(read_slicer(tmp_path / "a.mrk.json"))


@pytest.mark.parametrize(
    ("tags", "off", "text"),
    [
        ({"ImageOrientationPatient": None}, 0, "need an image that says where it lies"),
        ({"ImagePositionPatient": None}, 0, "need an image that says where it lies"),
        ({"PixelSpacing": None}, 0, "need an image that says where it lies"),
        ({}, 3.2, "'a' lies 3.2 mm beside the slice"),
        ({"SliceThickness": None}, 2.5, "'a' lies 2.5 mm beside the slice"),
    ],
)
def test_an_image_without_geometry_is_refused(tmp_path, tags, off, text):
    image = write_dicom(tmp_path / "scan.dcm", PIXELS, **{**TAGS, **tags})
    (annotation,) = read_slicer(write(tmp_path / "scan.mrk.json", {"a": in_patient(5, 6, off)}))
    with pytest.raises(ValueError, match=text):
        on_slice(annotation, image)


def test_the_command_makes_a_landmark_set(tmp_path, capsys):
    (tmp_path / "images").mkdir()
    (tmp_path / "points").mkdir()
    for index in range(4):
        pixels = np.roll(PIXELS, index)
        tags = {"PatientID": f"P{index}", "SOPInstanceUID": f"1.2.3.{index}"}
        write_dicom(tmp_path / "images" / f"s{index}.dcm", pixels, **TAGS, **tags)
        place = in_patient(10.25, 20.5, off=9.0 if index == 3 else 0.0)
        write(tmp_path / "points" / f"s{index}.mrk.json", {"apex": place})
    arguments = [tmp_path / "images", "--annotations", tmp_path / "points", "--format", "slicer", "--split", 0.5, 0.5]
    arguments += ["--output", tmp_path / "set"]
    assert prepare_images.main([*map(str, arguments)]) == 1
    assert "name the landmarks by --landmarks" in capsys.readouterr().err
    assert prepare_images.main([*map(str, arguments), "--landmarks", "apex"]) == 0
    assert "9.0 mm beside the slice" in "".join(capsys.readouterr())
    contents = [json.loads((tmp_path / "set" / f"{split}.json").read_text()) for split in ("train", "test")]
    found = [one["landmarks"] for content in contents for one in content["annotations"]]
    assert found == [[10.25, 20.5, 2]] * 3
    assert all(image["spacing"] == list(SPACING) for content in contents for image in content["images"])
