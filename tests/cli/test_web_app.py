"""tools/web_app.py: a real browser on the real command, without torch."""

import base64
import http.client
import json
import os
import re
import signal
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import onnx
import pydicom
import pytest
from onnx import TensorProto, helper, numpy_helper
from PIL import Image
from pydicom.dataset import FileDataset, FileMetaDataset

from meddet_d2.deploy import ModelCard, Predictor, read_slice
from meddet_d2.deploy.card import FORMAT
from meddet_d2.deploy.web_session import csv_of
from meddet_d2.files import checksum
from meddet_d2.formats import Pseudonyms, read_slices

ROOT = Path(__file__).resolve().parents[2]
CANARY = "CANARY"
BOXES = [[40, 10, 60, 22.5], [41, 40, 61, 52], [40, 70, 60, 84]]
SCORES, CLASSES = [0.95, 0.8, 0.4], [0, 1, 0]
# The command as it is, where torch cannot be imported and every look at another machine is told and refused.
COMMAND = """
import sys
for name in ("torch", "torchvision", "detectron2"):
    sys.modules[name] = None
def watch(event, arguments):
    host = None
    if event == "socket.getaddrinfo":
        host = arguments[0]
    elif event in ("socket.connect", "socket.sendto") and isinstance(arguments[1], tuple):
        host = arguments[1][0]
    if host not in (None, "", "127.0.0.1", b"127.0.0.1"):
        print("OUTSIDE", host, file=sys.stderr, flush=True)
        raise OSError("this test has no network")
sys.addaudithook(watch)
import runpy
sys.argv = ["tools/web_app.py", *sys.argv[1:]]
runpy.run_path(sys.argv[0], run_name="__main__")
"""


def write_model(folder: Path) -> Path:
    """An exported detector as small as it gets: three discs on every 96 x 96 image, NaN on a black one."""
    shapes = {"boxes": (1, 3, 4), "scores": (1, 3), "classes": (1, 3), "count": (1,)}
    values = {
        "boxes": np.array([BOXES], np.float32),
        "scores": np.array([SCORES], np.float32),
        "classes": np.array([CLASSES]),
        "count": np.array([3]),
    }
    nodes = [helper.make_node("Constant", [], [name], value=numpy_helper.from_array(values[name])) for name in shapes]
    nodes += [
        helper.make_node("Cast", ["images"], ["values"], to=TensorProto.FLOAT),
        helper.make_node("ReduceMax", ["values", "axes"], ["brightest"], keepdims=0),
        helper.make_node("Greater", ["brightest", "zero"], ["sound"]),
    ]
    constants = [
        numpy_helper.from_array(np.array([1, 2, 3]), "axes"),
        numpy_helper.from_array(np.zeros(1, np.float32), "zero"),
    ]
    outputs = [
        helper.make_tensor_value_info(
            name, TensorProto.INT64 if values[name].dtype == int else TensorProto.FLOAT, shape
        )
        for name, shape in shapes.items()
    ]
    outputs.append(helper.make_tensor_value_info("sound", TensorProto.BOOL, ("N",)))
    inputs = [helper.make_tensor_value_info("images", TensorProto.UINT8, ("N", 3, "H", "W"))]
    made = helper.make_graph(nodes, "tiny", inputs, outputs, constants)
    model = helper.make_model(made, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    helper.set_model_props(model, {"meddet_d2.format": str(FORMAT)})
    folder.mkdir()
    onnx.save(model, folder / "model.onnx")
    card = ModelCard(
        name="tiny & small",
        classes=("protrusion", "non-protrusion"),
        image={"order": "RGB", "min_size": 96, "max_size": 96, "min_side": 32},
        thresholds={"score": 0.05},
        network={},
        made_by={},
        trained_on=("cdh_phantom_train",),
        files={"model.onnx": checksum(folder / "model.onnx")},
    )
    (folder / "card.json").write_text(card.to_json())
    return folder / "model.onnx"


def write_dicom(path: Path) -> Path:
    """A sagittal MR slice of 0.5 x 0.25 mm with canaries wherever a patient is named."""
    meta = FileMetaDataset()
    meta.TransferSyntaxUID = pydicom.uid.ExplicitVRLittleEndian
    meta.MediaStorageSOPClassUID = pydicom.uid.MRImageStorage
    meta.MediaStorageSOPInstanceUID = "1.2.826.0.1.3680043.9.7777.1"
    data = FileDataset(str(path), {}, file_meta=meta, preamble=b"\0" * 128)
    data.SOPClassUID, data.SOPInstanceUID = meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID
    data.Modality, data.PatientName, data.PatientID = "MR", f"{CANARY}^Name", f"{CANARY}-1"
    data.InstitutionName, data.StudyDescription, data.AccessionNumber = f"{CANARY} H", f"{CANARY} S", CANARY
    data.PatientBirthDate, data.StudyInstanceUID = "17770707", "1.2.826.0.1.3680043.9.7777.2"
    data.SeriesInstanceUID = "1.2.826.0.1.3680043.9.7777.3"
    data.ImageOrientationPatient, data.ImagePositionPatient = [0, 1, 0, 0, 0, -1], [0, 0, 0]
    data.PixelSpacing, data.SliceThickness, data.BurnedInAnnotation = [0.5, 0.25], 3, "NO"
    data.Rows = data.Columns = 96
    data.SamplesPerPixel, data.PhotometricInterpretation, data.PixelRepresentation = 1, "MONOCHROME2", 0
    data.BitsAllocated, data.BitsStored, data.HighBit = 16, 12, 11
    data.PixelData = np.random.default_rng(0).integers(0, 4096, (96, 96), np.uint16).tobytes()
    data.save_as(path, enforce_file_format=True)
    return path


@pytest.fixture(scope="module")
def served(tmp_path_factory):
    """The page's address, the folder that the server may write to, the model, and a function that ends the server."""
    folder = tmp_path_factory.mktemp("served")
    model, temporary = write_model(folder / "exported"), folder / "temporary"
    temporary.mkdir()
    environment = {
        # With CI set, onnxruntime would be silent by itself.
        **{name: value for name, value in os.environ.items() if name != "CI"},
        "TMPDIR": str(temporary),
        "HOME": str(temporary),
        "PYTHONPATH": str(ROOT),
        # What an environment may hold that must not matter.
        "GRADIO_SHARE": "True",
        "GRADIO_ALLOWED_PATHS": "/",
        "GRADIO_ANALYTICS_ENABLED": "True",
        "ORT_DISABLE_TELEMETRY": "",
        "http_proxy": "http://127.0.0.1:9",
        "HTTP_PROXY": "http://127.0.0.1:9",
    }
    command = [sys.executable, "-c", COMMAND, "--onnx", str(model), "--port", "0"]
    with open(folder / "errors", "w") as errors:
        server = subprocess.Popen(command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, stderr=errors, text=True)
    timer = threading.Timer(180, server.kill)
    timer.start()

    def end() -> str:
        """Stop it as an init system does; everything that it wrote to its terminal."""
        if server.poll() is None:
            server.send_signal(signal.SIGTERM)
        rest, _ = server.communicate(timeout=60)
        return line + rest + (folder / "errors").read_text()

    try:
        line = server.stdout.readline()
        found = re.search(r"http://127\.0\.0\.1:\d+/", line)
        assert found, (folder / "errors").read_text()
        yield found[0], temporary, model, end
    finally:
        timer.cancel()
        server.kill()
        server.communicate()


@pytest.fixture
def page(served, browser_page):
    """The page, opened; at the end: no error in its console, no address of another host, only good answers."""
    address, wrong = served[0], []
    browser_page.on("console", lambda message: wrong.append(message.text) if message.type == "error" else None)
    browser_page.on("pageerror", lambda error: wrong.append(str(error)))
    browser_page.on("request", lambda request: wrong.append(request.url) if not own(request.url) else None)
    browser_page.on("response", lambda response: wrong.append(response.url) if response.status >= 400 else None)

    def own(url: str) -> bool:
        return url.startswith((address, "data:", "blob:"))

    browser_page.goto(address)
    browser_page.wait_for_selector(".meddet-empty")
    yield browser_page
    assert wrong == []


def drop(page, *files: Path) -> None:
    """Give files to the page and wait for its answer: whatever stood there before is gone."""
    page.evaluate("document.querySelector('.meddet-downloads, .meddet-empty, .meddet-problems').id = 'before'")
    page.set_input_files("input[type=file]", [str(file) for file in files])
    page.wait_for_function("!document.querySelector('#before')")


def table(page) -> list[list[str]]:
    return page.eval_on_selector_all(
        "#answer tbody tr", "rows => rows.map(row => [...row.cells].map(cell => cell.innerText.trim()))"
    )


def wait_for_rows(page, count: int) -> None:
    page.wait_for_function(f"document.querySelectorAll('#answer tbody tr').length == {count}")


def expected(model: Path, path: Path, threshold: float):
    """The reading by the library itself."""
    (mr_slice,) = read_slices(path, pseudonyms=Pseudonyms(b"of a test"))
    return read_slice(mr_slice, Predictor(model), threshold=threshold)


def grey(path: Path, value: int, size: int = 192) -> Path:
    Image.fromarray(np.full((size, size), value, np.uint8)).save(path)
    return path


def names_in(text: str) -> list[str]:
    """What write_dicom says of its patient and stands in a text."""
    return [name for name in (CANARY, "17770707", "9.7777") if name in text]


def left_in(folder: Path) -> list[str]:
    """What the server has written to disk, but for the list of fonts that a library of Gradio's makes on first use."""
    files = [str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()]
    return [file for file in files if not file.startswith(".cache/matplotlib/")]


def ask(
    address: str, method: str, path: str, body: bytes | None = None, kind: str = "application/json"
) -> tuple[int, bytes, http.client.HTTPMessage]:
    """Status, content and headers of the server's answer."""
    connection = http.client.HTTPConnection(address.removeprefix("http://").strip("/"), timeout=60)
    connection.request(method, path, body, {"Content-Type": kind})
    answer = connection.getresponse()
    return answer.status, answer.read(), answer.headers


def joining(file: dict) -> bytes:
    """The page's request to read an upload, at a threshold of 0.3."""
    return json.dumps({"data": [[file], 0.3], "fn_index": 0, "session_hash": "byhand"}).encode()


def test_a_picture_is_read_and_the_threshold_moves(served, page, tmp_path):
    _, temporary, model, _ = served
    assert "Research use only" in page.inner_text("body")
    about = page.inner_text("body")
    assert "tiny & small" in about and "synthetic images, not patients" in about and "Not a medical device" in about
    path = grey(tmp_path / f"{CANARY}^Name.png", 90)
    drop(page, path)
    for threshold in (0.3, 0.5, 0.9, 0.06):
        box = page.locator("#least input[type=number]")
        box.fill(str(threshold))
        box.press("Enter")
        findings = expected(model, path, threshold).findings
        wait_for_rows(page, len(findings))
        assert table(page) == [
            [str(i), one.label, f"{one.score:.2f}", f"{one.box[2] - one.box[0]:.1f} × {one.box[3] - one.box[1]:.1f}"]
            for i, one in enumerate(findings, 1)
        ]
    assert page.eval_on_selector("#answer img", "image => image.naturalWidth") >= 640
    # An arrow key moves the slider by a step.
    page.locator("#least input[type=range]").fill("0.95")
    page.locator("#least input[type=range]").press("ArrowRight")
    page.wait_for_selector("text=No box with a score of 0.96 or more")
    assert CANARY not in page.content() and not left_in(temporary)


def test_a_dicom_file_tells_nothing_of_its_patient(served, page, tmp_path):
    _, temporary, model, _ = served
    requests = []
    page.on("request", lambda request: requests.append(request))
    path = write_dicom(tmp_path / f"{CANARY}^Name.dcm")
    assert path.read_bytes().count(CANARY.encode()) >= 5
    drop(page, path)
    reading = expected(model, path, 0.3)
    assert reading.slice.spacing == (0.5, 0.25)
    assert table(page) == [
        [str(i), one.label, f"{one.score:.2f}", f"{one.size_mm[0]:.1f} × {one.size_mm[1]:.1f}"]
        for i, one in enumerate(reading.findings, 1)
    ]
    assert page.inner_text("#answer thead").split()[-1] == "mm"
    with page.expect_download() as download:
        page.click("text=Table (csv)")
    assert re.fullmatch(r"i[0-9a-f]{16}\.csv", download.value.suggested_filename)
    # But for the two pseudonyms, whose salt is the server's.
    rows = [line.split(",")[2:] for line in Path(download.value.path()).read_text().splitlines()]
    assert rows == [line.split(",")[2:] for line in csv_of(reading).splitlines()]

    assert not names_in(page.content())
    # The server names an upload as it was sent: the file's own name stayed in the browser.
    (sent,) = [request.post_data for request in requests if request.url.endswith("/queue/join?")]
    assert re.search(r"/file-1-\w+\.dcm", sent) and not names_in(sent)
    assert not left_in(temporary)


def test_no_answer_holds_a_name(served, tmp_path):
    """As the page does it, but by hand: a browser does not give its event stream away."""
    address, temporary, _, _ = served
    content = write_dicom(tmp_path / "a.dcm").read_bytes()
    head = b'--cut\r\nContent-Disposition: form-data; name="files"; filename="file-1.dcm"\r\n\r\n'
    body, kind = head + content + b"\r\n--cut--\r\n", "multipart/form-data; boundary=cut"
    status, said, _ = ask(address, "POST", "/gradio_api/upload", body, kind)
    assert status == 200
    (path,) = json.loads(said)
    file = {"path": path, "orig_name": "file-1.dcm", "size": len(content), "meta": {"_type": "gradio.FileData"}}
    said += ask(address, "POST", "/gradio_api/queue/join", joining(file))[1]
    said += ask(address, "GET", "/gradio_api/queue/data?session_hash=byhand")[1]
    assert b"process_completed" in said and b"non-protrusion" in said
    assert not names_in(said.decode()) and not left_in(temporary)


def test_files_that_cannot_be_read_a_network_that_fails_and_a_drop(served, page, tmp_path):
    broken = tmp_path / f"{CANARY}.png"
    broken.write_bytes(b"no picture")
    drop(page, broken)
    sentence = page.inner_text(".meddet-problems")
    assert "The file" in sentence and "\n" not in sentence.strip() and table(page) == []
    drop(page, grey(tmp_path / "black.png", 0))
    assert "NaN" in page.inner_text(".meddet-problems") and "No disc" not in page.inner_text("#answer")

    # Two of three are read, and one can choose between them.
    drop(page, grey(tmp_path / "a.png", 90), broken, grey(tmp_path / "b.png", 90, 96))
    assert "ile 2" in page.inner_text(".meddet-problems") and table(page)[0][3] == "40.0 × 25.0"
    page.locator("#file input").click()
    page.locator("[role=option]").nth(1).click()
    page.wait_for_function("document.querySelector('#answer tbody td:last-child').innerText == '20.0 × 12.5'")

    # Dropped, not chosen: as a hand would.
    content = base64.b64encode((tmp_path / "a.png").read_bytes()).decode()
    with page.expect_request("**/gradio_api/queue/join*") as request:
        page.evaluate(
            """content => {
                const bytes = Uint8Array.from(atob(content), letter => letter.charCodeAt(0));
                const held = new DataTransfer();
                held.items.add(new File([bytes], "CANARY^Name.png"));
                const options = {bubbles: true, cancelable: true, dataTransfer: held};
                const field = document.querySelector("input[type=file]").closest("button");
                field.dispatchEvent(new DragEvent("drop", options));
            }""",
            content,
        )
    assert CANARY not in request.value.post_data
    page.wait_for_function("!document.querySelector('.meddet-problems')")
    assert table(page)[0][3] == "40.0 × 25.0" and CANARY not in page.content()


def test_the_server_gives_no_file_and_asks_nobody(served):
    address, temporary, _, _ = served
    for path in ("file=/etc/passwd", f"file={temporary}", "file=https://example.org/", "proxy=https://example.org/"):
        status, body, _ = ask(address, "GET", f"/gradio_api/{path}")
        assert status == 404 and b"root:" not in body, path
    file = {"path": "/etc/passwd", "meta": {"_type": "gradio.FileData"}}
    for path in ("/etc/passwd", "https://example.org/a.png", str(ROOT / "README.md")):
        assert ask(address, "POST", "/gradio_api/queue/join", joining({**file, "path": path}))[0] == 400
    assert (ROOT / "README.md").is_file()
    status, body, headers = ask(address, "GET", "/")
    assert (
        status == 200
        and headers["Cache-Control"] == "no-store"
        and "frame-ancestors" in headers["Content-Security-Policy"]
    )
    assert str(temporary).encode() not in body and b"exported" not in body


def test_it_ends_without_a_trace(served):
    """The last of those that share the server."""
    _, temporary, _, end = served
    assert len(list(temporary.glob("meddet_web_*"))) == 1
    said = end()
    assert not list(temporary.glob("meddet_web_*")) and not left_in(temporary)
    for word in ("OUTSIDE", CANARY, "Traceback", "error"):
        assert word not in said, said
