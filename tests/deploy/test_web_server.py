"""Where the page is served: a port that is free, who is warned of what, and a folder that is gone at the end."""

import errno
import os
import socket

import pytest

from meddet_d2.deploy import web_server


def test_a_port_that_can_be_served_at():
    port = web_server.free_port("127.0.0.1", 0)
    assert 0 < port <= 65535 and web_server.free_port("127.0.0.1", port) == port
    # A port whose last connection is still closing is free, too, as it is for the server.
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        with socket.create_connection(("127.0.0.1", port)):
            server.accept()[0].close()
    assert web_server.free_port("127.0.0.1", port) == port


def test_a_port_that_cannot():
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(OSError, match=f"^127.0.0.1: port {port} is in use; choose another with --port.$"):
            web_server.free_port("127.0.0.1", port)
    for wrong in (-1, 65536):
        with pytest.raises(ValueError, match=f"--port is {wrong}; it must be in 0..65535"):
            web_server.free_port("127.0.0.1", wrong)


@pytest.mark.parametrize("number, reason", [(errno.EACCES, "not allowed for this user"), (errno.EPERM, "no way")])
def test_whatever_the_system_says_is_one_line(monkeypatch, number, reason):
    def bind(self, address):
        raise OSError(number, "no way")

    monkeypatch.setattr(socket.socket, "bind", bind)
    with pytest.raises(OSError, match=f"^127.0.0.1: .*{reason}") as caught:
        web_server.free_port("127.0.0.1", 80)
    assert "\n" not in str(caught.value)


def test_a_host_that_others_reach_is_warned_of(capsys):
    for host in ("127.0.0.1", "127.0.0.2", "localhost", "::1"):
        web_server.warn(host)
    assert capsys.readouterr().err == ""
    for host in ("0.0.0.0", "192.168.1.5", "::", "reading-room.example"):
        web_server.warn(host)
        (line,) = capsys.readouterr().err.splitlines()
        assert host in line and "without encryption" in line


def test_the_folder_of_uploads_and_the_environment(monkeypatch):
    monkeypatch.setattr(os, "environ", {"GRADIO_SHARE": "True", "GRADIO_ALLOWED_PATHS": "/", "HOME": "/"})
    with web_server.upload_folder() as folder:
        assert folder.stat().st_mode & 0o777 == 0o700
        (folder / "left").mkdir()
        kept = {name: value for name, value in os.environ.items() if name.startswith("GRADIO_")}
        assert kept == {"GRADIO_TEMP_DIR": str(folder), "GRADIO_ANALYTICS_ENABLED": "False"}
    assert not folder.exists()


def test_the_folder_is_gone_after_an_error(monkeypatch):
    monkeypatch.setattr(os, "environ", dict(os.environ))
    with pytest.raises(KeyboardInterrupt), web_server.upload_folder() as folder:
        (folder / "upload.dcm").write_bytes(b"a patient")
        raise KeyboardInterrupt
    assert not folder.exists()
