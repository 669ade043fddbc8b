"""data.html: what may stand on it, what may not, and how it looks in a browser."""

import re

import pytest
from layouts import Layout

from meddet_d2.curation.checking import check_data
from meddet_d2.curation.checking.annotation_checks import find_json_files
from meddet_d2.curation.checking.data_page import FLAGGED, HEALTHY, ROWS, WITH_BOXES, write_page
from meddet_d2.pages import RESEARCH_USE

SCRIPT = "<script>document.title='taken'</script><img src=x onerror=alert(1)>"


def page_of(folder):
    files = find_json_files([folder])
    report = check_data([(file, folder / "images") for file in files], progress=False)
    write_page(report, folder / "page" / "data.html")
    return folder / "page" / "data.html"


def spoil(layout):
    """Names and markup wherever a json can hold them, and a finding of most kinds."""
    evil = layout.folder / "images" / "Ümläut & <b>Jane Doe 'x'.png"
    layout.file(3).rename(evil)

    def change(content):
        content["info"] = {"phantom": True, "description": f"Jane Doe {SCRIPT}"}
        content["images"][1].update(file_name=evil.name, patient_id=f"Jane Doe {SCRIPT}")
        content["images"][2].update(file_name="../Jane Doe <script>.png")
        content["images"][3].update(width=SCRIPT)
        content["annotations"][0].update(level=SCRIPT, category_id=SCRIPT)
        content["annotations"][1].update(bbox=[SCRIPT, 1, 2, 3], level="Jane Doe")
        content["annotations"][2].update(bbox=[20, 20, 60, 60], level=SCRIPT)
        content["annotations"][40].update(iscrowd=1)
        content["categories"].append({"id": 3, "name": "<b>third"})

    layout.change(change)
    layout.file(6).write_bytes(b"no image")


def test_a_sound_set_has_counts_figures_and_samples(tmp_path):
    Layout(tmp_path)
    text = page_of(tmp_path).read_text()
    assert RESEARCH_USE in text and "No errors." in text and "Nothing was found." in text
    assert "Splits: train, test. 12 images, 6 patients, 60 boxes." in text
    # Legend and samples: 7 of train and 3 of test with boxes, one healthy one of each.
    assert text.count("<img ") == 1 + min(7, WITH_BOXES) + 3 + 2 * min(1, HEALTHY)
    # Boxes in pixels and mm, classes, boxes per image, aspects, levels.
    assert text.count("<svg ") == 6 and "Images with findings" not in text
    assert page_of(tmp_path).read_text() == text


def test_no_name_and_no_markup_of_the_json_reaches_the_page(tmp_path):
    layout = Layout(tmp_path)
    spoil(layout)
    text = page_of(tmp_path).read_text()
    for word in ("Jane", "Doe", "<script", "onerror", "taken", "secret", "003", "Ümläut", str(tmp_path), ".png"):
        assert word not in re.sub(r'src="data:[^"]+"|<svg.*?</svg>|xlink:href="data:[^"]+"', "", text, flags=re.DOTALL)
    assert "Boxes: &lt;b&gt;third" in text and "<b>" not in text
    for code in ("E103", "E114", "E115", "E133", "E134", "E201", "W308"):
        assert code in text
    # The image without a size has boxes, and is not healthy for it.
    assert '<th scope="row">Boxes that are wrong, not counted</th><td>7</td><td>0</td>' in text
    assert '<th scope="row">Healthy images</th><td>1</td><td>1</td>' in text
    assert "phantom" in text and "In findings.json." in text


def test_lumbar_images_are_called_so(tmp_path):
    Layout(tmp_path).change(lambda content: content.update(info={"description": "lumbar"}))
    assert "Lumbar images" in page_of(tmp_path).read_text()


def test_what_the_page_leaves_out_is_counted(tmp_path):
    layout = Layout(tmp_path)

    def change(content):
        record, box = content["images"][0], content["annotations"][0]
        for number in range(100, 145):
            content["images"].append({**record, "id": number})
            content["annotations"].append({**box, "id": 1000 + number, "image_id": number, "level": "?"})

    layout.change(change)
    text = page_of(tmp_path).read_text()
    # 45 records of one file have three findings each: listed twice, the same file, no level.
    assert text.count(f"{45 - ROWS} more in findings.json.") == 3
    assert f"{45 - FLAGGED} more images with findings are not shown" in text


def test_a_set_that_cannot_be_read_has_a_page(tmp_path):
    (tmp_path / "train.json").write_text("{")
    text = page_of(tmp_path).read_text()
    assert "No split could be read." in text and "1 error</strong>" in text and "<svg" not in text


@pytest.mark.parametrize("width", [1280, 400])
def test_in_a_browser(tmp_path, browser_page, width):
    layout = Layout(tmp_path)
    spoil(layout)
    path = page_of(tmp_path)
    complaints = []
    browser_page.on("console", lambda message: complaints.append(message.text))
    browser_page.on("pageerror", lambda error: complaints.append(str(error)))
    browser_page.on(
        "request", lambda request: request.url.startswith(("file:", "data:")) or complaints.append(request.url)
    )
    browser_page.on("requestfailed", lambda request: complaints.append(request.url[:100]))
    browser_page.set_viewport_size({"width": width, "height": 900})
    browser_page.goto(path.as_uri())
    assert not complaints
    assert browser_page.title() == "A look at the data"
    widths = browser_page.eval_on_selector_all("img", "images => images.map(image => image.naturalWidth)")
    assert len(widths) > 8 and min(widths) > 0
    assert browser_page.evaluate("document.documentElement.scrollWidth") <= width
    beyond = """elements => elements.filter(one => one.getBoundingClientRect().right > innerWidth + 1
        && !one.closest('.scroll') && !one.closest('svg')).map(one => one.outerHTML.slice(0, 100))"""
    assert browser_page.eval_on_selector_all("body *", beyond) == []
    # Every link of the contents leads somewhere.
    for address in browser_page.eval_on_selector_all("nav a", "links => links.map(link => link.hash)"):
        assert browser_page.locator(address).count() == 1
