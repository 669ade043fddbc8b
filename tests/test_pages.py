"""Pages that can be passed on: everything escaped, nothing loaded from elsewhere, pictures without a word in them."""

import base64
import io
import re

import jinja2
import pytest
from matplotlib.figure import Figure
from PIL import Image, PngImagePlugin

from meddet_d2 import pages

TEMPLATES = sorted(path.name for path in (pages.Path(pages.__file__).parent).glob("*.j2"))


def decoded(address):
    head, _, data = address.partition(";base64,")
    return head, Image.open(io.BytesIO(base64.b64decode(data)))


def test_texts_are_escaped_and_every_page_says_what_it_is_for():
    page = pages.render("base.html.j2", title="<script>alert(1)</script>", lead='"><img src=x onerror=alert(1)>')
    assert "<script>" not in page and "<img" not in page
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in page
    assert pages.RESEARCH_USE in page


def test_a_name_that_a_template_lacks_is_an_error():
    with pytest.raises(jinja2.UndefinedError, match="lead"):
        pages.render("base.html.j2", title="x")


@pytest.mark.parametrize("name", TEMPLATES)
def test_templates_name_no_address(name):
    text = (pages.Path(pages.__file__).parent / name).read_text(encoding="utf-8")
    assert not re.search(r"(https?:)?//[a-z]", text)


def test_whole_pages_are_without_scripts_and_load_nothing():
    page = pages.render("base.html.j2", title="x", lead="y")
    assert "default-src 'none'" in page and "<script" not in page and "<link" not in page


@pytest.mark.parametrize("options, kind", [({}, "png"), ({"optimize": False}, "png"), ({"quality": 80}, "jpeg")])
def test_a_picture_is_its_pixels_and_nothing_else(options, kind):
    image = Image.new("RGB", (8, 6), (200, 40, 40))
    text = PngImagePlugin.PngInfo()
    text.add_text("Patient", "CANARY")
    source = io.BytesIO()
    image.save(source, "PNG", pnginfo=text, exif=b"Exif\0\0CANARY")
    head, found = decoded(pages.picture(Image.open(source), **options))
    assert head == f"data:image/{kind}" and found.size == (8, 6)
    assert "CANARY" not in str(found.info) and not found.getexif()
    assert max(abs(a - b) for a, b in zip(found.convert("RGB").getpixel((3, 3)), (200, 40, 40), strict=True)) <= 4


def test_a_plot_is_inline_and_the_same_each_time():
    def drawn():
        figure = Figure(figsize=(2, 1))
        figure.subplots().plot([0, 1], [0, 1])
        return pages.plot(figure)

    drawing = drawn()
    assert drawing.startswith("<svg") and drawing == drawn()
    # Names of formats are no addresses: only what would be fetched counts.
    assert not re.search(r'(href|src)="(?!#)', drawing) and "<dc:date>" not in drawing
