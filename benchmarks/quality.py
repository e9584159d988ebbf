"""Benchmark: the verdict on quality under each scheme of feedback, beside what was right, written down before the run.

    python -m benchmarks.quality [--streams 20] [--seed 0]

A version was judged right on 570 of 600 items. Its traffic is simulated in windows of 200 by 20 keys: 12 steady
windows, then 8 more in which the answers are as right as before or only `right` of them are. `RIGHT` says for each
scheme what has to come out after the last window; a stream counts only if all of it holds. An alarm in a steady stream,
a retrain by an estimate, and a retrain in a steady stream are wrong wherever they happen.
"""

import argparse
import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from rich.console import Console
from rich.table import Table

from driftwheel.evidence.intervals import share_interval
from monitor.calibration import level_per_decision
from monitor.opinions import Said, WindowEvidence
from monitor.quality import Assessment, assess
from monitor.standard import Baseline

ROWS, KEYS, STEADY, AFTER = 200, 20, 12, 8
BASELINE = Baseline(correct=570, items=600)
LEVEL = level_per_decision(1.0, 24)
Generator = np.random.Generator


@dataclass(frozen=True, kw_only=True)
class Scheme:
    """Who says what about which answers, and what has to come out."""

    name: str
    say: Callable[[Generator, bool], Said]
    """What is said about one answer, given whether it is right."""
    right: float = 0.6
    """Share of right answers after the change."""
    delay: int = 0
    """Windows until the labels of a window are there."""
    attack: int = 0
    """Thumbs up that one key adds to each window after the change."""
    must: str
    """`retrain`, `alarm` (an estimate, no retrain) or `nothing`, by the end."""
    must_show: str = "no accuracy"
    """`accuracy`, within three standard errors of the true one, or `no accuracy`."""
    is_steady: bool = False


def _audit(random: Generator) -> bool:
    return bool(random.random() < 0.05)


def _key(random: Generator) -> str:
    return f"key{random.integers(KEYS)}"


def _labels(share: float) -> Callable[[Generator, bool], Said]:
    def say(random: Generator, is_right: bool) -> Said:
        return Said(_key(random), _audit(random), is_right if random.random() < share else None)

    return say


def _audit_only(random: Generator, is_right: bool) -> Said:
    is_drawn = _audit(random)
    return Said(_key(random), is_drawn, is_right if is_drawn else None)


def _corrections(share: float) -> Callable[[Generator, bool], Said]:
    def say(random: Generator, is_right: bool) -> Said:
        is_corrected = not is_right and random.random() < share
        return Said(_key(random), _audit(random), False if is_corrected else None)

    return say


def _thumbs(random: Generator, is_right: bool) -> Said:
    """Give a thumb to three answers of ten; a sixth of the thumbs says the opposite of what is so."""
    is_given, is_liked = random.random() < 0.3, is_right != (random.random() < 1 / 6)
    return Said(_key(random), _audit(random), None, (1 if is_liked else -1) if is_given else None)


def _nothing(random: Generator, is_right: bool) -> Said:
    return Said(_key(random), _audit(random))


RIGHT = (
    Scheme(name="all labelled, at once", say=_labels(1.0), must="retrain", must_show="accuracy"),
    Scheme(name="all labelled, three windows late", say=_labels(1.0), delay=3, must="retrain", must_show="accuracy"),
    Scheme(name="10 % labelled, 54 % right", say=_labels(0.1), right=0.54, must="alarm"),
    Scheme(name="10 % labelled, three windows late", say=_labels(0.1), right=0.54, delay=3, must="alarm"),
    Scheme(name="the audit sample labelled", say=_audit_only, must="retrain", must_show="accuracy"),
    Scheme(name="the audit sample, three windows late", say=_audit_only, delay=3, must="retrain"),
    Scheme(name="corrections only, of half of what is wrong", say=_corrections(0.5), must="retrain"),
    Scheme(name="corrections only, of a fifth of it", say=_corrections(0.2), must="alarm"),
    Scheme(name="thumbs only", say=_thumbs, must="alarm"),
    Scheme(name="thumbs only, and 60 up by one key", say=_thumbs, attack=60, must="alarm"),
    Scheme(name="nothing", say=_nothing, must="nothing"),
    Scheme(name="steady, all labelled", say=_labels(1.0), must="nothing", must_show="accuracy", is_steady=True),
    Scheme(name="steady, 10 % labelled", say=_labels(0.1), must="nothing", is_steady=True),
    Scheme(name="steady, the audit sample", say=_audit_only, must="nothing", must_show="accuracy", is_steady=True),
    Scheme(name="steady, corrections only", say=_corrections(1.0), must="nothing", is_steady=True),
    Scheme(name="steady, thumbs only", say=_thumbs, must="nothing", is_steady=True),
    Scheme(name="steady, and 60 thumbs up by one key", say=_thumbs, attack=60, must="nothing", is_steady=True),
    Scheme(name="steady, and 60 thumbs down by one key", say=_thumbs, attack=-60, must="nothing", is_steady=True),
)


def window(random: Generator, scheme: Scheme, *, is_after: bool) -> WindowEvidence:
    """Simulate one window with everything that is ever said about it."""
    share = scheme.right if is_after and not scheme.is_steady else BASELINE.accuracy
    rows = [scheme.say(random, bool(random.random() < share)) for _ in range(ROWS)]
    if is_after:
        thumb = 1 if scheme.attack > 0 else -1
        rows[: abs(scheme.attack)] = [Said("loud", False, None, thumb)] * abs(scheme.attack)
    return WindowEvidence(tuple(rows))


def unsaid(of: WindowEvidence) -> WindowEvidence:
    """Return a window before anything was said about it."""
    return WindowEvidence(tuple(Said(row.author, row.is_audited) for row in of.rows))


def stream(random: Generator, scheme: Scheme) -> list[Assessment]:
    """Return the assessment after each window of one stream."""
    windows = [window(random, scheme, is_after=number >= STEADY) for number in range(STEADY + AFTER)]
    found = []
    for last in range(1, len(windows) + 1):
        known = windows[: last - scheme.delay] if last > scheme.delay else []
        seen = [*known, *(unsaid(w) for w in windows[len(known) : last])]
        # What the monitor reads: the version's first windows, and the newest ones.
        seen = [*seen[:8], *seen[max(8, last - 8) :]]
        found.append(
            assess(seen, BASELINE, level=LEVEL, min_labels=30, max_drop=0.1),
        )
    return found


def outcome(found: Sequence[Assessment]) -> str:
    """Return what a stream led to: the strongest of what held in two windows in a row."""
    pairs = list(itertools.pairwise(found))
    if any(a.is_proved and b.is_proved for a, b in pairs):
        return "retrain"
    if any((a.is_proved or a.risen) and (b.is_proved or b.risen) for a, b in pairs):
        return "alarm"
    return "nothing"


def is_right(found: Sequence[Assessment], scheme: Scheme) -> bool:
    """Say whether a stream ended as it has to, without a false word before the change."""
    if outcome(found[:STEADY]) != "nothing" or outcome(found) != scheme.must:
        return False
    last = found[-1].accuracy
    if scheme.must_show == "no accuracy":
        return last is None or scheme.delay > 0
    true = BASELINE.accuracy if scheme.is_steady else scheme.right
    return last is not None and abs(last.value - true) < 3 * np.sqrt(true * (1 - true) / last.labelled)


def main() -> None:
    """Print how many streams of each scheme ended as they had to."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--streams", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    table = Table("feedback", "must be", "must show", f"right of {arguments.streams}", "95 %", "windows to it")
    for number, scheme in enumerate(RIGHT):
        random = np.random.default_rng([arguments.seed, number])
        streams = [stream(random, scheme) for _ in range(arguments.streams)]
        right = sum(is_right(found, scheme) for found in streams)
        low, high = share_interval(right, arguments.streams) or (0.0, 1.0)
        table.add_row(
            scheme.name, scheme.must, scheme.must_show, str(right), f"{low:.0%} to {high:.0%}", delays(streams, scheme)
        )
    Console(width=140).print(table)


def delays(streams: Sequence[Sequence[Assessment]], scheme: Scheme) -> str:
    """Return the median number of windows from the change to the outcome that has to come."""
    if scheme.must == "nothing":
        return "-"
    found = []
    for one in streams:
        until = [n for n in range(STEADY + 1, len(one) + 1) if outcome(one[:n]) == scheme.must]
        found.append(until[0] - STEADY if until else AFTER + 1)
    return f"{np.median(found):g}"


if __name__ == "__main__":
    main()
