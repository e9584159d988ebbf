"""The processor of this machine: its name, its cores, and the extensions on which the speed of number types depends."""

import os
import platform
from dataclasses import dataclass
from pathlib import Path

EXTENSIONS = {
    "AVX2": "avx2",
    "AVX-512": "avx512f",
    "VNNI": "avx512_vnni",
    "BF16": "avx512_bf16",
    "AMX": "amx_bf16",
    "SVE": "sve",
    "Arm BF16": "bf16",
}
"""By the name that people use, the flag in /proc/cpuinfo."""


@dataclass(frozen=True, kw_only=True)
class Processor:
    """What Linux says about the first processor."""

    name: str
    flags: frozenset[str]
    is_amd: bool

    @property
    def extensions(self) -> list[str]:
        """Those that make products fast, by the names that people use."""
        return [name for name, flag in EXTENSIONS.items() if flag in self.flags]


def this_processor() -> Processor:
    """Read what Linux says about the first processor; elsewhere only its architecture is known."""
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace")
    except OSError:
        text = ""
    lines = (line.partition(":") for line in text.partition("\n\n")[0].splitlines())
    said = {name.strip(): value.strip() for name, _, value in lines}
    return Processor(
        name=said.get("model name", platform.machine()),
        flags=frozenset(said.get("flags", said.get("Features", "")).split()),
        is_amd=said.get("vendor_id") == "AuthenticAMD",
    )


def core_count() -> int:
    """Return how many cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def is_busy() -> bool:
    """Say whether more processes want to run than there are cores, this one counted."""
    return os.getloadavg()[0] > core_count()
