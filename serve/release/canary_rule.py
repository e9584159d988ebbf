"""The canary rule: wait, advance, or roll back. Pure, and an always-valid sequential test (a mixture SPRT).

What counts are mishaps: an error, a slow answer, invalid JSON, a thumb down or a correction. Requests are dealt to the
canary by a hash, with a known share s. If it does no worse, then of all mishaps at most the share s is its own, however
often mishaps happen and however that changes with the time of day. So each mishap is one toss of a coin, and the
evidence against "no worse" is a mixture of likelihood ratios over how many times as often the canary might fail. Under
"no worse" that is a nonnegative
supermartingale which starts at 1, so it ever reaches 1 / level with a chance of at most `level` (Ville 1939): one may
look after every request, for as long as one likes.

Sources: H. Robbins, "Statistical methods related to the law of the iterated logarithm", Ann. Math. Stat. 41 (1970), on
mixtures; M. Lindon and A. Malek, "Anytime-valid inference for multinomial count data", NeurIPS 2022, on counts of two
arms; J. Przyborowski and H. Wilenski, Biometrika 31 (1940), on the conditional test of two rates.
"""

import math
from bisect import insort
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from functools import lru_cache


class Mishap(StrEnum):
    """What may go wrong with one answer; the value is the verb of a sentence about answers."""

    ERROR = "failed"  # any status but 200, or an answer that broke off, unless the client left
    SLOW = "were slow"  # over `canary_slowdown` times the live version's 90 % quantile
    INVALID = "were no JSON object"  # where the task's answers are JSON
    DISLIKED = "got a thumb down or a correction"


BUDGET: Mapping[Mishap, float] = {
    Mishap.ERROR: 1 / 2,
    Mishap.SLOW: 1 / 6,
    Mishap.INVALID: 1 / 6,
    Mishap.DISLIKED: 1 / 6,
}
"""How the declared chance of a false rollback is shared out; errors must be found within seconds."""

RATIOS: tuple[tuple[float, float], ...] = (
    (1 / 8, math.inf),
    (3 / 8, 100.0),
    (1 / 12, 30.0),
    (1 / 12, 10.0),
    (1 / 12, 5.0),
    (1 / 12, 3.0),
    (1 / 12, 2.0),
    (1 / 12, 1.5),
)
"""Weight, and how many times as often as the live version the canary fails. Half of the weight is on a
crash: mostly on one beside a live version that fails now and then too."""

FEWEST_VOICES, OPINIONS_OF_ONE = 3, 2
"""Keys without trust whose dislikes throw a canary out, and how often each of them counts. What the engine does counts
at once, whoever asked: clients do not choose which version they get."""
SLOW_QUANTILE = 0.9
MIN_LATENCIES, MAX_LATENCIES = 30, 1000
"""Live answers before any is called slow, since a quantile of fewer is noise; and those that are remembered."""


class Action(StrEnum):
    """What the reconciler is to do with a canary."""

    WAIT = "wait"
    ADVANCE = "advance"  # to the next share, or live
    ROLL_BACK = "roll_back"
    ASK = "ask"  # stay at this share until a person decides


@dataclass
class Period:
    """What was seen while the canary had one share."""

    share: float
    canary_answers: int = 0
    live_answers: int = 0
    mishaps: dict[Mishap, tuple[int, int]] = field(default_factory=dict)
    """Kind to the counts of canary and live."""
    voices: set[str] = field(default_factory=set)
    """Authors without trust who disliked answers of the canary."""
    is_vouched: bool = False
    """An author who is trusted with labels did."""


@dataclass(frozen=True)
class Verdict:
    """What to do, and one sentence that says why."""

    action: Action
    reason: str


@dataclass(frozen=True)
class Outcome:
    """One answer, as far as it matters here."""

    is_canary: bool
    unit: str
    """What was dealt as one: the request, or a user, whose mishaps of one kind count once."""
    is_error: bool = False
    latency_seconds: float = 0.0
    is_valid: bool = True


class Tally:
    """Outcomes, in the order in which they ended, become counts."""

    def __init__(self, slowdown: float) -> None:
        self._slowdown = slowdown
        self._live_latencies: list[float] = []
        self._counted: set[tuple[Mishap, str]] = set()
        self._opinions: Counter[str] = Counter()
        self.periods: list[Period] = []

    def begin(self, share: float) -> None:
        """Begin a period with a share of its own."""
        self.periods.append(Period(share))

    def add(self, outcome: Outcome) -> None:
        """Count an answer in the running period."""
        period = self.periods[-1]
        if outcome.is_canary:
            period.canary_answers += 1
        else:
            period.live_answers += 1
        if outcome.is_error:
            self._count(Mishap.ERROR, outcome)
            return
        if self._is_slow(outcome):
            self._count(Mishap.SLOW, outcome)
        if not outcome.is_valid:
            self._count(Mishap.INVALID, outcome)

    def dislike(self, outcome: Outcome, author: str | None = None) -> None:
        """Count a person's word on an answer, which comes later; `author` is one without trust.

        Each of these counts a few times, whichever version the words are about: the coin is as fair for the first words
        of everybody as for all, and nobody's sixtieth word says more than the first.
        """
        if author is not None:
            if self._opinions[author] >= OPINIONS_OF_ONE:
                return
            self._opinions[author] += 1
        self._count(Mishap.DISLIKED, outcome)
        if outcome.is_canary and author is not None:
            self.periods[-1].voices.add(author)
        elif outcome.is_canary:
            self.periods[-1].is_vouched = True

    def _is_slow(self, outcome: Outcome) -> bool:
        """Compare with the live answers so far, and then remember this one: the limit never knows its own request."""
        known = self._live_latencies
        is_slow = (
            len(known) >= MIN_LATENCIES
            and outcome.latency_seconds > self._slowdown * known[int(SLOW_QUANTILE * len(known))]
        )
        if not outcome.is_canary and len(known) < MAX_LATENCIES:
            insort(known, outcome.latency_seconds)
        return is_slow

    def _count(self, kind: Mishap, outcome: Outcome) -> None:
        # The coin is tossed once for each user who is dealt as one; his tenth error says nothing new about the version.
        if (kind, outcome.unit) in self._counted:
            return
        self._counted.add((kind, outcome.unit))
        period = self.periods[-1]
        canary, live = period.mishaps.get(kind, (0, 0))
        period.mishaps[kind] = (canary + outcome.is_canary, live + (not outcome.is_canary))


def decide(
    periods: Sequence[Period],
    *,
    seconds: float,
    false_rollback: float,
    min_requests: int,
    min_seconds: float,
) -> Verdict:
    """Return the verdict on what was seen so far; `seconds` is the age of the last period."""
    for kind, budget in BUDGET.items():
        evidence = sum(log_evidence(*p.mishaps.get(kind, (0, 0)), p.share) for p in periods)
        if evidence >= -math.log(false_rollback * budget):
            complaint = _complaint(periods, kind, evidence)
            if kind is Mishap.DISLIKED and not _are_heard(periods):  # the last kind: those of the engine come first
                return Verdict(Action.ASK, f"{complaint}; fewer than {FEWEST_VOICES} keys say so, none of them trusted")
            return Verdict(Action.ROLL_BACK, complaint)
    last = periods[-1]
    if last.canary_answers >= min_requests and seconds >= min_seconds:
        return Verdict(Action.ADVANCE, f"{last.canary_answers} answers at {last.share:.0%} were no worse than live")
    return Verdict(
        Action.WAIT, f"{last.canary_answers} of {min_requests} answers, {seconds:.0f} of {min_seconds:.0f} s"
    )


def _are_heard(periods: Sequence[Period]) -> bool:
    """Say whether enough authors dislike the canary's answers to throw it out for that."""
    voices = set().union(*(period.voices for period in periods))
    return any(period.is_vouched for period in periods) or len(voices) >= FEWEST_VOICES


@lru_cache(maxsize=65536)
def log_evidence(canary: int, live: int, share: float) -> float:
    """Return the log of the e-value of `canary` among `canary + live` mishaps against "no more than its share".

    A canary that fails r times as often as the live version has r s / (r s + 1 - s) of the mishaps.
    """
    terms = []
    for weight, ratio in RATIOS:
        theta = 1.0 if math.isinf(ratio) else ratio * share / (ratio * share + 1 - share)
        # Under "only the canary fails" one mishap of the live version is impossible: this term is zero from then on.
        if theta == 1.0 and live:
            continue
        rest = live * math.log((1 - theta) / (1 - share)) if live else 0.0
        terms.append(math.log(weight) + canary * math.log(theta / share) + rest)
    # The largest is taken out before `exp`, which would overflow.
    top = max(terms)
    return top + math.log(sum(math.exp(term - top) for term in terms))


def _complaint(periods: Sequence[Period], kind: Mishap, evidence: float) -> str:
    counts = [p.mishaps.get(kind, (0, 0)) for p in periods]
    canary, live = sum(c for c, _ in counts), sum(n for _, n in counts)
    asked = sum(p.canary_answers for p in periods), sum(p.live_answers for p in periods)
    chance = math.exp(-min(evidence, 700.0))
    return (
        f"{canary} of {asked[0]} answers of the canary {kind} against {live} of {asked[1]} of the live version "
        f"(chance of so much if it were no worse: at most {chance:.1g})"
    )
