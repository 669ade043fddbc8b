"""Where the page of web.py is served: the port, who can reach it, and a folder for uploads."""

import errno
import ipaddress
import os
import socket
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path


def free_port(host: str, port: int) -> int:
    """The port, if it can be served at; Gradio would only say that it found none.

    Raises:
        OSError: there is no such host, it is another machine's, or the port is taken or not allowed. One line.
        ValueError: the port is no port.
    """
    if not 0 <= port <= 65535:
        raise ValueError(f"--port is {port}; it must be in 0..65535.")
    try:
        family, kind, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
    except (OSError, UnicodeError) as error:
        raise OSError(f"--host {host}: there is no such host ({error}).") from error
    with socket.socket(family, kind) as probe:
        # As the server does: a port whose last connections are still closing is free.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(address)
        except OSError as error:
            reasons = {
                errno.EADDRINUSE: f"port {port} is in use; choose another with --port",
                errno.EADDRNOTAVAIL: "that is no address of this machine",
                errno.EACCES: f"port {port} is not allowed for this user; choose one above 1023 with --port",
            }
            raise OSError(f"{host}: {reasons.get(error.errno or 0, str(error.strerror))}.") from error
        return probe.getsockname()[1]


def warn(host: str) -> None:
    """Say what it means to serve at an address that other machines reach."""
    with suppress(ValueError):
        if host == "localhost" or ipaddress.ip_address(host).is_loopback:
            return
    print(
        f"warning: other machines can reach {host}. Patients' images would travel over the network without"
        " encryption, and anyone there may use the page; docs/how_to/web_app.md says what to do instead.",
        file=sys.stderr,
    )


@contextmanager
def upload_folder() -> Iterator[Path]:
    """A folder for uploads that this user alone can read, gone at the end; and Gradio's settings, whatever was set."""
    for name in [name for name in os.environ if name.startswith("GRADIO_")]:
        # Among them are switches to share the page with the world and to serve more folders.
        del os.environ[name]
    with tempfile.TemporaryDirectory(prefix="meddet_web_", ignore_cleanup_errors=True) as folder:
        os.environ.update(
            GRADIO_TEMP_DIR=folder,
            GRADIO_ANALYTICS_ENABLED="False",
            HF_HUB_OFFLINE="1",
            HF_HUB_DISABLE_TELEMETRY="1",
            # Gradio looks whether it can reach its own page; a proxy for the outside would be asked for that.
            NO_PROXY="*",
            no_proxy="*",
        )
        yield Path(folder)
