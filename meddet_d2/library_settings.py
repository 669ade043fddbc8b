"""What libraries read in the environment when they are loaded. It is set before any of them is."""

import ctypes
import os
import platform

# OpenMP's idle threads wait for their next work in a loop. GNU's waits some 15 ms before it gives up its core, and a
# step is hundreds of waits: beside one other busy process training was 4 to 8 times slower. This is half a millisecond.
# A torch that was imported before has read its value already. Processes that start later get this one.
if not os.environ.keys() & {"GOMP_SPINCOUNT", "OMP_WAIT_POLICY"}:
    os.environ["GOMP_SPINCOUNT"] = "10000"

# MKL adds what its threads have summed in the order in which they are done, so that the gradient of a convolution over
# one image's coarsest map differs from run to run. "AUTO" fixes the order; instructions stay those of the processor.
os.environ.setdefault("MKL_CBWR", "AUTO")

# Since 1.29 onnxruntime's packages for Linux tell their maker of every model that is loaded, unless this is set before
# they are imported; its switch in Python comes too late.
os.environ["ORT_DISABLE_TELEMETRY"] = "1"

# glibc gives large free blocks back to the system, and takes them again page by page, several times a step: up to 5 %
# of a training on a CPU. With these, blocks of up to 32 MiB (its limit) come from the heap, and 1 GiB of it is kept.
if not any(name.startswith(("MALLOC_", "GLIBC_TUNABLES")) for name in os.environ) and platform.libc_ver()[0] == "glibc":
    _MALLOC = ctypes.CDLL(None)
    _MALLOC.mallopt(-3, 32 * 2**20)  # M_MMAP_THRESHOLD, of malloc.h
    _MALLOC.mallopt(-1, 2**30)  # M_TRIM_THRESHOLD
