"""Runs every suite of crashes, cuts, full disks and races, one after the other, and prints one table.

    python -m tests.suites.chaos [--only NAME ...]
    python -m tests.suites.chaos --short               # minutes instead of hours, to see that they all run

Each is also a `make suite-NAME`. With `--json` the last line that a suite prints holds `seed`, `tried` and `failed`.
"""

import argparse
import json
import shlex
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from rich.console import Console
from rich.table import Table
from scipy.stats import binomtest


@dataclass(frozen=True)
class Suite:
    """A suite's module with the options of its full and its short form."""

    module: str
    tries: str
    """What one try is."""
    full: str = ""
    short: str = ""


SUITES = {
    "durability": Suite("durability", "acknowledged answers", short="--kills 3 --acknowledged 600"),
    "postgresql": Suite(
        "durability",
        "acknowledged answers",
        "--database postgresql",
        "--database postgresql --kills 3 --acknowledged 600",
    ),
    "postgresql restart": Suite(
        "durability",
        "acknowledged answers",
        "--database postgresql --crash server --kills 20 --acknowledged 20000",
        "--database postgresql --crash server --kills 2 --acknowledged 400",
    ),
    "power_cuts": Suite("power_cuts", "power cuts", short="--cuts 50"),
    "disk_full": Suite("disk_full", "acknowledged answers", short="--points 5"),
    "alias_races": Suite("alias_races", "attempts to move the alias", short="--attempts 80"),
    "rollout_crashes": Suite("rollout_crashes", "crashes of the gateway", short="--times 1 --point 'before flip'"),
    "engine_faults": Suite("engine_faults", "faults of an engine", short="--faults 2"),
    "several_gateways": Suite("several_gateways", "acknowledged answers", short="--flips 2 --crashes 1"),
    "one engine each": Suite(
        "several_gateways", "acknowledged answers", "--engines only", "--engines only --flips 2 --crashes 1"
    ),
}


@dataclass(frozen=True)
class Outcome:
    """What a suite found; None where it did not end by itself."""

    seed: int | None
    tried: int | None
    failed: int | None
    minutes: float

    @property
    def is_clean(self) -> bool:
        """Whether it ended and nothing failed."""
        return self.failed == 0

    def cells(self) -> list[str]:
        """Return the table's cells."""
        minutes = f"{self.minutes:.1f}"
        if self.tried is None or self.failed is None:
            return ["", "", "did not end", "", minutes]
        # More faults than tries is possible, one answer can be lost and doubled.
        high = binomtest(min(self.failed, self.tried), self.tried).proportion_ci(0.9).high
        seed = "-" if self.seed is None else str(self.seed)
        return [seed, f"{self.tried:,}", str(self.failed), f"{high:.2g}", minutes]


def run(suite: Suite, *, is_short: bool) -> Outcome:
    """Run a suite, pass on what it prints, and read its last line."""
    options = shlex.split(suite.short if is_short else suite.full)
    argv = [sys.executable, "-m", f"tests.suites.{suite.module}", "--json", *options]
    began_at, last = time.monotonic(), ""
    with subprocess.Popen(argv, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        for line in process.stdout:
            print(line, end="", flush=True)
            last = line
    minutes = (time.monotonic() - began_at) / 60
    found: dict[str, Any] = json.loads(last) if last.startswith("{") else {}
    return Outcome(found.get("seed"), found.get("tried"), found.get("failed"), minutes)


def table_of(outcomes: Mapping[str, Outcome]) -> Table:
    """Return the table of what was found."""
    table = Table()
    for column in ("suite", "one try", "seed", "tried", "failed", "95 % upper bound", "minutes"):
        table.add_column(column, justify="left" if column in ("suite", "one try") else "right")
    for name, outcome in outcomes.items():
        table.add_row(name, SUITES[name].tries, *outcome.cells())
    return table


def main() -> None:
    """Run the suites and print the table; exits 1 if one failed or did not end."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--only", nargs="+", choices=SUITES, default=list(SUITES))
    parser.add_argument("--short", action="store_true")
    options = parser.parse_args()
    console, outcomes = Console(width=120), dict[str, Outcome]()
    for name in options.only:
        console.rule(name)
        outcomes[name] = run(SUITES[name], is_short=options.short)
    console.print(table_of(outcomes))
    sys.exit(not all(outcome.is_clean for outcome in outcomes.values()))


if __name__ == "__main__":
    main()
