"""Makes a virtual environment, once, for packages that cannot be installed beside those that train."""

import shutil
import sys
from collections.abc import Sequence
from pathlib import Path

from driftwheel.errors import ConfigError
from train.processes.executor import LocalExecutor


def python_with(
    root: Path, name: str, packages: Sequence[str], *, beside: Path, key: str, configured: str | None
) -> str:
    """Return a Python that has the packages: the configured one, or that of the environment `name` in storage.

    `key` is the setting that may configure one. Raises ConfigError if that one is missing or `uv` cannot be found.
    """
    if configured:
        python = beside / Path(configured).expanduser()
        if not python.is_file():
            raise ConfigError(f"{key} {python} does not exist; set it to a Python or to null")
        return str(python.absolute())
    environment = root / name
    python, mark = environment / "bin" / "python", environment / ".complete"
    if not mark.is_file():
        _make(environment, packages, root / "logs" / f"{name}-install.log")
        mark.touch()
    return str(python)


def _make(environment: Path, packages: Sequence[str], log_path: Path) -> None:
    beside = Path(sys.executable).with_name("uv")
    uv = str(beside) if beside.is_file() else shutil.which("uv")
    if uv is None:
        raise ConfigError(f"`uv` is needed to make the environment {environment}; run: pip install uv")
    run = LocalExecutor().run
    run([uv, "venv", "--clear", "--seed", "--python", sys.executable, str(environment)], log_path=log_path)
    # pip reads the machine's own index settings, which uv does not.
    run([str(environment / "bin" / "python"), "-m", "pip", "install", *packages], log_path=log_path)
