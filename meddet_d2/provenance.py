"""What a figure was made by: sources, commit, engine and hardware, without a person's paths in it."""

import hashlib
import os
import re
from pathlib import Path

import torch

from meddet_d2.env import cpu_name, describe_engine, gpu_driver, source_commit

PACKAGE = Path(__file__).resolve().parent
# Of the benchmark only this file takes part in a run; the others may change between runs without changing a figure.
WORKER = PACKAGE / "benchmark" / "worker.py"
_GPU_VERSIONS = {"cuda": "CUDA", "driver": "driver"}


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
    commit, dirty = source_commit()
    return {
        # Both null without git.
        "commit": commit,
        "dirty": dirty,
        "sources": source_hash(),
        # Without the folder where it lies.
        "engine": describe_engine().rpartition(" from ")[0],
        "torch": torch.__version__,
    }


def hardware(threads: int | None = None) -> dict:
    """Processor, threads of this process (or those given), and the GPU or None; CUDA's and the driver's version."""
    found = {
        "cpu": cpu_name(),
        "threads": torch.get_num_threads() if threads is None else threads,
        "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
    }
    return found | ({"cuda": torch.version.cuda, "driver": gpu_driver()} if found["gpu"] else {})


def describe_hardware(record: dict) -> str:
    """One phrase for a table."""
    gpu = f", {record['gpu']}" if record.get("gpu") else ""
    # Records of earlier versions have the name alone.
    gpu += "".join(f", {name} {record[key]}" for key, name in _GPU_VERSIONS.items() if record.get(key))
    return f"{record['cpu']}, {record['threads']} thread(s){gpu}"


def without_home(text: str) -> str:
    """``text`` with the working directory and the home folder shortened to ``.`` and ``~``: results are passed on."""
    for folder, short in ((os.getcwd(), "."), (str(Path.home()), "~")):
        if len(folder) > 1:
            text = re.sub(re.escape(folder) + r"(?![\w.-])", short, text)
    return text
