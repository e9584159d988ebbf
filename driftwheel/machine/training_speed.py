"""What was measured of this machine's CPU: the number type and the threads that train fastest, kept for next time.

It is kept in the user's cache folder by processor, cores and torch's version, so that another machine with the same
home folder, or a new version of torch, is measured by itself.
"""

import errno
import json
import os
import stat
import tempfile
from contextlib import suppress
from dataclasses import asdict, dataclass
from functools import cache
from importlib.metadata import version
from pathlib import Path

import structlog

from driftwheel.machine.processor import core_count, is_busy, this_processor

BFLOAT16, FLOAT32 = "bfloat16", "float32"
ALONE, BUSY = "alone", "beside other work"
NEEDED_GAIN = 1.1
"""float32 takes twice the memory and one thread leaves cores idle, so each has to be faster by this to be chosen."""

log = structlog.get_logger()

Seconds = dict[str, float]
"""The least seconds of a step, by what was tried."""


@dataclass(frozen=True, kw_only=True)
class Speed:
    """What was measured on this machine."""

    frozen: Seconds
    """A layer's step by number type, its weights frozen, as with adapters."""
    trained: Seconds
    """The same with weights that are trained."""
    threads: dict[str, Seconds]
    """Of the faster type by number of threads, alone and beside other work, as far as each was met."""

    def is_bf16_faster(self, method: str) -> bool:
        """Say whether a training method is better computed in bfloat16 here."""
        seconds = self.trained if method == "full" else self.frozen
        return seconds[BFLOAT16] <= seconds[FLOAT32] * NEEDED_GAIN

    def best_threads(self, state: str) -> int:
        """Return the number of threads for a training that begins alone or beside other work; all of them in doubt."""
        seconds = {int(count): least for count, least in self.threads[state].items()}
        return max(count for count, least in seconds.items() if least <= min(seconds.values()) * NEEDED_GAIN)

    @property
    def told(self) -> str:
        """What was found, for a person."""
        types = ", ".join(
            f"{BFLOAT16} {seconds[FLOAT32] / seconds[BFLOAT16]:.1f} times as fast as {FLOAT32} {of}"
            for of, seconds in (("for adapters", self.frozen), ("for whole weights", self.trained))
        )
        threads = ", ".join(f"{self.best_threads(state)} threads {state}" for state in self.threads)
        return f"{types}; {threads}"


def state_now() -> str:
    """Say whether this process has the machine to itself."""
    return BUSY if is_busy() else ALONE


def kept_path() -> Path:
    """Return the file of measurements."""
    return _cache_folder() / "driftwheel" / "training-speed.json"


def spare_path() -> Path:
    """Return the file where measurements are kept that the user's cache folder does not take, until the next boot."""
    return Path(tempfile.gettempdir()) / f"driftwheel-{os.getuid()}" / "training-speed.json"


def _cache_folder() -> Path:
    named = Path(os.environ.get("XDG_CACHE_HOME", ""))
    if named.is_absolute():  # an empty or relative one is not obeyed, as the XDG specification says
        return named
    try:
        return Path.home() / ".cache"
    except RuntimeError:  # a service's user may have no home
        return Path(tempfile.gettempdir()) / f"cache-{os.getuid()}"


def machine_key() -> str:
    """Return what tells this machine from others, and its torch from other versions."""
    found = this_processor()
    # oneDNN's own way to be kept from an extension that the processor has.
    limit = os.environ.get("ONEDNN_MAX_CPU_ISA", "")
    return "; ".join(
        (found.name, " ".join(found.extensions), f"{core_count()} cores", f"torch {version('torch')}", limit)
    )


def kept_speeds(path: Path | None = None) -> dict[str, Speed]:
    """Read what was measured before, by machine; a file that is none of ours holds nothing.

    Without a path both places are read, and what the cache folder says goes before the spare one.
    """
    if path is None:
        return {**(kept_speeds(spare_path()) if _is_ours(spare_path().parent) else {}), **kept_speeds(kept_path())}
    try:
        kept = json.loads(path.read_text(encoding="utf-8"))
        return {key: speed for key, known in kept.items() if (speed := _read(known)) is not None}
    except (OSError, ValueError, AttributeError):
        return {}


def _is_ours(folder: Path) -> bool:
    """Say whether a folder that anybody could have made is this user's alone: in the temporary one all may write."""
    try:
        found = folder.lstat()
    except OSError:
        return False
    return stat.S_ISDIR(found.st_mode) and found.st_uid == os.getuid() and not found.st_mode & 0o022


def _read(known: object) -> Speed | None:
    """Return a machine's measurement; None where something is missing that would be asked of it."""
    try:
        speed = Speed(**known)  # type: ignore[arg-type]
        _ = {**speed.threads}, speed.told, speed.is_bf16_faster("full"), speed.is_bf16_faster("lora")
    except (ValueError, TypeError, KeyError, AttributeError, ZeroDivisionError):
        return None
    return speed


def keep_speed(found: Speed, path: Path | None = None) -> None:
    """Write what was measured beside what is known of other machines; without a path, wherever that can be written."""
    places, reasons = [path] if path else [kept_path(), spare_path()], []
    for place in places:
        try:
            _write(found, place)
            return
        except OSError as error:
            reasons.append(str(error))
    _warn(places[0], "; ".join(reasons))


def _write(found: Speed, path: Path) -> None:
    """Write into a file as a whole, so that two trainings that begin at once do not mix theirs; raises OSError."""
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    if path == spare_path() and not _is_ours(path.parent):
        raise PermissionError(errno.EPERM, "the folder is somebody else's", str(path.parent))
    kept = {**kept_speeds(path), machine_key(): found}
    aside = path.with_name(f"{path.name}.{os.getpid()}")
    try:
        aside.write_text(json.dumps({key: asdict(known) for key, known in kept.items()}, indent=1), encoding="utf-8")
        aside.replace(path)
    finally:
        with suppress(OSError):
            aside.unlink()


@cache
def _warn(path: Path, reason: str) -> None:
    """Say once that each process measures anew, so that two of one run may compute in different number types."""
    log.warning("measurement_not_kept", path=str(path), reason=reason, next="set train.bf16, or XDG_CACHE_HOME")
