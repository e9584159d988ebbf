"""Supervise the loop's processes: gateway, monitor, worker and dashboard, each restarted with back-off when it dies.

driftwheel up
"""

import argparse
import os
import secrets
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import IO

import structlog

from driftwheel.backoff import Backoff
from driftwheel.callers.api_keys import KEYS_VARIABLE
from driftwheel.cli.command import add_settings_arguments, open_ledger, settings_from
from driftwheel.errors import ConfigError, StorageError
from driftwheel.machine.child_secrets import JUDGE_KEY, NOTIFY_ADDRESSES, PARAPHRASE_KEY, for_stage
from driftwheel.machine.system import die_with_parent, why_not_listen
from driftwheel.records.by_whom import me
from driftwheel.settings.serving import ServeSettings
from driftwheel.settings.watching import DashboardSettings, MonitorSettings
from driftwheel.store.ledger import Ledger
from driftwheel.store.seen_settings import note_changed_settings

CHILDREN = {
    "gateway": ("serve", "gateway"),
    "monitor": ("monitor", "watch"),
    "worker": ("train", "worker"),
    "dashboard": ("dashboard",),
}
NEEDS = {
    "gateway": (KEYS_VARIABLE,),
    "monitor": (KEYS_VARIABLE, NOTIFY_ADDRESSES),
    "worker": (JUDGE_KEY, PARAPHRASE_KEY),
    "dashboard": (KEYS_VARIABLE, NOTIFY_ADDRESSES),
}
"""Which of our own secrets each is given: the keys that it knows callers by or asks with, and no others."""
STEADY_SECONDS = 60.0
"""A child that lived so long did start; its next death counts as the first one."""
LOOK_SECONDS = 0.5
STOP_SECONDS = 60.0
"""The gateway finishes answers that are under way, for at most a third of this."""
log = structlog.get_logger()


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the verb's arguments."""
    add_settings_arguments(parser)


def main(arguments: argparse.Namespace) -> None:
    """Run the loop's processes until SIGINT or SIGTERM, then stop them cleanly."""
    settings = settings_from(arguments)
    require_free_ports(settings.serve, settings.monitor, settings.dashboard)
    stop = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stop.set())
    _announce(settings.serve, settings.monitor, settings.dashboard)
    _note_settings(partial(open_ledger, settings), settings.project, settings.model_dump(mode="json"))
    _supervise(children_of(settings.child_command, settings.child_environment(), settings.logs), stop)


def _note_settings(open_it: Callable[[], Ledger], project: str, settings: Mapping[str, object]) -> None:
    """Write down what was set otherwise since the last start."""
    try:
        with closing(open_it()) as ledger:
            note_changed_settings(settings, ledger, project, me())
    except StorageError as error:
        # A database that comes up later than the loop: its processes wait for it, and the next start compares.
        log.warning("whether settings have changed was not written down", error=str(error))


@dataclass
class Child:
    """One supervised process."""

    name: str
    argv: list[str]
    log_path: Path
    environment: Mapping[str, str] = field(default_factory=dict, repr=False)
    """Beside this process's own."""
    process: "subprocess.Popen[bytes] | None" = None
    backoff: Backoff = field(default_factory=lambda: Backoff(quiet_seconds=STEADY_SECONDS))
    output: "IO[bytes] | None" = field(default=None, repr=False)

    def start(self) -> None:
        """Start the process; it gets SIGTERM if this one dies."""
        self.log_path.parent.mkdir(parents=True, exist_ok=True)
        self.output = self.log_path.open("ab")
        self.process = subprocess.Popen(
            self.argv,
            stdin=subprocess.DEVNULL,
            stdout=self.output,
            stderr=self.output,
            env=for_stage(os.environ, NEEDS.get(self.name, ())) | dict(self.environment),
            preexec_fn=die_with_parent,  # no gateway is left behind
        )
        log.info("started", child=self.name, pid=self.process.pid, log=str(self.log_path))

    def look(self) -> None:
        """Notice a death, and start again when its back-off is over."""
        now = time.monotonic()
        if self.process is None:
            if self.backoff.is_due(now):
                self.start()
            return
        status = self.process.poll()
        if status is None:
            return
        self.backoff.note(now)
        self._forget()
        log.error(
            "died", child=self.name, status=status, restart_seconds=self.backoff.wait_seconds, log=str(self.log_path)
        )

    def ask_to_stop(self) -> None:
        """Send SIGTERM."""
        if self.process is not None:
            self.process.terminate()

    def wait(self, seconds: float) -> None:
        """Wait for the end, then kill."""
        if self.process is None:
            return
        try:
            self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            log.error("killed", child=self.name)
            self.process.kill()
            self.process.wait()
        self._forget()

    def _forget(self) -> None:
        self.process = None
        if self.output is not None:
            self.output.close()


def children_of(command: Callable[..., list[str]], environment: Mapping[str, str], logs: Path) -> list[Child]:
    """Return the loop's processes, not yet started; one that dies starts again with the settings of the others."""
    return [Child(name, command(*words), logs / f"{name}.log", environment) for name, words in CHILDREN.items()]


def require_free_ports(serve: ServeSettings, monitor: MonitorSettings, dashboard: DashboardSettings) -> None:
    """Raise ConfigError naming each address that the loop's processes could not listen at."""
    wanted = [
        ("serve.port", serve.host, serve.port),
        ("monitor.port", monitor.host, monitor.port),
        ("dashboard.port", dashboard.host, dashboard.port),
    ]
    found, seen = [], dict[int, str]()
    for key, host, port in wanted:
        reason = why_not_listen(host, port)
        if port and port in seen:
            reason = f"{seen[port]} is the same"
        seen[port] = key
        found += [f"{key} {port} on {host} ({reason})"] if reason else []
    if found:
        raise ConfigError(
            f"cannot listen at {', '.join(found)}; nothing was started: stop what listens there (`ss -ltnp` names it), "
            "or choose another port"
        )


def _announce(serve: ServeSettings, monitor: MonitorSettings, dashboard: DashboardSettings) -> None:
    """Say where everything listens, and make a key for this run where one is needed and none is given."""
    if serve.require_key and not os.environ.get(KEYS_VARIABLE):
        os.environ[KEYS_VARIABLE] = secrets.token_urlsafe(24)
        sys.stdout.write(f"API key for this run: {os.environ[KEYS_VARIABLE]}  (set {KEYS_VARIABLE} to choose it)\n")
    sys.stdout.write(f"gateway    http://{serve.host}:{serve.port}/v1  (model {serve.alias!r})\n")
    sys.stdout.write(f"dashboard  http://{dashboard.host}:{dashboard.port}\n")
    sys.stdout.write(f"metrics    http://{monitor.host}:{monitor.port}/metrics\n")
    sys.stdout.flush()


def _supervise(children: Sequence[Child], stop: threading.Event) -> None:
    while not stop.is_set():
        for child in children:
            child.look()
        stop.wait(LOOK_SECONDS)
    # All are asked before one is waited for: they stop side by side.
    for child in children:
        child.ask_to_stop()
    for child in children:
        child.wait(STOP_SECONDS)
