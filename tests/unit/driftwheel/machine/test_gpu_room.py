"""Room on a GPU is promised once, for as long as its process lives, and waited for; the GPU is a made-up one."""

import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest

from driftwheel.errors import EngineError
from driftwheel.machine.accelerator import Accelerator, Gpu
from driftwheel.machine.gpu_memory import GIB
from driftwheel.machine.gpu_room import Wanted, holders, is_room_wanted, reserve

GPUS = tuple(Gpu(index=n, uuid=f"GPU-{n}", name="H200", total_bytes=100 * GIB, free_bytes=100 * GIB) for n in (0, 1))


def machine(count: int = 1) -> Accelerator:
    return Accelerator(gpus=GPUS[:count])


def wanted(gib: int, name: str = "engine v1") -> Wanted:
    return Wanted(name=name, bytes_per_gpu=gib * GIB, remedy="lower serve.max_num_seqs")


@pytest.fixture
def sleeper() -> Iterator["subprocess.Popen[bytes]"]:
    """A process that holds what it was promised until it is killed."""
    child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
    yield child
    child.kill()
    child.wait()


def test_of_many_that_ask_at_once_as_many_get_room_as_there_is(tmp_path: Path) -> None:
    def ask(number: int) -> bool:
        try:
            reserve(tmp_path, wanted(30, f"engine v{number}"), [(0,)], 0, machine)
        except EngineError:
            return False
        return True

    with ThreadPoolExecutor(8) as pool:
        assert sum(pool.map(ask, range(8))) == 3
    assert len(holders(tmp_path)) == 3


def test_the_refusal_names_need_holders_and_remedy_and_nothing_is_left_of_it(tmp_path: Path) -> None:
    reserve(tmp_path, wanted(60), [(0,)], 0, machine)
    with pytest.raises(EngineError) as raised:
        reserve(tmp_path, wanted(50, "engine v2"), [(0,)], 0, machine)
    assert str(raised.value) == (
        "engine v2 needs 50.0 GiB of GPU 0 (H200), and 40.0 GiB of 100.0 GiB are free; held by engine v1 60.0 GiB; "
        "nothing was started: lower serve.max_num_seqs, or end one of those"
    )
    assert [h.name for h in holders(tmp_path)] == ["engine v1"]
    assert not is_room_wanted(tmp_path)


def test_room_comes_back_when_its_process_dies_however_it_dies(
    tmp_path: Path, sleeper: "subprocess.Popen[bytes]"
) -> None:
    reserve(tmp_path, wanted(60), [(0,)], 0, machine).belongs_to(sleeper.pid)
    assert len(holders(tmp_path)) == 1
    sleeper.kill()
    sleeper.wait()
    assert holders(tmp_path) == []
    reserve(tmp_path, wanted(60), [(0,)], 0, machine)


def test_who_waits_leaves_a_wish_and_gets_the_room_that_others_leave(
    tmp_path: Path, sleeper: "subprocess.Popen[bytes]"
) -> None:
    """The gateway sees the wish and stops what it keeps warm."""
    reserve(tmp_path, wanted(60, "warm engine"), [(0,)], 0, machine).belongs_to(sleeper.pid)

    def play_gateway() -> None:
        while not is_room_wanted(tmp_path):
            time.sleep(0.02)
        sleeper.kill()
        sleeper.wait()

    gateway = threading.Thread(target=play_gateway)
    gateway.start()
    room = reserve(tmp_path, wanted(60, "training"), [(0,)], 30, machine)
    gateway.join()
    assert room.holder.name == "training"
    assert not is_room_wanted(tmp_path), "nothing waits any more"


def test_a_wish_of_a_process_that_died_stops_no_engine(tmp_path: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from driftwheel.machine.gpu_room import _own, _write, Wanted; "
        "_write(Path(sys.argv[1]), _own(Wanted(name='t', bytes_per_gpu=1, remedy=''), ()))"
    )
    subprocess.run([sys.executable, "-c", code, str(tmp_path / "wanted-1-1.json")], check=True)
    assert not is_room_wanted(tmp_path)
    assert list(tmp_path.glob("wanted-*")) == []


def test_the_first_group_of_devices_with_room_on_each_is_taken(tmp_path: Path) -> None:
    def two() -> Accelerator:
        return machine(2)

    first = reserve(tmp_path, wanted(60), [(0,), (1,)], 0, two)
    second = reserve(tmp_path, wanted(60), [(0,), (1,)], 0, two)
    assert (first.holder.devices, second.holder.devices) == ((0,), (1,))
    assert second.environment == {"CUDA_DEVICE_ORDER": "PCI_BUS_ID", "CUDA_VISIBLE_DEVICES": "1"}
    with pytest.raises(EngineError, match="of GPU 0"):
        reserve(tmp_path, wanted(50, "both"), [(0, 1)], 0, two)
    second.give_back()
    third = reserve(tmp_path, wanted(30), [(0, 1)], 0, two)
    assert third.environment["CUDA_VISIBLE_DEVICES"] == "0,1"


def test_another_programs_memory_is_not_promised(tmp_path: Path) -> None:
    def busy() -> Accelerator:
        return replace(machine(), gpus=(replace(GPUS[0], free_bytes=10 * GIB),))

    with pytest.raises(EngineError, match="held by processes that the driver does not show"):
        reserve(tmp_path, wanted(20), [(0,)], 0, busy)
    assert os.listdir(tmp_path) == ["lock"]
