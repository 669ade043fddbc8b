"""Every test finds the engine through ``meddet_d2``, runs on few threads and draws without a display."""

import os

# Before torch, which imports Triton: without a GPU its kernels run in its interpreter, on the CPU.
if not os.path.exists("/dev/nvidiactl"):
    os.environ.setdefault("TRITON_INTERPRET", "1")

# cuBLAS reads it once, when the first product of matrices is computed; DETERMINISTIC needs it.
os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")

# Before torch: it sets what torch's threads read.
import meddet_d2  # noqa: F401

# isort: split
import shutil
import signal

import matplotlib
import pytest
import torch

import detectron2

pytest_plugins = ("tiny_runs", "landmark_exports")

matplotlib.use("Agg")
torch.set_num_threads(min(torch.get_num_threads(), 2))


# Without these a browser looks for updates and for its maker's hosts, and as root it does not start at all.
BROWSER_ARGUMENTS = [
    "--no-sandbox",
    "--disable-gpu",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]


# Fixtures that train or export a network, and modules whose tests start processes or train: left out by -m "not slow".
SLOW_FIXTURES = {"finished_run", "distil_cfg", "exported", "landmark_export", "tiny_network"}
SLOW_MODULES = {
    *("test_benchmark", "test_both_engines", "test_distributed", "test_fuzz", "test_jobs", "test_kill", "test_launch"),
    *("test_library_settings", "test_own_classes", "test_own_everything", "test_processes", "test_real_gfl"),
    *("test_resume", "test_robustness", "test_runner", "test_train_net", "test_user_pages"),
}


def pytest_configure(config: pytest.Config) -> None:
    """Tests get Ctrl-C; with ``-n`` each process has its share of the cores, and so has what its tests start."""
    # A shell's background job and nohup begin with it ignored, and a new process inherits that.
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    processes = config.getoption("tx", None)
    if processes:
        os.environ.setdefault("OMP_NUM_THREADS", str(max(1, (os.cpu_count() or 1) // len(processes))))


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        fixtures = set(getattr(item, "fixturenames", ()))
        if fixtures & SLOW_FIXTURES or item.path.stem in SLOW_MODULES:
            item.add_marker("slow")
        if "cuda" in fixtures:
            item.add_marker("gpu")
        if "browser_page" in fixtures:
            item.add_marker("browser")
            item.add_marker("slow")


@pytest.fixture
def browser_page():
    """A page of a real headless browser; skips where no browser is, and fails there if MEDDET_NEEDS_BROWSER is set."""
    names = ("chromium", "chromium-browser", "google-chrome", "chrome")
    executable = next(filter(None, map(shutil.which, names)), None)
    if executable is None:
        assert not os.environ.get("MEDDET_NEEDS_BROWSER"), "MEDDET_NEEDS_BROWSER is set, but there is no browser"
        pytest.skip("no Chromium or Chrome on this machine")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=executable, args=BROWSER_ARGUMENTS)
        yield browser.new_page(viewport={"width": 1280, "height": 900})
        browser.close()


@pytest.fixture
def cuda(monkeypatch) -> str:
    """The device of tests that compare a GPU with the CPU, in single precision in full; skips where there is none."""
    if not torch.cuda.is_available():
        pytest.skip("no CUDA device on this machine")
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", False)
    monkeypatch.setattr(torch.backends.cuda.matmul, "allow_tf32", False)
    return "cuda"


def pytest_report_header() -> str:
    return f"engine: detectron2 {detectron2.__version__} @{os.path.dirname(detectron2.__file__)}"
