"""The demo's claims, and whether each held."""

import math
from dataclasses import dataclass


@dataclass
class Measured:
    """What came out of one turn of the circle; shares are 0 to 1, times are seconds, nan is not measured."""

    v1: str = ""
    v2: str = ""
    bad: str = ""
    tuned: float = math.nan
    base: float = math.nan
    """The better of the base model's plain and few-shot prompts."""
    old_v1: float = math.nan
    new_v1: float = math.nan
    old_v2: float = math.nan
    new_v2: float = math.nan
    steady_rows: int = 0
    steady_checks: int = 0
    steady_alarms: int = 0
    windows_to_alarm: int | None = None
    requests_per_second: float = math.nan
    requests: int = 0
    failures: int = 0
    bad_verdict: str = "not judged"
    is_bad_promoted: bool = False
    bad_requests: int = 0
    rollback_seconds: float = math.nan
    has_rolled_back: bool = False
    circle_seconds: float = math.nan
    load_before: float = 0.0
    """Processes that wanted to run before the demo began."""
    cores: int = 1

    @property
    def other_work(self) -> str:
        """What else the machine did as the demo began, or nothing: then the demo's own speed is not what was timed."""
        is_beside = self.load_before > self.cores / 2
        return f"load {self.load_before:.1f} on {self.cores} cores before it began" if is_beside else ""


@dataclass(frozen=True)
class Claim:
    """One bar and what was measured."""

    text: str
    bar: str
    measured: str
    is_met: bool
    is_required: bool = True


def upper_bound(failures: int, trials: int) -> float:
    """Return the 95 % upper bound of a failure rate when none was seen: the rule of three, 3/n; else failures/n."""
    return (failures or 3) / max(1, trials)


def hold_against_bars(m: Measured) -> list[Claim]:
    """Hold what was measured against the bars."""
    drop, minutes = m.old_v1 - m.new_v1, m.circle_seconds / 60
    bound = upper_bound(m.failures, m.requests)
    return [
        Claim(
            "tuned against base, old traffic, held-out items",
            ">= 85 % against <= 30 %",
            f"{m.tuned:.1%} against {m.base:.1%}",
            m.tuned >= 0.85 and m.base <= 0.30,
        ),
        Claim(
            "shifted traffic before retraining",
            ">= 20 points below old",
            f"{m.new_v1:.1%}, {100 * drop:.1f} points below {m.old_v1:.1%}",
            drop >= 0.20,
        ),
        Claim(
            "alarms in the steady phase",
            "0",
            f"{m.steady_alarms} in {m.steady_checks} windows",
            m.steady_checks > 0 and m.steady_alarms == 0,
        ),
        Claim(
            "windows from shift to alarm",
            "<= 3",
            f"{m.windows_to_alarm}",
            m.windows_to_alarm is not None and m.windows_to_alarm <= 3,
        ),
        Claim("shifted traffic after retraining", ">= 80 %", f"{m.new_v2:.1%}", m.new_v2 >= 0.80),
        Claim(
            "old traffic after retraining",
            "at most 2 points below v1",
            f"{m.old_v2:.1%}, v1 had {m.old_v1:.1%}",
            m.old_v2 >= m.old_v1 - 0.02,
        ),
        Claim(
            "failed or cut off over both swaps and the rollback",
            "0, >= 10 requests a second",
            f"{m.failures} of {m.requests} (95 % upper bound {bound:.2%}), {m.requests_per_second:.1f} a second",
            m.failures == 0 and m.requests_per_second >= 10,
        ),
        Claim(
            "planted bad candidate",
            "REJECT, never served",
            f"{m.bad_verdict}, {m.bad_requests} requests",
            m.bad_verdict == "REJECT" and not m.is_bad_promoted and m.bad_requests == 0,
        ),
        Claim(
            "rollback, command to last answer by v2",
            "<= 10 s",
            f"{m.rollback_seconds:.1f} s",
            m.has_rolled_back and m.rollback_seconds <= 10,
        ),
        Claim(
            "the circle after set-up",
            "<= 10 minutes",
            f"{minutes:.1f} minutes" + (f", beside other work: {m.other_work}" if m.other_work else ""),
            minutes <= 10,
            is_required=False,
        ),
    ]
