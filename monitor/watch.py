"""The monitor's loop: checks each new full window of the live version, and serves metrics, until it is stopped.

    python -m monitor watch --config driftwheel.yaml

`check` in monitor/check.py lists the steps of one look in order. What was checked already is marked in the ledger, so a
restart goes on where the last process stopped.
"""

import argparse
import gc
import signal
import threading

import structlog

from driftwheel.cli.command import add_settings_arguments, open_ledger, settings_from
from driftwheel.control.notifying import addresses
from driftwheel.settings.settings import Settings
from monitor.check import check
from monitor.exporter import CheckCounter, start_exporter
from monitor.teller import tell_until

STOP_SECONDS = 5.0
"""A message that is under way is given so long; it is told again at the next start."""
log = structlog.get_logger()


def watch(settings: Settings, stop: threading.Event) -> None:
    """Check until told to stop; a check that fails is logged and counted, and tried again at the next look."""
    ledger, failures = open_ledger(settings), CheckCounter()
    server = start_exporter(settings, ledger, failures)
    # Beside the checks: an address that does not answer must not hold them up.
    teller = threading.Thread(target=tell_until, args=(ledger, settings.project, addresses(), stop), daemon=True)
    teller.start()
    try:
        while not stop.is_set():
            try:
                has_more = check(settings, ledger) is not None
            # Whatever it is: a monitor that one bad window ends watches nothing, and the count of failures is a metric.
            except Exception:
                failures.count()
                log.exception("check failed")
                has_more = False
            if not has_more:
                stop.wait(settings.monitor.interval_seconds)
    finally:
        server.shutdown()
        server.server_close()
        teller.join(STOP_SECONDS)
        ledger.close()


def keep_what_stays() -> None:
    """Leave out of Python's garbage collections what this process has loaded by now.

    Modules stay until it ends, and to visit all of their objects every few checks takes a twentieth of a check.
    """
    gc.collect()
    gc.freeze()


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the verb's arguments."""
    add_settings_arguments(parser)


def main(arguments: argparse.Namespace) -> None:
    """Watch until SIGINT or SIGTERM."""
    stop = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stop.set())
    keep_what_stays()
    watch(settings_from(arguments), stop)
