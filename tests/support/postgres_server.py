"""Starts a PostgreSQL server on an empty folder, which tests can stop and restart."""

import contextlib
import os
import shutil
import signal
import subprocess
import tempfile
import time
from pathlib import Path

import psycopg

from driftwheel.machine.system import free_port

DEBIAN_FOLDER = Path("/usr/lib/postgresql")
USER = "driftwheel"
START_SECONDS = 60


def find_programs() -> Path | None:
    """Return the folder of `initdb` and `postgres`, the newest there is, or None."""
    on_path = shutil.which("initdb")
    if on_path:
        return Path(on_path).parent
    found = sorted(DEBIAN_FOLDER.glob("*/bin/initdb"), key=lambda path: int(path.parts[-3]))
    return found[-1].parent if found else None


class PostgresServer:
    """A running server; it refuses to run as root, so root runs it as the system's user `postgres`."""

    def __init__(self, programs: Path, *, is_durable: bool = True) -> None:
        self._programs = programs
        self._user = "postgres" if os.geteuid() == 0 else None
        self.folder = Path(tempfile.mkdtemp(prefix="driftwheel-postgres-"))
        if self._user:
            shutil.chown(self.folder, self._user)
        self.port = free_port()
        self._options = [] if is_durable else ["-c", "fsync=off", "-c", "full_page_writes=off"]
        self._run("initdb", "--username", USER, "--auth", "trust", "--encoding", "UTF8", "--no-sync")
        self._databases = 0
        self._process = self._start()

    def new_database(self) -> str:
        """Make an empty database and return its URL."""
        self._databases += 1
        name = f"loop_{self._databases}"
        with psycopg.connect(self._address("postgres"), autocommit=True) as connection:
            connection.execute(f"CREATE DATABASE {name}")
        return self._address(name)

    def stop(self) -> None:
        """Stop at once, as a crash does: the server recovers from its log when it is started again."""
        self._process.send_signal(signal.SIGQUIT)
        self._process.wait(START_SECONDS)

    def start(self) -> None:
        """Start again and wait until it answers."""
        self._process = self._start()

    def crash_and_restart(self) -> None:
        """Stop at once and start again."""
        self.stop()
        self.start()

    def remove(self) -> None:
        """Stop, and delete the data folder."""
        self.stop()
        shutil.rmtree(self.folder)

    def _address(self, database: str) -> str:
        return f"postgresql://{USER}@127.0.0.1:{self.port}/{database}"

    def _start(self) -> "subprocess.Popen[bytes]":
        folder, options = str(self.folder), ["-c", "listen_addresses=127.0.0.1", *self._options]
        argv = [str(self._programs / "postgres"), "-D", folder, "-p", str(self.port), "-k", folder, *options]
        with (self.folder / "server.log").open("ab") as log:
            process = subprocess.Popen(argv, user=self._user, group=self._user, cwd="/", stdout=log, stderr=log)
        deadline = time.monotonic() + START_SECONDS
        while time.monotonic() < deadline and process.poll() is None:
            with contextlib.suppress(psycopg.OperationalError), psycopg.connect(self._address("postgres")):
                return process
            time.sleep(0.02)
        raise TimeoutError(f"PostgreSQL does not start; see {self.folder}/server.log")

    def _run(self, program: str, *arguments: str) -> None:
        argv = [str(self._programs / program), "-D", str(self.folder), *arguments]
        subprocess.run(argv, user=self._user, group=self._user, cwd="/", check=True, stdout=subprocess.DEVNULL)
