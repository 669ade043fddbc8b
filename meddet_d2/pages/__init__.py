"""Pages that are one file: no script, no address, nothing loaded from elsewhere, so that they can be passed on.

Templates lie beside this file and extend base.html.j2. Everything put into one is escaped, and a name that a template
lacks is an error.
"""

import base64
import io
from datetime import date
from pathlib import Path
from typing import Any

import jinja2
import markupsafe
from PIL import Image

RESEARCH_USE = "Research use only. Not a medical device: nobody may be diagnosed or treated by what this page says."
_ENVIRONMENT = jinja2.Environment(
    loader=jinja2.FileSystemLoader(Path(__file__).parent),
    autoescape=True,
    undefined=jinja2.StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)


def render(template: str, **values: Any) -> str:
    """The page of a template.

    Args:
        template: the name of a file in this folder, which extends base.html.j2.
        values: what the template names; texts are escaped. "title" and "lead" (one sentence under it) are of the base.
            Every page carries RESEARCH_USE.
    """
    return _ENVIRONMENT.get_template(template).render(research_use=RESEARCH_USE, today=date.today(), **values)


def picture(image: Image.Image, *, quality: int | None = None, optimize: bool = True) -> str:
    """An image as the address of an <img>: PNG, or JPEG of a quality in 1..95. Nothing but pixels is taken along.

    ``optimize`` makes it a tenth smaller and takes ten times as long.
    """
    buffer = io.BytesIO()
    plain = Image.frombytes("RGB", image.size, image.convert("RGB").tobytes())
    kind = "png" if quality is None else "jpeg"
    options = {} if quality is None else {"quality": quality}
    plain.save(buffer, kind, optimize=optimize, **options)
    return f"data:image/{kind};base64,{base64.b64encode(buffer.getvalue()).decode()}"


def plot(figure: Any, name: str = "plot") -> markupsafe.Markup:
    """A matplotlib figure as inline SVG, without its date and its author; the same text each time.

    Args:
        figure: closed by its maker.
        name: the ids in the drawing come from it. A page's drawings that look alike need different names.
    """
    # Here, because a deployed detector's page has no plots.
    from matplotlib import rc_context

    buffer = io.StringIO()
    # Without a salt the ids would differ from run to run.
    with rc_context({"svg.hashsalt": name}):
        figure.savefig(buffer, format="svg", bbox_inches="tight", metadata={"Date": None, "Creator": None})
    text = buffer.getvalue()
    return markupsafe.Markup(text[text.index("<svg") :])
