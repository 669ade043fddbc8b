"""The server answers what the page asks for and nothing else."""

import asyncio
import json

import pytest

from meddet_d2.deploy.web_guard import JOIN, JOIN_BYTES, Guard, is_upload


def ask(guard: Guard, path: str, body: bytes = b"", kind: str = "http", parts: int = 1) -> tuple[int, dict, bytes]:
    """Status, headers and body of the answer; the application behind the guard echoes what it receives."""
    sent = []
    size = max(1, -(-len(body) // parts))
    pieces = [body[i : i + size] for i in range(0, len(body), size)] or [b""]
    messages = [
        {"type": "http.request", "body": piece, "more_body": i + 1 < len(pieces)} for i, piece in enumerate(pieces)
    ]

    async def receive():
        return messages.pop(0) if messages else {"type": "http.disconnect"}

    async def send(message):
        sent.append(message)

    asyncio.run(guard({"type": kind, "path": path}, receive, send))
    if kind == "websocket":
        return sent[0]["type"], {}, b""
    headers = {name.decode(): value.decode() for name, value in sent[0]["headers"]}
    return sent[0]["status"], headers, b"".join(message.get("body", b"") for message in sent[1:])


async def echo(scope, receive, send):
    message = await receive()
    await send({"type": "http.response.start", "status": 200, "headers": [(b"Cache-Control", b"max-age=9")]})
    await send({"type": "http.response.body", "body": message["body"]})


@pytest.fixture
def guard(tmp_path):
    return Guard(echo, uploads=tmp_path)


@pytest.mark.parametrize(
    "path",
    ["/", "/theme.css", "/assets/index.js", "/gradio_api/upload", "/gradio_api/queue/data", "/static/fonts/a.woff2"],
)
def test_what_the_page_needs_is_served(guard, path):
    status, headers, body = ask(guard, path, b"content")
    assert (status, body) == (200, b"content")
    assert (
        "default-src 'none'" in headers["content-security-policy"] and "http" not in headers["content-security-policy"]
    )
    asset = path.startswith(("/assets", "/static"))
    assert headers.get("cache-control") == (None if asset else "no-store")
    assert headers.get("Cache-Control") == ("max-age=9" if asset else None)


@pytest.mark.parametrize(
    "path",
    [
        "/gradio_api/file=/etc/passwd",
        "/gradio_api/file=https://example.org/",
        "/gradio_api/proxy=https://example.org/",
        "/gradio_api/info",
        "/gradio_api/run/predict",
        "/gradio_api/call/upload",
        "/gradio_api/stream/1",
        "/monitoring",
        "/docs",
        "/config",
        "/gradio_api/upload/../file=/etc/passwd",
        "/\n",
    ],
)
def test_all_else_is_refused(guard, path):
    status, headers, body = ask(guard, path)
    assert (status, body) == (404, b"Not served here.\n") and "content-security-policy" in headers
    assert ask(guard, "/", kind="websocket")[0] == "websocket.close"


def joined(*paths) -> bytes:
    return json.dumps(
        {"data": [[{"path": path, "meta": {"_type": "gradio.FileData"}} for path in paths], 0.3]}
    ).encode()


def test_a_request_names_uploads_alone(guard, tmp_path):
    good = str(tmp_path / "ab" / "file.png")
    for parts in (1, 7):
        assert ask(guard, JOIN, joined(good, good), parts=parts) == (200, ask(guard, "/")[1], joined(good, good))
    (tmp_path / "link").symlink_to("/etc")
    for bad in (
        "https://example.org/a.png", "/etc/passwd", f"{tmp_path}/../x", f"{tmp_path}/link/passwd", "", "a\0b", None, 3,
        {"path": good}, str(tmp_path) + "x/a", "file:///etc/passwd", "x" * 5000,
    ):  # fmt: skip
        assert ask(guard, JOIN, joined(good, bad))[0] == 400, bad
    for body in (b"", b"{", b"\xff", b"[" * 100_000, b" " * (JOIN_BYTES + 1)):
        assert ask(guard, JOIN, body)[0] == 400, body[:10]


def test_is_upload(tmp_path):
    assert is_upload(tmp_path / "a", tmp_path) and not is_upload(tmp_path.parent, tmp_path)
