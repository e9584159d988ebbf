"""This machine's memory becomes the bytes that a further process may take."""

from pathlib import Path


def available_bytes() -> int:
    """Return the memory that is free or can be freed; 0 where the system does not say."""
    path = Path("/proc/meminfo")
    for line in path.read_text(encoding="ascii").splitlines() if path.is_file() else ():
        if line.startswith("MemAvailable:"):
            return int(line.split()[1]) * 1024
    return 0
