"""What may be asked of the page's server: the page, its scripts, an upload, a reading. All else is refused.

Gradio's own server also serves files, fetches addresses that a request names, and has pages for programmers; nothing
here needs them.
"""

import json
import re
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

Message = dict[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]

NEEDED = re.compile(
    r"/(theme\.css|favicon\.ico|manifest\.json|(assets|static)/.+"
    r"|gradio_api/(upload|upload_progress|startup-events|heartbeat/\w+|queue/(join|data)|cancel|reset))?"
)
JOIN, JOIN_BYTES = "/gradio_api/queue/join", 1 << 20
HEADERS = {
    # Gradio's components are templates that the browser compiles, hence unsafe-eval. No other host is ever asked.
    "content-security-policy": "default-src 'none'; script-src 'self' 'unsafe-inline' 'unsafe-eval'; style-src 'self'"
    " 'unsafe-inline'; img-src 'self' data: blob:; font-src 'self' data:; connect-src 'self'; manifest-src 'self';"
    " base-uri 'self'; form-action 'self'; frame-ancestors 'none'",
    "referrer-policy": "no-referrer",
    "x-content-type-options": "nosniff",
}


class Guard:
    """ASGI middleware around Gradio's application."""

    def __init__(self, app: Callable[[Message, Receive, Send], Awaitable[None]], uploads: str | Path) -> None:
        """
        Args:
            app: what it stands before.
            uploads: the folder into which Gradio writes uploads; a request may name no file elsewhere.
        """
        self.app, self.uploads = app, Path(uploads).resolve()

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self.app(scope, receive, send)
            return
        if scope["type"] != "http" or not NEEDED.fullmatch(scope["path"]):
            await _refuse(scope, send, 404)
            return
        if scope["path"] == JOIN:
            body = await _body(receive)
            if body is None or not self._allows(body):
                await _refuse(scope, send, 400)
                return
            receive = _again(body, receive)

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                added = dict(HEADERS)
                # Pictures of patients stay out of the browser's cache.
                if not scope["path"].startswith(("/assets/", "/static/")):
                    added["cache-control"] = "no-store"
                kept = [(name, value) for name, value in message["headers"] if name.decode().lower() not in added]
                message["headers"] = kept + [(name.encode(), value.encode()) for name, value in added.items()]
            await send(message)

        await self.app(scope, receive, send_with_headers)

    def _allows(self, body: bytes) -> bool:
        """Whether every file that a request names is an upload. Gradio would fetch an address."""
        named: list[Any] = []

        def note(pairs: list[tuple[str, Any]]) -> None:
            named.extend(value for key, value in pairs if key == "path")

        try:
            json.loads(body, object_pairs_hook=note)
        except (ValueError, RecursionError):
            return False
        return all(isinstance(path, str) and is_upload(path, self.uploads) for path in named)


def is_upload(path: str | Path, uploads: Path) -> bool:
    """Whether a path lies in the folder of uploads, wherever its links and dots lead."""
    try:
        return Path(path).resolve().is_relative_to(Path(uploads).resolve())
    except (OSError, ValueError):  # too long, or with a zero byte
        return False


async def _body(receive: Receive) -> bytes | None:
    """The whole body, None if it is larger than a request of this page can be."""
    body = b""
    while True:
        message = await receive()
        if message["type"] != "http.request":
            return None
        body += message.get("body", b"")
        if len(body) > JOIN_BYTES:
            return None
        if not message.get("more_body"):
            return body


def _again(body: bytes, receive: Receive) -> Receive:
    """A body that was read, to be received once more."""
    messages = [{"type": "http.request", "body": body, "more_body": False}]

    async def receive_again() -> Message:
        return messages.pop() if messages else await receive()

    return receive_again


async def _refuse(scope: Message, send: Send, status: int) -> None:
    if scope["type"] == "websocket":
        await send({"type": "websocket.close", "code": 1000})
        return
    headers = [(b"content-type", b"text/plain"), *((n.encode(), v.encode()) for n, v in HEADERS.items())]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": b"Not served here.\n"})
