"""Counts by hand."""

from layouts import Layout

from meddet_d2.curation.checking.annotation_checks import find_json_files, read_splits
from meddet_d2.curation.checking.data_statistics import count_split


def test_counts_of_a_split(tmp_path):
    layout = Layout(tmp_path)

    def change(content):
        content["annotations"][0]["level"] = "somewhere"
        content["annotations"][1]["iscrowd"] = 1
        content["images"][0]["spacing"] = None

    layout.change(change)
    (train, test), _ = read_splits([(file, tmp_path / "images") for file in find_json_files([tmp_path])])
    counts = count_split(train)
    assert {key: counts[key] for key in ("images", "patients", "healthy_images", "boxes", "crowds")} == {
        "images": 8,
        "patients": 4,
        "healthy_images": 1,
        "boxes": 41,
        "crowds": 1,
    }
    assert counts["classes"] == {"protrusion": 21, "non-protrusion": 20}
    assert counts["levels"] == {
        "C2/3": 6,
        "C3/4": 6,
        "C4/5": 7,
        "C5/6": 7,
        "C6/7": 7,
        "C7/T1": 7,
        "other": 1,
    }
    assert counts["boxes_per_image"] == {"0": 1, "5": 1, "6": 6}
    assert counts["image_sizes"] == {"96 x 128": 8} and counts["images_with_spacing"] == 7
    assert counts["spacing_mm"] == dict.fromkeys(("least", "p5", "median", "p95", "greatest"), 0.8)
    assert counts["width_pixels"] == {"least": 24, "p5": 24, "median": 25, "p95": 26, "greatest": 26}
    assert counts["height_mm"]["least"] == 8 and counts["height_mm"]["greatest"] == 8.8
    assert "secret" not in str(count_split(test))


def test_a_split_without_boxes_counts_nothing(tmp_path):
    layout = Layout(tmp_path)
    layout.change(lambda content: content.update(annotations=[]))
    (train, _), _ = read_splits([(file, tmp_path / "images") for file in find_json_files([tmp_path])])
    counts = count_split(train)
    assert counts["boxes"] == 0 and counts["aspect"] is None and counts["healthy_images"] == 8
    assert counts["classes"] == {"protrusion": 0, "non-protrusion": 0}
