"""Reserves memory of a GPU before anything is started there, and waits for it, so that nothing runs out of it midway.

What was promised to a process stands in a file of the storage folder's `gpu`, under a lock, for as long as that process
lives: of two that ask at once, one gets the room and the other sees it taken. Who waits leaves a wish there, and the
gateway, which looks at it several times a second, stops the engines that it keeps warm.
"""

import contextlib
import fcntl
import json
import os
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import structlog

from driftwheel.errors import EngineError
from driftwheel.machine.accelerator import VISIBLE, Accelerator, Gpu, look
from driftwheel.machine.gpu_memory import Holder, available_bytes, owner_of, why_no_room

FOLDER = "gpu"
POLL_SECONDS = 1.0
DEVICE_ORDER = "CUDA_DEVICE_ORDER"
log = structlog.get_logger()


@dataclass(frozen=True, kw_only=True)
class Wanted:
    """What is to be started, and what it takes of each of its GPUs."""

    name: str
    bytes_per_gpu: int
    remedy: str
    """Which settings make it smaller."""


@dataclass(frozen=True, kw_only=True)
class Room:
    """Memory that is promised to a process."""

    path: Path
    holder: Holder

    def belongs_to(self, process_id: int) -> None:
        """Tie it to the life of the process that uses it."""
        _write(self.path, replace(self.holder, process_id=process_id))

    def give_back(self) -> None:
        """Let others have it."""
        self.path.unlink(missing_ok=True)

    @property
    def environment(self) -> dict[str, str]:
        """What makes a process see these GPUs only, by the driver's own numbers."""
        # By default CUDA numbers the fastest GPU first, and nvidia-smi by the place on the bus.
        return {DEVICE_ORDER: "PCI_BUS_ID", VISIBLE: ",".join(map(str, self.holder.devices))}


def reserve(
    folder: Path,
    wanted: Wanted,
    choices: Sequence[Sequence[int]],
    patience_seconds: float,
    look: Callable[[], Accelerator] = look,
) -> Room:
    """Return room on the first of the choices of GPUs that has it; waits for it, and asks the gateway to make some.

    Raises EngineError that says what needs how much, what holds how much, and what to change.
    """
    folder.mkdir(parents=True, exist_ok=True)
    deadline, wish = time.monotonic() + patience_seconds, folder / f"wanted-{os.getpid()}-{time.monotonic_ns()}.json"
    try:
        while True:
            room, reason = _try(folder, wanted, choices, look())
            if room is not None:
                return room
            if time.monotonic() >= deadline:
                raise EngineError(f"{reason}; nothing was started: {wanted.remedy}, or end one of those")
            if not wish.exists():
                log.warning("waiting for GPU memory", reason=reason, seconds=patience_seconds)
                _write(wish, _own(wanted, ()))
            time.sleep(min(POLL_SECONDS, max(0.0, deadline - time.monotonic())))
    finally:
        wish.unlink(missing_ok=True)


def is_room_wanted(folder: Path) -> bool:
    """Say whether a process that lives waits for room."""
    return any(_read(path) is not None for path in folder.glob("wanted-*.json"))


def holders(folder: Path) -> list[Holder]:
    """Return the processes that live and to which room was promised; forget the others."""
    return [holder for path in sorted(folder.glob("held-*.json")) if (holder := _read(path)) is not None]


def _try(folder: Path, wanted: Wanted, choices: Sequence[Sequence[int]], found: Accelerator) -> tuple[Room | None, str]:
    """Take the first choice with room, or say why the best one has too little."""
    gpus = {gpu.index: gpu for gpu in found.gpus}
    with _locked(folder / "lock"):
        ours = holders(folder)
        foreign = [process for process in found.processes if owner_of(process, ours, _ancestors) is None]

        def free(gpu: Gpu) -> int:
            return available_bytes(gpu, found.processes, ours, _ancestors)

        reasons: list[tuple[int, str]] = []
        for devices in choices:
            tight = min((gpus[index] for index in devices), key=free)
            left = free(tight)
            if left >= wanted.bytes_per_gpu:
                holder = _own(wanted, tuple(devices))
                path = folder / f"held-{os.getpid()}-{time.monotonic_ns()}.json"
                _write(path, holder)
                return Room(path=path, holder=holder), ""
            text = why_no_room(wanted.name, wanted.bytes_per_gpu, tight, left, ours, foreign)
            reasons.append((left, text))
    return None, max(reasons)[1]


def _own(wanted: Wanted, devices: tuple[int, ...]) -> Holder:
    return Holder(name=wanted.name, promised_bytes=wanted.bytes_per_gpu, devices=devices, process_id=os.getpid())


def _write(path: Path, holder: Holder) -> None:
    started_at = _started_at(holder.process_id)
    aside = path.with_suffix(".new")
    aside.write_text(json.dumps({**asdict(holder), "started_at": started_at}), encoding="utf-8")
    aside.replace(path)


def _read(path: Path) -> Holder | None:
    """Return who holds or wants, and remove the file of a process that is gone."""
    try:
        facts = json.loads(path.read_text(encoding="utf-8"))
        started_at = facts.pop("started_at")
        holder = Holder(**{**facts, "devices": tuple(facts["devices"])})
    except FileNotFoundError:
        return None
    if started_at is None or _started_at(holder.process_id) != started_at:
        path.unlink(missing_ok=True)
        return None
    return holder


def _started_at(process_id: int) -> str | None:
    """Return when a process started, in the kernel's ticks; a number alone is given again to another."""
    try:
        # proc(5): the name before it may hold anything; field 22 is the 20th after its closing bracket.
        after = (
            Path(f"/proc/{process_id}/stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()
        )
    except (FileNotFoundError, ProcessLookupError):
        return None
    return None if after[0] == "Z" else after[19]


def _ancestors(process_id: int) -> list[int]:
    """Return a process, its parent and so on."""
    chain: list[int] = []
    while process_id > 1 and process_id not in chain:
        chain.append(process_id)
        try:
            stat = Path(f"/proc/{process_id}/stat").read_text(encoding="utf-8", errors="replace")
        except (FileNotFoundError, ProcessLookupError):
            break
        process_id = int(stat.rpartition(")")[2].split()[1])
    return chain


@contextlib.contextmanager
def _locked(path: Path) -> Iterator[None]:
    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
