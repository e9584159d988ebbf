"""`make setup-gpu` says at once why it cannot be used; nvidia-smi is one that says what stands in a file."""

import os
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]
SAID = ROOT / "tests" / "unit" / "driftwheel" / "nvidia_smi"


def set_up(tmp_path: Path, said: str) -> str:
    """Run the script with an nvidia-smi of ours and a Python that ends where an environment would be made."""
    for name, line in (("python", '[ "$1" = -c ] || { echo went on >&2; exit 9; }'), ("nvidia-smi", said)):
        program = tmp_path / name
        program.write_text(f"#!/bin/sh\n{line}\n", encoding="utf-8")
        program.chmod(0o755)
    environ = {"PATH": f"{tmp_path}:/usr/bin:/bin", "PYTHON": "python", "HOME": os.environ.get("HOME", "/")}
    script = str(ROOT / "deploy" / "setup_gpu.sh")
    done = subprocess.run(["sh", script], capture_output=True, text=True, check=False, env=environ, cwd=tmp_path)
    assert done.returncode != 0
    return done.stderr


def test_without_a_driver_it_names_the_other_set_up(tmp_path: Path) -> None:
    said = set_up(tmp_path, "echo NVIDIA-SMI has failed because it could not talk to the driver; exit 9")
    assert "error: nvidia-smi does not answer (NVIDIA-SMI has failed" in said
    assert "or use make setup" in said


@pytest.mark.parametrize(
    ("version", "error"),
    [
        ("version_12.txt", "this driver runs CUDA 12, and CUDA 13 is needed"),
        ("version_13.txt", "went on"),
        ("version_umd.txt", "went on"),
    ],
)
def test_a_driver_that_is_too_old_is_named_before_anything_is_downloaded(
    tmp_path: Path, version: str, error: str
) -> None:
    assert error in set_up(tmp_path, f"cat {SAID / version}")
