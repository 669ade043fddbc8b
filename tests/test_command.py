"""The one guarded main: mistakes, interrupts, consoles and pipes."""

import io
import os
import signal
import subprocess
import sys

import pytest

from meddet_d2.cli import console
from meddet_d2.command import CUT_OFF, INTERRUPTED, MISTAKES, guarded, message_of


def raising(error):
    def work():
        raise error

    return work


@pytest.mark.parametrize("kind", MISTAKES)
def test_a_mistake_is_one_line(kind, capsys):
    assert guarded(raising(kind("two\n  lines"))) == 1
    assert capsys.readouterr().err == "error: two lines\n"
    assert guarded(raising(kind("x")), mistake=2) == 2 and guarded(raising(kind("x")), mistake=lambda: 3) == 3


def test_a_bug_is_no_mistake():
    with pytest.raises(ZeroDivisionError):
        guarded(raising(ZeroDivisionError()))


def test_the_status_is_the_works():
    assert guarded(lambda: None) == 0 and guarded(lambda: 1) == 1
    assert message_of(KeyError("no such key")) == "no such key" and message_of(ValueError()) == "ValueError"


def test_interrupts_end_the_work_alike(capsys):
    handler = signal.getsignal(signal.SIGTERM)
    for number in (signal.SIGINT, signal.SIGTERM):
        assert guarded(lambda number=number: signal.raise_signal(number), stopped="Stopped here.") == INTERRUPTED
        assert capsys.readouterr().err == "Stopped here.\n"
    assert signal.getsignal(signal.SIGTERM) is handler


def test_a_console_that_lacks_a_letter_gets_its_number(monkeypatch):
    stream = io.TextIOWrapper(io.BytesIO(), encoding="ascii")
    monkeypatch.setattr(sys, "stdout", stream)
    assert guarded(lambda: print("Müller")) == 0
    stream.seek(0)
    assert stream.read() == "M\\xfcller\n"


def test_a_reader_that_leaves_ends_the_command_quietly():
    code = (
        "import sys; sys.path.insert(0, sys.argv[1])\n"
        "from meddet_d2.command import guarded\n"
        "sys.exit(guarded(lambda: [print(n) for n in range(100000)] and None))"
    )
    root = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
    child = subprocess.Popen(
        [sys.executable, "-c", code, root], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert child.stdout.readline() == "0\n"
    child.stdout.close()
    error = child.stderr.read()
    assert child.wait(120) == CUT_OFF
    assert [line for line in error.splitlines() if "Warning" not in line and "warnings.warn" not in line] == []


def test_the_console_lists_its_commands(capsys):
    with pytest.raises(SystemExit) as end:
        console.main(["--help"])
    said = capsys.readouterr().out
    assert end.value.code == 0 and all(f"  {name} " in said for name in console.COMMANDS)
    with pytest.raises(SystemExit) as end:
        console.main(["fly"])
    assert end.value.code == 2 and "fly" in capsys.readouterr().err


@pytest.mark.parametrize("name", console.COMMANDS)
def test_every_command_has_help_under_its_own_name(name, capsys):
    with pytest.raises(SystemExit) as end:
        console.main([name, "--help"])
    assert end.value.code == 0 and f"usage: meddet {name} " in capsys.readouterr().out
