"""The page's widgets: what each of them gives back, and what a visitor finds who comes again too late."""

import importlib

import nibabel
import numpy as np
import pytest

from meddet_d2.deploy import Detections, ModelCard

# As of a config and its checkpoint: names alone.
CARD = ModelCard("<tiny>", ("protrusion", "non-protrusion"))


class Detector:
    """One detection."""

    classes, least_score = ("protrusion", "non-protrusion"), 0.0

    def __init__(self):
        self.calls = 0

    def __call__(self, image):
        self.calls += 1
        return Detections(np.array([[2, 3, 20, 15]], np.float32), np.array([0.5], np.float32), np.array([1]))


@pytest.fixture
def web(tmp_path, monkeypatch):
    monkeypatch.setenv("GRADIO_TEMP_DIR", str(tmp_path / "uploads"))
    monkeypatch.setenv("GRADIO_ANALYTICS_ENABLED", "False")
    return importlib.import_module("meddet_d2.deploy.web")


@pytest.fixture
def handlers(web, tmp_path):
    """The page's functions by name, and their detector."""
    detector = Detector()
    app = web.build_app(detector, CARD, tmp_path / "uploads")
    return {function.name: function.fn for function in app.fns.values()}, detector


def volume(folder, slices: int = 5):
    """An upload of sagittal slices as Gradio hands it over."""
    path = folder / "uploads" / "ab" / "file-1.nii"
    path.parent.mkdir(parents=True)
    values = np.random.default_rng(0).integers(0, 900, (slices, 40, 44)).astype(np.int16)
    nibabel.save(nibabel.Nifti1Image(values, np.diag([4.0, 0.5, 0.5, 1.0])), path)
    return [{"path": str(path), "orig_name": "x"}]


def test_a_volume_gets_a_slider_that_begins_in_its_middle(handlers, tmp_path):
    functions, detector = handlers
    cleared, session, chosen, slider, html = functions["upload"](volume(tmp_path), 0.3)
    assert cleared is None and not (tmp_path / "uploads" / "ab").exists()
    assert (chosen.value, chosen.visible) == (0, False)
    assert (slider.minimum, slider.maximum, slider.value, slider.visible) == (1, 5, 3, True)
    assert session.files[0][2].image_id in html and "Box, mm" in html and detector.calls == 1
    for number, calls in ((5, 2), (3, 2)):
        same, html = functions["look"](session, 0, number, 0.3)
        assert same is session and session.files[0][number - 1].image_id in html and detector.calls == calls
    _, html = functions["look"](session, 0, 3, 0.6)
    assert "No box with a score of 0.60 or more" in html and detector.calls == 2
    same, slider, html = functions["choose_file"](session, 0, 0.3)
    assert same is session and slider.value == 3 and session.files[0][2].image_id in html


def test_a_visitor_who_comes_back_too_late(handlers, web):
    functions, detector = handlers
    for answer in (functions["look"](None, 0, 1, 0.3), functions["choose_file"](None, 0, 0.3)):
        assert answer[0] is None and web.GONE in answer[-1]
    # Nothing was given yet: what stands there stays.
    assert "<" not in str(functions["look"](None, None, 1, 0.3)[1]) and detector.calls == 0


def test_a_threshold_that_is_being_typed_changes_nothing(handlers, tmp_path):
    functions, detector = handlers
    session = functions["upload"](volume(tmp_path), 0.3)[1]
    assert "<" not in str(functions["look"](session, 0, 3, None)[1]) and detector.calls == 1


def test_files_that_were_not_uploaded_are_left_alone(handlers, tmp_path):
    functions, detector = handlers
    other = tmp_path / "other.png"
    other.write_bytes(b"stays")
    session = functions["upload"]([{"path": str(other)}, {"path": "/etc/hostname"}], 0.3)[1]
    assert other.exists() and session.files == [] and session.problems == [] and detector.calls == 0


def test_what_is_known_of_the_model(web, tmp_path):
    def about(card):
        app = web.build_app(Detector(), card, tmp_path)
        return "".join(str(getattr(block, "value", "")) for block in app.blocks.values())

    bare = about(CARD)
    assert "&lt;tiny&gt;" in bare and "Research only" in bare and "Trained on" not in bare
    card = ModelCard("a", ("b",), trained_on=("cdh1848_train",), intended_use="For a test & no more.")
    assert (
        "cdh1848_train" in about(card) and "synthetic" not in about(card) and "For a test &amp; no more." in about(card)
    )


def test_texts_of_a_card_and_of_a_file_are_no_markup(web, tmp_path):
    script = "<script>alert(1)</script><img src=x onerror=alert(1)>"
    detector = Detector()
    detector.classes = (script, f"b{script}")
    card = ModelCard(script, detector.classes, trained_on=(script,), intended_use=script)
    app = web.build_app(detector, card, tmp_path / "uploads")
    functions = {function.name: function.fn for function in app.fns.values()}
    files = volume(tmp_path, 2)
    bad = tmp_path / "uploads" / "cd" / "<script>alert(1).png"
    bad.parent.mkdir()
    bad.write_bytes(b"no image")
    _, session, *_, html = functions["upload"]([*files, {"path": str(bad)}], 0.3)
    shown = [str(getattr(block, "value", "")) for block in app.blocks.values()] + [str(html)]
    assert session.problems and any("&lt;script&gt;" in text for text in shown)
    assert "b&lt;script&gt;" in str(html) and not any("<script" in text or "<img src=x" in text for text in shown)


def test_no_function_is_open_to_programs_and_one_image_runs_at_a_time(web, tmp_path):
    app = web.build_app(Detector(), CARD, tmp_path)
    assert len(app.fns) == 4 and not app.analytics_enabled
    for function in app.fns.values():
        assert function.api_visibility == "private" and function.concurrency_limit == 1
        assert function.concurrency_id == "network" and function.queue
