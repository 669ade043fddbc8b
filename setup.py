"""Packaging of meddet_d2. Tool settings are in pyproject.toml, tested versions in constraints.txt."""

import re
import shutil
from pathlib import Path

from setuptools import find_namespace_packages, setup
from setuptools.command.build_py import build_py

ROOT = Path(__file__).resolve().parent


def get_version() -> str:
    """Read the version without importing the package, which needs its dependencies."""
    source = (ROOT / "meddet_d2" / "__init__.py").read_text(encoding="utf-8")
    found = re.search(r'^__version__ = "([^"]+)"$', source, re.MULTILINE)
    if found is None:
        raise RuntimeError('meddet_d2/__init__.py has no line __version__ = "..."; add it.')
    return found.group(1)


class BuildWithConfigs(build_py):
    """Copies configs/ into the package, so that the command finds them from any folder."""

    def run(self) -> None:
        super().run()
        # An editable install finds the checkout's own.
        if not self.editable_mode:
            target = Path(self.build_lib) / "meddet_d2" / "configs"
            shutil.copytree(ROOT / "configs", target, dirs_exist_ok=True)


setup(
    name="meddet_d2",
    version=get_version(),
    description="MedDet (BIBM 2024) as a Detectron2 extension: a small disc detector distilled from large ones",
    long_description=(ROOT / "README.md").read_text(encoding="utf-8"),
    long_description_content_type="text/markdown",
    license="Apache-2.0",
    license_files=["LICENSE"],
    classifiers=[
        "Development Status :: 3 - Alpha",
        "Intended Audience :: Science/Research",
        "Programming Language :: Python :: 3",
        "Topic :: Scientific/Engineering :: Medical Science Apps.",
    ],
    # Namespace packages, because meddet_d2/embedded is a folder for sys.path and no package: it holds the fallback
    # engine, a package named detectron2, which must never be installed beside or instead of the real one.
    packages=find_namespace_packages(include=["meddet_d2", "meddet_d2.*"]),
    package_data={"meddet_d2": ["py.typed"], "meddet_d2.pages": ["*.j2"]},
    cmdclass={"build_py": BuildWithConfigs},
    entry_points={"console_scripts": ["meddet = meddet_d2.cli.console:main"]},
    python_requires=">=3.10",
    # Everything is on PyPI. Detectron2 is not, and is not needed: see README.md for adding it.
    install_requires=[
        "torch>=2.6",  # the first whose torch.load runs no code from a file unless told to
        "torchvision>=0.21",
        "timm>=1.0",
        "torchdiffeq>=0.2.4",
        # What Detectron2 itself stands on, in versions that it accepts.
        "fvcore>=0.1.5.post20221221",
        "iopath>=0.1.9",
        "pycocotools>=2.0.8",
        "tensorboard>=2.16",
        "tabulate>=0.9",
        "termcolor>=2.4",
        "tqdm>=4.66",
        "matplotlib>=3.9",
        "numpy>=1.26",
        "pillow>=10.1",
        # opencv-python is linked to libGL, glib and libxcb of the desktop, so that "import cv2" fails on a bare server
        # or container; the headless build is the same module without windows, which nothing here opens.
        "opencv-python-headless>=4.9",
        "safetensors>=0.4.3",
        "huggingface_hub>=0.23",
        "pyyaml>=6.0",
        "filelock>=3.12",
        # Scanners' files; the others decode what pydicom alone does not (JPEG 2000; lossless JPEG, JPEG-LS).
        "pydicom>=3.0",
        "pylibjpeg>=2.0",
        "pylibjpeg-openjpeg>=2.3",
        "python-gdcm>=3.0.24",
        "nibabel>=5.2",
        # The evaluation's figures, and the pages that show them.
        "scikit-learn>=1.4",
        "jinja2>=3.1",
        "markupsafe>=2.1",
    ],
    extras_require={
        # tools/export_model.py. What it writes needs only onnxruntime, numpy, pillow, opencv: docs/how_to/deploy.md.
        "export": ["onnx>=1.17", "onnxscript>=0.7", "onnxruntime>=1.20"],
        # Augmentation by MRI noise, and tools/benchmark.py robustness.
        "noise": ["torchio>=0.20,<2", "monai>=1.4", "SimpleITK>=2.3"],
        # tools/predict.py --dicom: structured reports and secondary captures.
        "dicom": ["highdicom>=0.25"],
        # tools/web_app.py: the page to try a detector on.
        "web": ["gradio>=6.31"],
        "test": [
            "pytest>=8",
            "pytest-xdist>=3.7",  # pytest -n auto: a process for each core
            "hypothesis>=6",
            "setuptools>=69",
            "playwright>=1.45",  # drives a browser that is there already; tests of pages are skipped where none is
            "meddet_d2[export,noise,dicom,web]",
        ],
        # tests/coverage.ini follows coverage into other processes, which it can from 7.10 on.
        "dev": ["ruff>=0.9", "mypy>=1.11", "pre-commit>=3.7", "pytest-cov>=6", "coverage>=7.10"],
    },
)
