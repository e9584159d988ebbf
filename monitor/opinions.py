"""What people said about a version's answers, window by window, and the rates at which they say it; pure.

Labels, corrections and thumbs are three different things. A correction or a label that contradicts the answer says that
this answer was wrong, and nothing about the others; a label that confirms it says that it was right. A thumb is an
opinion. An answer that got a thumb up is no labelled one.
"""

import hashlib
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from scipy.stats import beta, binom, hypergeom

from monitor.calibration import Array
from monitor.shares import growth_p_value

CONFIRMING_SHARE = 0.05
"""Of the labels: where fewer confirm the answer, people label what is wrong, and the labels are corrections."""
MOST_TIMES_THE_OTHERS, FEW = 2.0, 3.0
"""An author's opinions count at most twice as often per request as those of the others do; three always count."""
MOST = 0.5
"""Of all answers: more that are disliked are an alarm, whatever was before."""
KNOWN_REQUESTS = 50
"""Of fewer requests the rate of the others is not known: one that confirmed a single answer silenced everybody else."""
HORIZONS = (1, 3, 8)
"""Newest windows that are pooled and compared: a large change shows in one, a small or seldom told one in eight."""


@dataclass(frozen=True, slots=True)
class Said:
    """One answered request with what was said about it."""

    author: str
    is_audited: bool
    is_correct: bool | None = None
    """Whether the answer's label is the right one; None where nobody labelled or corrected it."""
    thumb: int | None = None
    grade: float | None = None
    """How good the answer is beside the one that people wrote instead, where answers are good by degrees."""

    @property
    def is_said(self) -> bool:
        """Whether anybody said anything."""
        return self.is_correct is not None or self.thumb is not None

    @property
    def loss(self) -> float | None:
        """What the answer lacks: 0 for a right one, 1 for a wrong one; None where nobody labelled or corrected it."""
        if self.grade is not None:
            return 1.0 - self.grade
        return None if self.is_correct is None else float(not self.is_correct)


@dataclass(frozen=True)
class WindowEvidence:
    """The answered requests of one window, with what was said about them up to now."""

    rows: tuple[Said, ...]

    @cached_property
    def told(self) -> tuple[Said, ...]:
        """The rows about which anybody said anything; they are few, and counted many times."""
        return tuple(row for row in self.rows if row.is_said or row.loss is not None)

    @cached_property
    def asked(self) -> Counter[str]:
        """How many of the requests each author asked."""
        return Counter(row.author for row in self.rows)

    @cached_property
    def measures(self) -> Array:
        """What each answer lacks by what people said, and whether its thumb is down; of shape (2, rows)."""
        return np.array([(row.loss or 0.0, row.thumb == -1) for row in self.rows], np.float64).reshape(-1, 2).T


@dataclass(frozen=True, kw_only=True)
class Rate:
    """How often something was said in the newest windows, and how often before."""

    name: str
    count: float
    of: float
    before_count: float
    before_of: float
    p_value: float
    """Chance of such a rise or a larger one, over all horizons."""

    @property
    def share(self) -> float:
        """The share now."""
        return self.count / max(1e-9, self.of)

    @property
    def before(self) -> float:
        """The share before."""
        return self.before_count / max(1e-9, self.before_of)

    @property
    def text(self) -> str:
        """Both shares in words."""
        before = f", {self.before:.1%} of {self.before_of:,.0f} before" if self.before_of else ""
        return f"{self.name} {self.share:.1%} of {self.of:,.0f}{before}"


def is_audited(request_id: str, share: float) -> bool:
    """Say whether a request is in the audit sample: drawn by its id, so that nothing about its answer has a say."""
    digest = hashlib.blake2b(request_id.encode(), digest_size=8).digest()
    return int.from_bytes(digest) < share * 2**64


def capped_by_author(count: Counter[str], requests: Counter[str]) -> dict[str, float]:
    """Return how often each author's opinions count: per request at most twice as often as those of all others.

    `requests` are those about which a key has, or may have had, such an opinion; where that is one key there is nobody
    to compare it with, and all of its opinions count.
    """
    said, asked = sum(count.values()), sum(requests.values())
    capped: dict[str, float] = {}
    for author, own in count.items():
        others_asked = asked - requests[author]
        most = MOST_TIMES_THE_OTHERS * requests[author] * _rate_of_others(said - own, others_asked)
        capped[author] = min(float(own), max(FEW, most))
    return capped


def _rate_of_others(count: int, of: int) -> float:
    """Return how often others say such a thing; of few requests the largest rate that fits them with a chance of 5 %.

    That is the end of the interval of Clopper and Pearson (1934).
    """
    if of >= KNOWN_REQUESTS:
        return count / of
    return 1.0 if count >= of else float(beta.ppf(0.95, count + 1, of - count))


def without_loudest(windows: Sequence[WindowEvidence], newest: int) -> Sequence[WindowEvidence]:
    """Leave out the one author who is furthest over the cap in the newest windows, with all of its requests.

    A cap alone still lets a loud key raise or silence a rate a little, and to tell more than one such key from users
    who are really hit would take a trust that no key has.
    """
    if not any(window.told for window in windows[-newest:]):
        return windows
    said = Counter(row.author for window in windows[-newest:] for row in window.told if row.is_said)
    # Of each key that says anything: the silence of one that never speaks is no opinion.
    asked = _asked_by(said, windows[-newest:])
    over = {author: said[author] - most for author, most in capped_by_author(said, asked).items()}
    loudest = max(over, key=lambda author: over[author], default=None)
    if loudest is None or over[loudest] <= 0:
        return windows
    return [WindowEvidence(tuple(row for row in window.rows if row.author != loudest)) for window in windows]


def counted(windows: Iterable[WindowEvidence], is_said: Callable[[Said], bool]) -> dict[str, float]:
    """Count what was said by author, capped."""
    windows = list(windows)
    told = [row for window in windows for row in window.told]
    count = Counter(row.author for row in told if is_said(row))
    # Whoever never says this, but other things, may not say it ever: a key that confirmed one answer of a hundred has
    # not found the others right. It is counted by what it spoke about.
    spoken = Counter(row.author for row in told if row.is_said and row.author not in count)
    return capped_by_author(count, _asked_by(count, windows) + spoken)


def _asked_by(authors: Iterable[str], windows: Sequence[WindowEvidence]) -> Counter[str]:
    """Count the requests of some authors."""
    return Counter({author: sum(window.asked.get(author, 0) for window in windows) for author in authors})


def contradicted(windows: Sequence[WindowEvidence]) -> float:
    """Return what the answers lack by what labels and corrections contradict, capped by author."""
    return share_of(windows, lambda row: row.loss or 0.0, lambda row: bool(row.loss))[0]


def rates(
    windows: Sequence[WindowEvidence],
    design_effect: float = 1.0,
    *,
    are_graded: bool = False,
    are_sampled: bool = False,
) -> list[Rate]:
    """Return the rates of corrections and thumbs in the newest windows against the version's first ones.

    Where answers are sampled for labels, how many are corrected says how many people looked at, and nothing else.
    """
    found = []
    if are_graded:
        found.append(_rate("grade lost per corrected answer", windows, wrong_labels, design_effect, _losses))
    if not (are_graded and are_sampled):
        found.append(_rate("corrections per answer", windows, _corrections, design_effect))
    return [
        *found,
        _rate("thumbs down per thumb", windows, _downs_of_thumbs, design_effect),
        _or_most(_rate("thumbs down per answer", windows, _downs, design_effect), windows, design_effect),
    ]


def _or_most(rate: Rate, windows: Sequence[WindowEvidence], effect: float) -> Rate:
    """Let a rate of thumbs down be striking too where most of all answers have one, from the first window on.

    There is no time before it that it could be worse than; of all answers and not of all thumbs, because who is content
    says less.
    """
    found = []
    for horizon in HORIZONS:
        if len(windows) >= horizon:
            count, of = (round(value / effect) for value in _downs(without_loudest(windows, horizon)[-horizon:]))
            found.append(float(binom.sf(count - 1, of, MOST)) if of else 1.0)
    most = min([1.0, *(len(found) * p_value for p_value in found)])
    return replace(rate, p_value=min(1.0, 2 * min(rate.p_value, most)))


Counts = tuple[float, float]


def _corrections(windows: Sequence[WindowEvidence]) -> Counts:
    return sum(counted(windows, lambda row: row.is_correct is False).values()), sum(
        len(window.rows) for window in windows
    )


def _downs(windows: Sequence[WindowEvidence]) -> Counts:
    downs = counted(windows, lambda row: row.thumb == -1)
    return sum(downs.values()), sum(len(window.rows) for window in windows)


def _downs_of_thumbs(windows: Sequence[WindowEvidence]) -> Counts:
    return share_of(windows, lambda row: row.thumb == -1, lambda row: row.thumb is not None)


def wrong_labels(windows: Sequence[WindowEvidence]) -> Counts:
    """Return what labels say that answers lack, and how many labels there are, capped by author."""
    return share_of(windows, lambda row: row.loss or 0.0, lambda row: row.loss is not None)


def share_of(
    windows: Sequence[WindowEvidence], hit: Callable[[Said], float], is_said: Callable[[Said], bool]
) -> Counts:
    """Count hits among what was said; an author whose words are capped keeps the share of them that are hits."""
    hits = dict[str, float]()
    for row in (row for window in windows for row in window.told if is_said(row)):
        hits[row.author] = hits.get(row.author, 0.0) + hit(row)
    said = Counter(row.author for window in windows for row in window.told if is_said(row))
    capped = counted(windows, is_said)
    return sum(hits.get(author, 0.0) * most / said[author] for author, most in capped.items()), sum(capped.values())


def _losses(windows: Sequence[WindowEvidence]) -> list[float]:
    return [row.loss for window in windows for row in window.told if row.loss is not None]


def _rate(
    name: str,
    windows: Sequence[WindowEvidence],
    count: Callable[[Sequence[WindowEvidence]], Counts],
    effect: float,
    degrees: Callable[[Sequence[WindowEvidence]], list[float]] | None = None,
) -> Rate:
    """Compare the newest windows, by every horizon, with the first ones; the most striking horizon is shown."""
    found = []
    for horizon in HORIZONS:
        if len(windows) > horizon:
            heard = without_loudest(windows, horizon)
            newest, first = heard[-horizon:], heard[: min(HORIZONS[-1], len(windows) - horizon)]
            now, before = count(newest), count(first)
            if degrees is None:
                p_value = rise_p_value(now, before, effect)
            else:
                p_value = growth_p_value(degrees(newest), degrees(first), effect)
            found.append((p_value, now, before))
    if not found:
        now = count(windows)
        return Rate(name=name, count=now[0], of=now[1], before_count=0, before_of=0, p_value=1.0)
    p_value, now, before = min(found)
    return Rate(
        name=name,
        count=now[0],
        of=now[1],
        before_count=before[0],
        before_of=before[1],
        p_value=min(1.0, p_value * len(found)),  # Bonferroni over the horizons
    )


def rise_p_value(now: Counts, before: Counts, design_effect: float = 1.0) -> float:
    """Return the p-value of Fisher's exact test that a share has risen; 1 where either side is empty.

    Counts are divided by the design effect: as many independent words would say as much.
    """
    counts = [round(value / design_effect) for value in (*now, *before)]
    hits, items, hits_before, items_before = counts
    if not items or not items_before:
        return 1.0
    return float(hypergeom.sf(hits - 1, items + items_before, hits + hits_before, items))
