"""Which image a name means."""

from pathlib import Path, PurePosixPath

import pytest

from meddet_d2.curation.preparation.image_index import ImageIndex

ROOT = Path("/data")
DEEP = ["p1/T1/IM1.dcm", "p1/T2/IM1.dcm", "p2/T2/IM1.dcm", "p2/T2/IM2", "p2/T2/1.2.840.7"]


def find(paths, name, folder=None) -> list[str]:
    found = ImageIndex(ROOT, [ROOT / path for path in paths]).find(name, folder)
    return [path.relative_to(ROOT).as_posix() for path in found]


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("IM2.png", ["p2/T2/IM2"]),
        ("IM2", ["p2/T2/IM2"]),
        ("1.2.840.7.png", ["p2/T2/1.2.840.7"]),
        ("1.2.840.7", ["p2/T2/1.2.840.7"]),
        ("1.2.840", []),
        ("IM1.png", DEEP[:3]),
        ("T2/IM1.png", DEEP[1:3]),
        ("p1/T2/IM1.png", ["p1/T2/IM1.dcm"]),
        ("/export/of/p1\\T2\\IM1.png", ["p1/T2/IM1.dcm"]),
        ("../../etc/p1/T2/./IM1.png", ["p1/T2/IM1.dcm"]),
        ("p1/T2/IM2.png", []),  # it is p2's
        ("p3/T2/IM1.png", []),
        ("obj_train_data/IM2.png", ["p2/T2/IM2"]),  # a folder that no image has says nothing
        ("", []),
        ("../..", []),
    ],
)
def test_the_folder_in_a_name_decides(name, expected):
    assert find(DEEP, name) == expected


def test_where_all_folders_differ_none_is_meant():
    assert find(["p2/T2/IM1.dcm"], "p1/T2/IM1.png") == []


def test_the_whole_name_goes_before_the_name_without_its_suffix():
    assert find(["a.png", "a.dcm", "b.dcm"], "a.png") == ["a.png"]
    assert find(["a.png", "a.dcm", "b.dcm"], "a.tif") == ["a.png", "a.dcm"]
    assert find(["a.nii.gz"], "a.png") == ["a.nii.gz"]


def test_a_folder_that_is_required():
    assert find(DEEP, "IM1", PurePosixPath("p1/T1")) == ["p1/T1/IM1.dcm"]
    assert find(DEEP, "IM2", PurePosixPath("p1/T1")) == []
