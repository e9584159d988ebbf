"""Only one process holds a lock, and a dead one holds none."""

import subprocess
import sys
from pathlib import Path

import pytest

from driftwheel.errors import ConflictError
from driftwheel.machine.system import only_process

HOLD = (
    "import sys, time; from pathlib import Path; from driftwheel.machine.system import only_process\n"
    "with only_process(Path(sys.argv[1]), 'taken'): print('held', flush=True); time.sleep(60)"
)


def test_a_lock_is_refused_while_another_process_holds_it_and_free_once_that_is_killed(tmp_path: Path) -> None:
    path = tmp_path / "folder" / "lock"
    with subprocess.Popen([sys.executable, "-c", HOLD, str(path)], stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        with pytest.raises(ConflictError, match="taken already"), only_process(path, "taken already"):
            pass
        holder.kill()
    with only_process(path, "taken already"):
        assert path.is_file()
