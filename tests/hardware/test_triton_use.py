"""When Triton's kernels serve, and the one warning where a GPU is there and they do not."""

import subprocess
import sys
from types import SimpleNamespace

import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensorMode

from meddet_d2.hardware.triton_use import has_kernel, triton_works

triton = pytest.importorskip("triton", reason="Triton comes with torch's packages for CUDA")


@pytest.fixture(autouse=True)
def _nobody_asked_before():
    triton_works.cache_clear()
    yield
    triton_works.cache_clear()


class Driver:
    """Triton's, on a machine where it cannot be built."""

    def __init__(self, error):
        self.error = error

    @property
    def active(self):
        raise self.error


@pytest.mark.parametrize(
    "error, reason",
    [
        (
            RuntimeError("Failed to find C compiler.\nPlease specify via CC."),
            "Failed to find C compiler. Please specify",
        ),
        (subprocess.CalledProcessError(1, ["gcc", "driver.c"]), "gcc cannot build Triton's launcher"),
        (AssertionError(), "AssertionError"),
        (None, "cannot be imported"),
        ("old", "compute capability 7.0"),
    ],
)
def test_one_warning_says_why_there_are_no_kernels(error, reason, monkeypatch, caplog):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda: (6, 1) if error == "old" else (9, 0))
    monkeypatch.setattr("triton.runtime.driver", Driver(error))
    if error is None:
        monkeypatch.setitem(sys.modules, "triton.runtime", None)
    assert not triton_works() and not triton_works()
    (record,) = caplog.records
    assert reason in record.message and "\n" not in record.message


def test_no_warning_where_it_works(monkeypatch, caplog):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda: (9, 0))
    working = SimpleNamespace(active=SimpleNamespace(get_current_target=lambda: "sm_90"))
    monkeypatch.setattr("triton.runtime.driver", working)
    assert triton_works() and not caplog.records


def test_for_maps_on_a_gpu_but_not_in_compiled_code(monkeypatch):
    with FakeTensorMode():
        x, wide = torch.zeros(2, device="cuda"), torch.zeros(2, device="cuda", dtype=torch.float64)
    assert has_kernel(x) and not has_kernel(wide) and not has_kernel(torch.zeros(2))
    monkeypatch.setattr(torch.compiler, "is_compiling", lambda: True)
    assert not has_kernel(x)
