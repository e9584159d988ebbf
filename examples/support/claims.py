"""The demo's claims, and whether each held."""

import math
from collections.abc import Callable
from dataclasses import dataclass


@dataclass
class Measured:
    """What came out of one turn of the circle; shares and grades are 0 to 1, times are seconds, nan is not measured."""

    v1: str = ""
    v2: str = ""
    bad: str = ""
    tuned: float = math.nan
    base: float = math.nan
    """The best of the base model's prompts."""
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


@dataclass(frozen=True, kw_only=True)
class Bars:
    """What a demo promises; where answers are right or wrong a grade is the share of right ones."""

    quality: Callable[[Measured], tuple[Claim, Claim, Claim]]
    """The tuned model against its base, and what is asked since the shift, before the retrain and after it."""
    said: Callable[[float], str]
    """How a grade is written."""
    unit: str
    per_second: float
    circle_minutes: float


def share(value: float) -> str:
    """Return a share in percent."""
    return f"{value:.1%}"


def chrf(value: float) -> str:
    """Return a grade by chrF, of 100."""
    return f"{100 * value:.1f}"


def label_quality(m: Measured) -> tuple[Claim, Claim, Claim]:
    """Hold shares of right answers against the bars of the label task."""
    drop = m.old_v1 - m.new_v1
    return (
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
        Claim("shifted traffic after retraining", ">= 80 %", f"{m.new_v2:.1%}", m.new_v2 >= 0.80),
    )


def grade_quality(m: Measured) -> tuple[Claim, Claim, Claim]:
    """Hold grades against the bars of the text task."""
    drop, won_back = m.old_v1 - m.new_v1, m.new_v2 - m.new_v1
    recovered = won_back / drop if drop > 0 else math.nan
    return (
        Claim(
            "tuned against base, old traffic, held-out items",
            ">= 20 chrF over the base's best prompt",
            f"{chrf(m.tuned)} against {chrf(m.base)}",
            m.tuned >= m.base + 0.20,
        ),
        Claim(
            "shifted traffic before retraining",
            ">= 10 chrF below old",
            f"{chrf(m.new_v1)}, {chrf(drop)} below {chrf(m.old_v1)}",
            drop >= 0.10,
        ),
        Claim(
            "shifted traffic after retraining",
            ">= 80 % of the lost grade recovered",
            f"{chrf(m.new_v2)}, {recovered:.0%} recovered",
            recovered >= 0.80,
        ),
    )


LABEL_BARS = Bars(quality=label_quality, said=share, unit="points", per_second=10.0, circle_minutes=10.0)
GRADE_BARS = Bars(quality=grade_quality, said=chrf, unit="chrF", per_second=5.0, circle_minutes=15.0)


def hold_against_bars(m: Measured, bars: Bars = LABEL_BARS) -> list[Claim]:
    """Hold what was measured against the bars."""
    minutes, bound = m.circle_seconds / 60, upper_bound(m.failures, m.requests)
    tuned, before, after = bars.quality(m)
    return [
        tuned,
        before,
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
            m.windows_to_alarm is not None and 1 <= m.windows_to_alarm <= 3,
        ),
        after,
        Claim(
            "old traffic after retraining",
            f"at most 2 {bars.unit} below v1",
            f"{bars.said(m.old_v2)}, v1 had {bars.said(m.old_v1)}",
            m.old_v2 >= m.old_v1 - 0.02,
        ),
        Claim(
            "failed or cut off over both swaps and the rollback",
            f"0, >= {bars.per_second:.0f} requests a second",
            f"{m.failures} of {m.requests} (95 % upper bound {bound:.2%}), {m.requests_per_second:.1f} a second",
            m.failures == 0 and m.requests_per_second >= bars.per_second,
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
            f"<= {bars.circle_minutes:.0f} minutes",
            f"{minutes:.1f} minutes" + (f", beside other work: {m.other_work}" if m.other_work else ""),
            minutes <= bars.circle_minutes,
            is_required=False,
        ),
    ]
