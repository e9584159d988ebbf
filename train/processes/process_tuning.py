"""Sets OpenMP and the allocator so that this process trains well on a CPU; call it before torch is imported.

Both defaults that are changed here cost more than any layer. OpenMP's threads spin while they wait, which burns the
core that the next thread, the engine or the gateway needs. And glibc gives each large tensor back to the kernel when
it is freed, so that every step faults all its memory in again, page by zeroed page.
"""

import ctypes
import os
import sys

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3  # malloc.h
LARGEST_MMAP_THRESHOLD = 32 * 1024 * 1024  # HEAP_MAX_SIZE / 2, the most that glibc accepts
KEPT_BYTES = 2**31 - 1  # mallopt takes an int: as much as it can be told


def tune_process() -> None:
    """Let idle threads sleep and freed memory stay; what the environment already says wins."""
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    if sys.platform != "linux" or any(name in os.environ for name in ("GLIBC_TUNABLES", "LD_PRELOAD")):
        return
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)  # musl has none
    if mallopt is not None:
        mallopt(M_MMAP_THRESHOLD, LARGEST_MMAP_THRESHOLD)
        mallopt(M_TRIM_THRESHOLD, KEPT_BYTES)


def use_one_gpu() -> None:
    """Hide every GPU but the first: the Trainer would spread each batch over all that it sees, which TRL refuses."""
    os.environ["CUDA_VISIBLE_DEVICES"] = os.environ.get("CUDA_VISIBLE_DEVICES", "0").split(",")[0]
