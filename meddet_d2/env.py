"""What a bug report needs: engine, versions, hardware and paths. ``python -m meddet_d2.env`` prints it."""

import importlib.metadata
import os
import platform
import re
import subprocess
import sys
import tempfile
import traceback
from collections.abc import Iterator
from pathlib import Path

import meddet_d2
import detectron2
from detectron2.utils.collect_env import collect_env_info

from .command import command_main, new_parser
from .places import config_folder, datasets_root

# setup.py's, by what they are for.
LIBRARIES = {
    "needed": (
        *("torch", "torchvision", "timm", "torchdiffeq", "fvcore", "iopath", "pycocotools", "tensorboard", "tabulate"),
        *("termcolor", "tqdm", "matplotlib", "numpy", "pillow", "opencv-python-headless", "safetensors"),
        *("huggingface-hub", "pyyaml", "filelock", "pydicom", "pylibjpeg", "pylibjpeg-openjpeg", "python-gdcm"),
        *("nibabel", "scikit-learn", "jinja2", "markupsafe"),
    ),
    "export": ("onnx", "onnxscript", "onnxruntime"),
    "noise": ("torchio", "monai", "SimpleITK"),
    "dicom": ("highdicom",),
    "web": ("gradio",),
}
# What else changes how a run behaves. The salt of pseudonyms is a secret: whether it is set is all that is said.
VARIABLES = (
    *("OMP_NUM_THREADS", "OMP_WAIT_POLICY", "GOMP_SPINCOUNT", "MKL_NUM_THREADS", "MKL_CBWR"),
    *("CUDA_VISIBLE_DEVICES", "PYTHONPATH"),
)


def describe_engine() -> str:
    """One line: the engine's kind and version, and where it lies."""
    folder = Path(detectron2.__file__).parent
    embedded = folder.parent == Path(__file__).parent / "embedded"
    kind = "embedded engine (Detectron2 is not installed)" if embedded else "Detectron2"
    return f"{kind} {detectron2.__version__} from {folder}"


def source_commit() -> tuple[str | None, bool | None]:
    """The git commit that this package's files are of, and whether any was changed since; None, None without git."""
    folder = Path(__file__).parent
    # Not that of a repository in which somebody has an environment with this package installed.
    if _git(folder, "ls-files", "--error-unmatch", "__init__.py") is None:
        return None, None
    # Results that lie beside the sources are no change of them.
    return _git(folder, "rev-parse", "HEAD"), bool(_git(folder, "status", "--porcelain", "--untracked-files=no"))


def _git(folder: Path, *arguments: str) -> str | None:
    return _output("git", "-C", str(folder), *arguments)


def _output(*command: str) -> str | None:
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() if done.returncode == 0 else None


def cpu_name() -> str:
    """The processor's name as the system gives it; its architecture where it gives none."""
    try:
        names = re.findall(r"^model name\s*:\s*(.+)$", Path("/proc/cpuinfo").read_text(encoding="utf-8"), re.MULTILINE)
    except OSError:
        names = []
    return names[0].strip() if names else platform.processor() or platform.machine()


def gpu_driver() -> str | None:
    """The version of Nvidia's driver; None without nvidia-smi."""
    versions = _output("nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader")
    return versions.splitlines()[0].strip() if versions else None


def report() -> str:
    """The whole report. It holds paths of this user, and no secret."""
    commit, changed = source_commit()
    source = f" (commit {commit}{', with changes' if changed else ''})" if commit else ""
    titles = {group: "libraries" if group == "needed" else f"extra [{group}]" for group in LIBRARIES}
    lines = [
        f"meddet_d2 {meddet_d2.__version__}{source} from {Path(__file__).parent}",
        f"runs on {describe_engine()}",
        f"Python {platform.python_version()} ({sys.executable}) on {platform.platform()}, {cpu_name()}",
        "",
        *(
            f"{titles[group]}: {', '.join(f'{name} {version_of(name)}' for name in names)}"
            for group, names in LIBRARIES.items()
        ),
        "",
        *(f"{name}: {value}" for name, value in _places()),
        "",
        collect_env_info(),
    ]
    return "\n".join(lines)


def keep_traceback() -> Path:
    """Write the report and the traceback of the error that is being handled into a new file, and return its path.

    Both hold paths, which may name a patient: the file is in this user's folder of temporary files, and readable by
    its owner alone.
    """
    error = traceback.format_exc()
    try:
        head = report()
    except Exception as fault:
        # The error that was asked for matters more.
        head = f"(python -m meddet_d2.env fails itself: {fault!r})"
    with tempfile.NamedTemporaryFile(
        "w", prefix="meddet_error_", suffix=".txt", encoding="utf-8", errors="backslashreplace", delete=False
    ) as file:
        file.write(f"{' '.join(sys.argv)}\n\n{head}\n\n{error}")
    return Path(file.name)


def version_of(name: str) -> str:
    """The version of an installed distribution, or "not installed"."""
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return "not installed"


def _places() -> Iterator[tuple[str, str]]:
    """Paths in use, and the variables that lead to them."""
    import torch
    from huggingface_hub import constants
    from iopath.common.file_io import get_cache_dir

    root = datasets_root().absolute()
    source = "$DETECTRON2_DATASETS" if os.environ.get("DETECTRON2_DATASETS") else "the working directory's"
    yield "working directory", str(Path.cwd())
    yield "data sets", f"{root} ({source}{'' if root.is_dir() else '; not there'})"
    yield "salt of pseudonyms", _salt()
    yield "weights from timm and Hugging Face", _shown(Path(constants.HF_HUB_CACHE))
    yield "weights from torch", _shown(Path(torch.hub.get_dir()))
    yield "files from addresses", _shown(Path(get_cache_dir()))
    yield "temporary files", tempfile.gettempdir()
    for name in VARIABLES:
        if name in os.environ:
            yield f"${name}", os.environ[name]


def _salt() -> str:
    if "MEDDET_SALT" in os.environ:
        return "in $MEDDET_SALT"
    try:
        return _shown(config_folder() / "salt", "made on first use")
    except RuntimeError:
        return "nowhere, for this user has no home folder: set $MEDDET_SALT"


def _shown(path: Path, missing: str = "not there") -> str:
    return str(path) if path.exists() else f"{path} ({missing})"


main = command_main(
    lambda arguments, prog: new_parser(__doc__, prog).parse_args(arguments), lambda args: print(report())
)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
