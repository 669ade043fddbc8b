"""What is set in the environment before torch is loaded, in processes of their own."""

import os
import platform
import subprocess
import sys

import pytest
from tiny_runs import ROOT

OURS = ("GOMP_SPINCOUNT", "OMP_WAIT_POLICY", "MKL_CBWR", "OMP_NUM_THREADS", "MKL_NUM_THREADS")
# A gradient to one image's coarsest map, as GFL's P7 has it, over and over.
CONVOLUTION = """
import meddet_d2, torch
torch.set_num_threads(2)
torch.manual_seed(0)
layer, x = torch.nn.Conv2d(64, 64, 3, stride=2, padding=1), torch.randn(1, 64, 2, 2, requires_grad=True)
seen = set()
for _ in range(4000):
    x.grad = None
    layer(x).sum().backward()
    seen.add(x.grad.numpy().tobytes())
print(len(seen))
"""
# Every module of the package that can be imported here, and a process that is started anew.
IMPORTS = """
import meddet_d2, detectron2.engine, meddet_d2.engine, meddet_d2.benchmark, meddet_d2.evaluation, meddet_d2.deploy
import multiprocessing
if __name__ == "__main__":
    process = multiprocessing.get_context("spawn").Process(target=print, args=("started",))
    process.start()
    process.join()
"""


def python(script, *options, **variables):
    """What a new Python says on standard output and on standard error."""
    environment = {name: value for name, value in os.environ.items() if name not in OURS}
    environment |= {"PYTHONPATH": os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")]), **variables}
    done = subprocess.run(
        [sys.executable, *options, script], env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip(), done.stderr


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({}, "10000 None AUTO"),
        ({"OMP_WAIT_POLICY": "active"}, "None active AUTO"),
        ({"GOMP_SPINCOUNT": "7", "MKL_CBWR": "COMPATIBLE"}, "7 None COMPATIBLE"),
    ],
)
def test_what_the_user_has_set_stays(given, expected):
    names = ("GOMP_SPINCOUNT", "OMP_WAIT_POLICY", "MKL_CBWR")
    script = f"import meddet_d2, os; print(*(os.environ.get(name) for name in {names}))"
    assert python(script, "-c", **given)[0] == expected


def test_it_is_set_before_torch_is_loaded():
    script = (
        "import sys\n"
        "class Finder:\n"
        "    def find_spec(self, name, *_):\n"
        "        import os\n"
        "        if name in ('torch', 'numpy', 'onnxruntime'): print(name, 'GOMP_SPINCOUNT' in os.environ)\n"
        "sys.meta_path.insert(0, Finder())\n"
        "import meddet_d2\n"
    )
    said = python(script, "-c")[0].splitlines()
    assert "torch True" in said and not any(line.endswith("False") for line in said)


def test_a_gradient_is_the_same_each_time_on_two_threads():
    """Without MKL_CBWR two or three sums come out, by which thread is done first."""
    assert python(CONVOLUTION, "-c")[0] == "1"


def test_no_warning_comes_before_all_output(tmp_path):
    """A process that is started anew imports everything once more."""
    script = tmp_path / "script.py"
    script.write_text(IMPORTS)
    assert python(str(script)) == ("started", "")
    assert python("import meddet_d2, warnings; warnings.warn('mine', FutureWarning)", "-c")[1].count("mine") == 1


# Pages that blocks of 16 MiB take from the system after the first ones.
FAULTS = """
import meddet_d2, resource, torch
def fill():
    for _ in range(20):
        torch.ones(4 * 2**20)
fill()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
fill()
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="the settings are glibc's")
def test_large_blocks_stay_in_the_heap_unless_the_user_says_otherwise():
    assert int(python(FAULTS, "-c")[0]) < 500
    assert int(python(FAULTS, "-c", MALLOC_TRIM_THRESHOLD_="131072")[0]) > 20_000
