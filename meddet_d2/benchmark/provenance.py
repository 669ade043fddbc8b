"""What a figure was made by: sources, commit, engine and hardware, without a person's paths in it."""

import hashlib
import os
import platform
import re
import subprocess
from pathlib import Path

import torch

from meddet_d2.env import describe_engine

PACKAGE = Path(__file__).resolve().parents[1]
# Of the benchmark only this file takes part in a run; the others may change between runs without changing a figure.
WORKER = PACKAGE / "benchmark" / "worker.py"


def source_hash(package: Path = PACKAGE) -> str:
    """A hash of the Python files that a run executes: all of the package but the benchmark's planning and reporting.

    A commit says less (documents change it, uncommitted changes do not), so that results are held apart by this.
    """
    digest = hashlib.sha256()
    for path in sorted(package.rglob("*.py")):
        if package / "benchmark" not in path.parents or path.name == WORKER.name:
            digest.update(path.relative_to(package).as_posix().encode() + b"\0")
            digest.update(path.read_bytes() + b"\0")
    return digest.hexdigest()[:12]


def provenance_now() -> dict:
    """What every result carries: commit, dirty, sources, engine, torch."""
    commit = _git("rev-parse", "HEAD")
    return {
        "commit": commit,
        # Not known without git, and then null.
        "dirty": None if commit is None else bool(_git("status", "--porcelain")),
        "sources": source_hash(),
        "engine": engine_name(),
        "torch": torch.__version__,
    }


def engine_name() -> str:
    """The engine's kind and version, without the folder where it lies."""
    return describe_engine().rpartition(" from ")[0]


def hardware(threads: int | None = None) -> dict:
    """Processor, threads of this process (or those given), and the GPU or None."""
    return {
        "cpu": cpu_name(),
        "threads": torch.get_num_threads() if threads is None else threads,
        "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
    }


def describe_hardware(record: dict) -> str:
    """One phrase for a table."""
    gpu = f", {record['gpu']}" if record.get("gpu") else ""
    return f"{record['cpu']}, {record['threads']} thread(s){gpu}"


def cpu_name() -> str:
    """The processor's name as the system gives it; its architecture where it gives none."""
    try:
        names = re.findall(r"^model name\s*:\s*(.+)$", Path("/proc/cpuinfo").read_text(encoding="utf-8"), re.MULTILINE)
    except OSError:
        names = []
    return names[0].strip() if names else platform.processor() or platform.machine()


def without_home(text: str) -> str:
    """``text`` with the working directory and the home folder shortened to ``.`` and ``~``: results are passed on."""
    for folder, short in ((os.getcwd(), "."), (str(Path.home()), "~")):
        if len(folder) > 1:
            text = re.sub(re.escape(folder) + r"(?![\w.-])", short, text)
    return text


def _git(*arguments: str) -> str | None:
    command = ["git", "-C", str(PACKAGE.parent), *arguments]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() if done.returncode == 0 else None
