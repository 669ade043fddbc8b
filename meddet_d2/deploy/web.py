"""The page of tools/web_app.py: drop a file, see the reading. Gradio's widgets around web_session.py.

Gradio reads its settings from the environment when it is imported: tools/web_app.py makes them before it imports this.
"""

import secrets
from pathlib import Path
from typing import Any

import gradio as gr

from ..formats import Pseudonyms
from ..pages import RESEARCH_USE, render
from .card import ModelCard
from .reading import Detector
from .result_kinds import kind_of
from .web_guard import Guard, is_upload
from .web_session import Session, receive, show

MAX_FILE = "200mb"
# Seconds: how long a visitor's images are kept after the last click. Then how often uploads without a reading are
# deleted, and how old they are then.
KEPT, SWEEP = 1800, (60, 600)
# Visitors whose images are in memory at once; of one more, the one longest idle has to upload again.
MAX_SESSIONS = 16
GONE = "The images are no longer kept here; give the file again."


def build_app(detector: Detector, card: ModelCard, uploads: Path) -> gr.Blocks:
    """The page of one detector.

    Args:
        detector: any; one image at a time.
        card: says its name, what it was trained on and what it is for.
        uploads: the folder into which Gradio writes uploads, GRADIO_TEMP_DIR.
    """
    # Of this process alone: nobody can join the names of two days' downloads.
    pseudonyms = Pseudonyms(secrets.token_bytes(32))
    least, kind = detector.least_score, kind_of(detector)
    usual = max(kind.threshold, least)
    gone = render("web_reading.html.j2", problems=[GONE], reading=None)
    # One image of one visitor at a time; the rest waits.
    event: dict[str, Any] = {"concurrency_limit": 1, "concurrency_id": "network", "api_visibility": "private"}

    def upload(files: list[dict] | None, threshold: float | None) -> tuple:
        threshold = usual if threshold is None else threshold
        paths = [Path(file["path"]) for file in files or []]
        session = receive([path for path in paths if is_upload(path, uploads)], pseudonyms)
        choices = [(f"{i}: {read[0].image_id}", i - 1) for i, read in enumerate(session.files, 1)]
        chosen = gr.Dropdown(choices=choices, value=0 if choices else None, visible=len(choices) > 1)
        slider, index = _slices_of(session, 0)
        return None, session, chosen, slider, show(session, detector, 0, index, threshold)

    def choose_file(session: Session | None, file: int, threshold: float | None) -> tuple:
        threshold = usual if threshold is None else threshold
        if session is None:
            return session, gr.skip(), gone
        slider, index = _slices_of(session, file)
        return session, slider, show(session, detector, file, index, threshold)

    def look(session: Session | None, file: int | None, number: int | None, threshold: float | None) -> tuple:
        if session is None:
            # Nothing was uploaded yet, or too long ago.
            return None, gr.skip() if file is None else gone
        if number is None or threshold is None:
            # The field beside the slider is empty, for somebody is typing.
            return session, gr.skip()
        return session, show(session, detector, file or 0, int(number) - 1, threshold)

    with gr.Blocks(title=f"{card.name}: a reading", analytics_enabled=False, delete_cache=SWEEP) as app:
        # Given back by every handler, for the time it is kept counts from there.
        session = gr.State(None, time_to_live=KEPT)
        _html(
            f'<div class="meddet"><h1>What the detector finds on a slice</h1><div class="meddet-notice" role="note">'
            f"<p>{RESEARCH_USE}</p></div></div>"
        )
        with gr.Row():
            with gr.Column(scale=2, min_width=300):
                files = gr.File(
                    file_count="multiple", label="DICOM, NIfTI, PNG, JPEG or TIFF, one or several", height=180
                )
                chosen = gr.Dropdown(choices=[], label="File", visible=False, filterable=False, elem_id="file")
                number = gr.Slider(1, 2, 1, step=1, label="Slice", visible=False, buttons=[])
                threshold = gr.Slider(
                    round(least, 2),
                    1,
                    usual,
                    step=0.01,
                    label=kind.page_least,
                    # Its button to go back tells nobody that it was pressed.
                    buttons=[],
                    elem_id="least",
                )
            with gr.Column(scale=3, min_width=300):
                answer = _html(render("web_reading.html.j2", problems=[], reading=None), elem_id="answer")
        phantom = all("phantom" in data for data in card.trained_on)
        _html(render("web_about.html.j2", card=card, classes=detector.classes, phantom=phantom))

        # Without preprocess Gradio hands over where the upload lies, and makes no further file.
        files.upload(upload, [files, threshold], [files, session, chosen, number, answer], preprocess=False, **event)
        chosen.input(choose_file, [session, chosen, threshold], [session, number, answer], **event)
        for widget in (number, threshold):
            widget.input(
                look, [session, chosen, number, threshold], [session, answer], trigger_mode="always_last", **event
            )
    return app


def _slices_of(session: Session, file: int) -> tuple[gr.Slider, int]:
    """The slider for a file's slices, and the index of the slice that it stands on."""
    count = len(session.files[file]) if session.files else 0
    index = session.middles[file] if session.files else 0
    label = f"Slice, 1 to {count}"
    return gr.Slider(1, max(count, 2), index + 1, step=1, label=label, visible=count > 1), index


def _html(value: str, **options: Any) -> gr.HTML:
    return gr.HTML(value, js_on_load=None, apply_default_css=False, **options)


def launch(app: gr.Blocks, uploads: Path, *, host: str, port: int) -> str:
    """Serve the page from another thread until ``app.close()``.

    Args:
        uploads: the folder of `build_app`.
        host, port: where; the port must be free.

    Returns:
        The page's address.
    """
    # Gradio makes its application itself; the middleware is handed to it as a list of Starlette's.
    outer = gr.Server()
    outer.add_middleware(Guard, uploads=uploads)
    _, address, _ = app.launch(
        # An address of IPv6, in brackets as in the page's address.
        server_name=f"[{host}]" if ":" in host else host,
        server_port=port,
        prevent_thread_lock=True,
        share=False,
        quiet=True,
        show_error=False,
        footer_links=[],
        run_history=False,
        enable_monitoring=False,
        mcp_server=False,
        ssr_mode=False,
        pwa=False,
        max_file_size=MAX_FILE,
        state_session_capacity=MAX_SESSIONS,
        theme=gr.themes.Default(
            primary_hue="slate", font=["system-ui", "sans-serif"], font_mono=["ui-monospace", "monospace"]
        ),
        head=render("web_head.html.j2"),
        app_kwargs={"middleware": outer.user_middleware, "docs_url": None, "redoc_url": None, "openapi_url": None},
    )
    return address
