"""The local executor: output, errors, holding, and no child left behind."""

import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from driftwheel.errors import ConfigError, DriftwheelError
from train.processes.executor import LocalExecutor


def wait_until(holds: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def state_of(process_id: int) -> str:
    """Return what the system says of a process: T where it was stopped, nothing once it is gone."""
    try:
        return Path(f"/proc/{process_id}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return ""


def python(code: str) -> list[str]:
    return [sys.executable, "-c", code]


def test_returns_stdout_and_logs_stderr(tmp_path: Path) -> None:
    log_path = tmp_path / "logs" / "step.log"
    code = "import os, sys; print(os.environ['COLOR']); sys.stderr.write('working\\n')"
    assert LocalExecutor().run(python(code), log_path=log_path, environment={"COLOR": "blue"}) == "blue\n"
    assert log_path.read_text(encoding="utf-8") == "working\n"


@pytest.mark.parametrize(
    ("code", "message"),
    [
        ("import sys; sys.exit('error: the disk is full')", "the disk is full"),
        ("import sys; sys.exit('[rank1]: error: no such row\\nerror: the others left')", "no such row"),
        ("raise LookupError('odd')", "LookupError: odd"),
        ("import os, signal; os.kill(os.getpid(), signal.SIGKILL)", "ended by SIGKILL"),
        ("raise SystemExit(3)", "exit status 3"),
    ],
    ids=["error line", "first of several processes", "traceback", "signal", "silent"],
)
def test_a_failing_child_raises_with_its_own_reason(tmp_path: Path, code: str, message: str) -> None:
    with pytest.raises(DriftwheelError, match=message):
        LocalExecutor().run(python(code), log_path=tmp_path / "step.log")


def test_a_command_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot start no-such-command"):
        LocalExecutor().run(["no-such-command"], log_path=tmp_path / "step.log")


def test_a_held_child_stands_still_until_it_is_released(tmp_path: Path) -> None:
    counter, enough, held = tmp_path / "count", tmp_path / "enough", threading.Event()
    code = (
        f"import itertools, os, pathlib, time; pathlib.Path({str(tmp_path / 'pid')!r}).write_text(str(os.getpid()))\n"
        f"for n in itertools.count():\n pathlib.Path({str(counter)!r}).write_text(str(n)); time.sleep(0.02)\n"
        f" if os.path.exists({str(enough)!r}): break"
    )
    results: list[str] = []

    def work() -> None:
        results.append(LocalExecutor().run(python(code), log_path=tmp_path / "step.log", is_held=held.is_set))

    thread = threading.Thread(target=work)
    thread.start()
    wait_until(counter.exists)
    child_id = int((tmp_path / "pid").read_text(encoding="utf-8"))
    held.set()
    wait_until(lambda: state_of(child_id) == "T")
    before = counter.read_text(encoding="utf-8")
    time.sleep(0.3)
    assert counter.read_text(encoding="utf-8") == before
    assert results == []
    held.clear()
    wait_until(lambda: counter.read_text(encoding="utf-8") not in ("", before))
    enough.touch()
    thread.join(60)
    assert results == [""]


def test_a_child_that_cannot_stand_is_ended_and_run_again(tmp_path: Path) -> None:
    starts, held = tmp_path / "starts", threading.Event()
    code = (
        f"import os, pathlib, time; path = pathlib.Path({str(starts)!r})\n"
        "count = path.stat().st_size if path.exists() else 0\n"
        f"pathlib.Path({str(tmp_path / 'pid')!r}).write_text(str(os.getpid()))\n"
        "path.write_bytes(b'x' * (count + 1)); time.sleep(0 if count else 600); print(count)"
    )
    results: list[str] = []

    def work() -> None:
        executor = LocalExecutor()
        results.append(executor.run(python(code), log_path=tmp_path / "step.log", is_held=held.is_set, can_stand=False))

    thread = threading.Thread(target=work)
    thread.start()
    wait_until(lambda: starts.exists() and starts.stat().st_size > 0)
    held.set()
    wait_until(lambda: state_of(int((tmp_path / "pid").read_text(encoding="utf-8"))) == "")
    time.sleep(0.3)
    assert starts.stat().st_size == 1
    held.clear()
    thread.join(60)
    assert results == ["1\n"]


def test_an_interrupted_call_ends_the_child(tmp_path: Path) -> None:
    mark = tmp_path / "alive"
    code = f"import time\nwhile True:\n open({str(mark)!r}, 'a').write('x'); time.sleep(0.02)"

    def stop_once_alive() -> bool:
        if mark.exists():
            raise KeyboardInterrupt
        return False

    with pytest.raises(KeyboardInterrupt):
        LocalExecutor().run(python(code), log_path=tmp_path / "step.log", is_held=stop_once_alive)
    size = mark.stat().st_size
    time.sleep(0.2)
    assert mark.stat().st_size == size
