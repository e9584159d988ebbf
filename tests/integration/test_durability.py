"""What the gateway acknowledged is in the ledger, whatever was killed, cut off or full.

The short forms of tests.suites.durability, power_cuts and disk_full, each with its planted bug.
"""

import json
import subprocess
import sys
from pathlib import Path

from tests.support.postgres_server import PostgresServer

ROOT = Path(__file__).resolve().parents[2]


def measured(suite: str, *options: str) -> dict[str, float]:
    argv = [sys.executable, "-m", f"tests.suites.{suite}", "--json", *options]
    done = subprocess.run(argv, cwd=ROOT, capture_output=True, text=True, check=False, timeout=300)
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    found: dict[str, float] = json.loads(done.stdout)
    return found


def test_a_gateway_that_is_killed_under_load_loses_and_doubles_no_acknowledged_request() -> None:
    found = measured("durability", "--kills", "3", "--acknowledged", "400")
    assert found["acknowledged"] >= 400
    assert found["streamed"] >= 100
    assert (found["lost"], found["doubled"], found["different"]) == (0, 0, 0)


def test_the_same_kills_find_a_log_that_acknowledges_too_early() -> None:
    assert measured("durability", "--kills", "3", "--acknowledged", "400", "--acknowledge-early")["lost"] > 0


def test_a_postgresql_that_crashes_under_load_loses_no_acknowledged_request_and_is_used_again(
    postgres_server: PostgresServer,
) -> None:
    found = measured(
        "durability", "--database", "postgresql", "--crash", "server", "--kills", "3", "--acknowledged", "400"
    )
    assert found["acknowledged"] >= 400
    assert (found["lost"], found["doubled"], found["different"]) == (0, 0, 0)
    assert found["longest"] < 60


def test_a_power_cut_at_any_moment_loses_no_acknowledged_row() -> None:
    found = measured("power_cuts", "--cuts", "30")
    assert found["acknowledged"] > 1000
    assert (found["lost"], found["half written"], found["corrupt"]) == (0, 0, 0)


def test_the_same_power_cuts_find_a_database_that_does_not_sync_each_commit() -> None:
    assert measured("power_cuts", "--cuts", "5", "--synchronous-normal")["losing"] > 0


def test_a_full_disk_means_no_answer_without_its_row_and_no_half_row() -> None:
    found = measured("disk_full", "--points", "5")
    assert (found["lost"], found["different"], found["doubled"], found["half"], found["is_sound"]) == (0, 0, 0, 0, 1)
    assert found["longest"] < 60


def test_the_same_full_disk_finds_a_log_that_acknowledges_too_early() -> None:
    assert measured("disk_full", "--points", "5", "--acknowledge-early")["lost"] > 0
