"""The table of all crash suites is made of what each really printed."""

import subprocess
import sys
from pathlib import Path

from tests.suites.chaos import SUITES, Outcome, Suite, run

ROOT = Path(__file__).resolve().parents[2]


def test_a_suite_becomes_a_line_with_what_was_tried_and_failed() -> None:
    argv = [sys.executable, "-m", "tests.suites.chaos", "--short", "--only", "disk_full"]
    done = subprocess.run(argv, cwd=ROOT, capture_output=True, text=True, check=False, timeout=300)
    assert done.returncode == 0, done.stderr
    (line,) = [line for line in done.stdout.splitlines() if line.startswith("│ disk_full")]
    _, seed, tried, failed, bound, _ = [cell.strip() for cell in line.strip("│").split("│")][-6:]
    assert (seed, failed) == ("0", "0")
    assert int(tried) > 10
    assert 0 < float(bound) < 0.3


def test_a_planted_bug_and_a_suite_that_does_not_end_are_seen() -> None:
    found = run(Suite("disk_full", "answers", short="--points 5 --acknowledge-early"), is_short=True)
    assert found.failed is not None
    assert found.failed > 0
    assert not found.is_clean
    assert not run(Suite("no_such_suite", "nothing"), is_short=True).is_clean


def test_a_bound_is_that_of_clopper_and_pearson() -> None:
    assert Outcome(0, 1000, 0, 1.0).cells()[3] == "0.003"
    assert Outcome(0, 20, 25, 1.0).cells()[2:4] == ["25", "1"]
    assert all(suite.tries for suite in SUITES.values())
