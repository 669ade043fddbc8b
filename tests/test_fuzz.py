"""Damaged and hostile files: a reader takes them or raises its own error, soon and in little memory.

The table of readers is in fuzz_readers.py; fuzz_long.py tries as many files as you like.
"""

import contextlib
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import fuzz_long
import fuzz_readers
import fuzzing
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

TESTS = Path(__file__).resolve().parent


@pytest.mark.parametrize("name", fuzz_readers.READERS)
def test_a_changed_file_is_read_or_refused(tmp_path, name):
    reader = fuzz_readers.READERS[name]
    path, sound = fuzzing.sound_files(reader, tmp_path)

    @settings(max_examples=200, deadline=None, derandomize=True, database=None, suppress_health_check=list(HealthCheck))
    @given(random=st.randoms(use_true_random=False), index=st.integers(0, len(sound) - 1))
    def check(random, index):
        path.write_bytes(reader.change(random, sound[index]))
        fuzzing.attack(reader, path)

    check()


def test_the_harness_finds_what_it_looks_for(tmp_path, monkeypatch):
    path = tmp_path / "a"

    def refused(action, errors=(ValueError,)):
        with pytest.raises((Exception, fuzzing.TooMuch)) as caught:
            fuzzing.attack(fuzz_readers.Reader("x", None, action, errors, None), path)
        return str(caught.value)

    def told(error):
        def read(where):
            raise error

        return read

    assert "list index" in refused(lambda where: [][0])
    assert "is not the project's own" in refused(lambda where: b"\xff".decode())
    assert "does not name the file" in refused(told(ValueError("it is bad")))
    assert "without a word" in refused(told(ValueError("")))
    monkeypatch.setattr(fuzzing, "SECONDS", 0.05)

    def hang(where):
        while True:
            with contextlib.suppress(Exception):
                sum(range(1000))

    assert "longer than" in refused(hang)
    monkeypatch.setattr(fuzzing, "SECONDS", 20.0)
    used = iter([1000, 1000 + fuzzing.GROWTH // 1024 + 1])
    monkeypatch.setattr(fuzzing.resource, "getrusage", lambda who: SimpleNamespace(ru_maxrss=next(used)))
    assert "of memory" in refused(lambda where: None)


def test_the_long_run_says_what_it_found(tmp_path, monkeypatch, capsys):
    assert fuzz_long.main(["--cases", "3", "--reader", "card", "nii", "--seed", "5"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "seed 5" and [line.split()[:2] for line in lines[2:]] == [["card", "3"], ["nii", "3"]]
    broken = fuzz_readers.Reader(
        "card", fuzz_readers.make_card, lambda path: path.read_bytes()[10**6], (), lambda *_: b""
    )
    monkeypatch.setitem(fuzz_readers.READERS, "card", broken)
    monkeypatch.setattr(fuzzing, "sound_files", lambda reader, folder: (folder / "a", [b""]))
    assert fuzz_long.main(["--cases", "9", "--reader", "card"]) == 1
    found = capsys.readouterr()
    assert found.out.splitlines()[2].split()[:4] == ["card", "9", "0", "9"] and found.err.count("IndexError") == 5


def test_small_files_that_stand_for_enormous_ones(tmp_path):
    """In a process of its own, because some of them would end it."""
    command = [sys.executable, str(TESTS / "bombs.py"), str(tmp_path)]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(TESTS), str(TESTS.parent)])}
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False, env=environment)
    assert done.returncode == 0, done.stdout + done.stderr[-3000:]
