"""Judges quality from whatever people said.

A loss is proved, or it is an estimate. It is proved only by labels of which nothing about the answer decided whether
they came: an answer that nobody labelled counts as right there. Everything else, such as the rates at which people
correct and complain, is an estimate: it may ring an alarm and ask for labels, and starts no retrain.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from scipy.stats import fisher_exact

from driftwheel.evidence.bounded_means import mean_interval
from driftwheel.evidence.intervals import Interval, share_interval
from monitor.betting import Outcomes, design_effect, restarted_capital
from monitor.opinions import (
    CONFIRMING_SHARE,
    HORIZONS,
    Rate,
    Said,
    WindowEvidence,
    contradicted,
    rates,
    rise_p_value,
    without_loudest,
    wrong_labels,
)
from monitor.standard import Baseline


@dataclass(frozen=True)
class Quality:
    """Accuracy on the labelled rows of a window, and the chance of it or less if nothing had changed."""

    accuracy: float
    labelled_rows: int
    p_value: float
    drop: float

    def is_lost(self, level: float, max_drop: float) -> bool:
        """Say whether the loss is both larger than allowed and beyond chance."""
        return self.p_value < level and self.drop > max_drop


def judge_window(window: WindowEvidence, baseline: Baseline, *, are_labels_sampled: bool) -> Quality:
    """Compare a window with what another version had; a loss that too few keys report is no loss beyond chance.

    Where fewer than most answers are labelled and nobody says that they were sampled, the others count as right: who
    corrects only what is wrong must not make a version look worse than it is.
    """
    wrong, said = wrong_labels([window])
    labelled = sum(row.loss is not None for row in window.rows)
    if labelled and not are_labels_sampled and labelled < MOST_ANSWERS * len(window.rows):
        wrong, said = contradicted([window]), len(window.rows)
    quality = _against(round(said - wrong), round(said), baseline)
    return quality if _is_heard(window) else replace(quality, p_value=1.0)


def _is_heard(window: WindowEvidence) -> bool:
    """Say whether three keys report wrong answers, or such that asked most of the requests."""
    voices = {row.author for row in window.rows if row.loss}
    asked = sum(row.author in voices for row in window.rows)
    return len(voices) >= FEWEST_VOICES or asked >= MOST_ANSWERS * len(window.rows)


def _against(correct: int, items: int, baseline: Baseline) -> Quality:
    # Sums of grades are tested as if each answer were right or wrong: nothing from 0 to 1 varies more.
    before = round(baseline.correct)
    table = [[correct, items - correct], [before, baseline.items - before]]
    if not items:
        return Quality(baseline.accuracy, 0, 1.0, 0.0)
    accuracy = correct / items
    # Exact, because labels are few: an approximation by the normal distribution is off with a dozen of them.
    p_value = float(fisher_exact(table, alternative="less").pvalue)
    return Quality(accuracy, items, p_value, baseline.accuracy - accuracy)


FEWEST_VOICES = 3
"""A version goes back to the one before it for what so many keys report, and not for the word of a single one."""
MOST_ANSWERS = 0.75
"""Where so many are labelled, their accuracy is shown as one; its interval still holds what the others might be."""
ESTIMATES = 4
"""Rates that share the level: corrections, both rates of thumbs, and labels against the scorecard."""
LABELS_AGAINST_SCORECARD = "wrong labels per label"


@dataclass(frozen=True, kw_only=True)
class Accuracy:
    """Share of right answers among those labelled, and where it comes from."""

    right: float
    labelled: float
    of: float
    """Answers that might have been labelled."""
    basis: str
    grades: tuple[float, ...] | None = None
    """Where answers are good by degrees; `right` is their sum, and the share their mean."""

    @property
    def value(self) -> float:
        """The share among the labelled."""
        return self.right / max(1.0, self.labelled)

    @property
    def interval(self) -> Interval:
        """Interval of the share or mean, widened by what the answers without a label might be (Manski 1989)."""
        low, high = share_interval(round(self.right), round(self.labelled)) or (0.0, 1.0)
        if self.grades is not None:
            low, high = mean_interval(self.grades)
        coverage = self.labelled / max(1.0, self.of)
        return low * coverage, high * coverage + 1 - coverage


@dataclass(frozen=True, kw_only=True)
class Assessment:
    """What is known of a version's quality."""

    labelled: int
    """Rows that the accuracy is of, or else the labelled ones of as many windows as `monitor.min_labels` needs."""
    accuracy: Accuracy | None
    """None where what is labelled is no fair sample."""
    estimate: Accuracy | None
    """The same among labels that may be no fair sample; None where labels only say what is wrong."""
    drop: float
    """How far the newest answers are below the baseline, at least."""
    is_proved: bool
    """Quality is lost for sure: by more than allowed, and by an anytime-valid bound beyond chance."""
    rates: tuple[Rate, ...]
    """The rates at which people correct and complain."""
    risen: tuple[Rate, ...]
    """Those of them that rose beyond chance."""
    p_value: float

    @property
    def is_judged(self) -> bool:
        """Whether labels say how many answers are right, and not only that some are wrong."""
        return self.accuracy is not None or self.estimate is not None


NOTHING = Accuracy(right=0, labelled=0, of=0, basis="no labels that say how many answers are right")


def assess(
    windows: Sequence[WindowEvidence],
    baseline: Baseline,
    *,
    level: float,
    min_labels: int,
    max_drop: float,
    are_labels_sampled: bool = False,
) -> Assessment:
    """Judge a version by what was said about its windows up to now, the oldest first; half the level is for the proof.

    Where answers are good by degrees, the accuracy is the mean grade beside what people wrote instead.

    Labels count in the window of their request, whenever they come.
    """
    # Up to the last window of which anybody has said anything: labels of the newest ones may be still on their way.
    told = len(windows) - next((n for n, w in enumerate(reversed(windows)) if any(r.is_said for r in w.told)), 0)
    newest = pooled(windows[:told], min_labels)
    populations = [_with_missing_as_right(windows), _audited(windows)]
    populations += [_labels(windows)] if are_labels_sampled else []
    effect = _effect(without_loudest(windows, HORIZONS[0])[-HORIZONS[-1] :])
    capitals = np.stack([restarted_capital(p[-HORIZONS[-1] :], baseline.floor, effect) for p in populations])
    # The largest of all moments: labels of the newest windows may not be there yet, and until then they seem right.
    capital = float(capitals.mean(axis=0).max())
    drop = baseline.accuracy - _newest_share(populations[int(np.argmax(capitals.max(axis=1)))][:told], min_labels)
    found = rates(windows, effect, are_graded=baseline.grades is not None, are_sampled=are_labels_sampled)
    if baseline.grades is None:
        found += _labels_against(windows, baseline, min_labels, effect)
    each = level / 2 / ESTIMATES
    accuracy = _accuracy(newest, windows, min_labels, are_labels_sampled=are_labels_sampled)
    return Assessment(
        labelled=round(accuracy.labelled) if accuracy else _labelled(newest),
        accuracy=accuracy,
        estimate=None if accuracy else _estimate(newest, min_labels),
        drop=baseline.accuracy - accuracy.value if accuracy else max(0.0, drop),
        is_proved=capital >= 2 / level and drop > max_drop,
        rates=tuple(found),
        risen=tuple(rate for rate in found if rate.p_value < each),
        p_value=min([1.0, 2 / max(2.0, capital), *(rate.p_value * 2 * ESTIMATES for rate in found)]),
    )


def pooled(windows: Sequence[WindowEvidence], min_labels: int) -> Sequence[WindowEvidence]:
    """Return the newest windows, as many as hold enough labels, and eight at most."""
    for count in range(1, HORIZONS[-1] + 1):
        if _labelled(windows[-count:]) >= min_labels:
            return windows[-count:]
    return windows[-HORIZONS[-1] :]


def _labelled(windows: Sequence[WindowEvidence]) -> int:
    return sum(row.loss is not None for window in windows for row in window.told)


def _with_missing_as_right(windows: Sequence[WindowEvidence]) -> list[Outcomes]:
    """Return all answers of each window: what nobody contradicted counts as right, so that no choice biases a proof."""
    return [Outcomes(len(w.rows) - contradicted([w]), len(w.rows)) for w in windows]


def _audited(windows: Sequence[WindowEvidence]) -> list[Outcomes]:
    return [Outcomes.of([1.0 - (row.loss or 0.0) for row in _sampled(window)]) for window in windows]


def _sampled(window: WindowEvidence) -> list[Said]:
    return [row for row in window.rows if row.is_audited]


def _labels(windows: Sequence[WindowEvidence]) -> list[Outcomes]:
    return [Outcomes.of([1.0 - row.loss for row in window.told if row.loss is not None]) for window in windows]


def _newest_share(population: Sequence[Outcomes], least: int) -> float:
    """Return the share of right ones among the newest, at least so many; 1 where there are fewer."""
    right = items = 0.0
    for outcomes in reversed(population):
        right, items = right + outcomes.right, items + outcomes.items
        if items >= least:
            return right / items
    return 1.0


def _effect(windows: Sequence[WindowEvidence]) -> float:
    """Return the design effect of what people say: the larger one of corrections and of thumbs down."""
    effects = [1.0]
    for measure in range(2):
        said = [window.measures[measure] for window in windows if window.rows]
        # Within windows: that the windows differ is what is looked for.
        effects.append(design_effect(np.concatenate([values - values.mean() for values in said])) if said else 1.0)
    return max(effects)


def _labels_against(
    windows: Sequence[WindowEvidence], baseline: Baseline, min_labels: int, effect: float
) -> list[Rate]:
    """Compare what is wrong among the labels with the scorecard, where they also confirm answers."""
    found = []
    for horizon in HORIZONS:
        wrong, said = wrong_labels(windows[-horizon:])
        if said >= min_labels and said - wrong >= CONFIRMING_SHARE * said:
            before = (baseline.items - baseline.correct, baseline.items)
            found.append((rise_p_value((wrong, said), before, effect), wrong, said))
    if not found:
        return []
    p_value, wrong, said = min(found)
    return [
        Rate(
            name=LABELS_AGAINST_SCORECARD,
            count=wrong,
            of=said,
            before_count=baseline.items - baseline.correct,
            before_of=baseline.items,
            p_value=min(1.0, p_value * len(found)),
        )
    ]


def _accuracy(
    newest: Sequence[WindowEvidence],
    windows: Sequence[WindowEvidence],
    min_labels: int,
    *,
    are_labels_sampled: bool,
) -> Accuracy | None:
    """Return the accuracy by the fairest sample of answers that is there."""
    whole = _among([window.told for window in newest], _answers(newest), "most answers labelled")
    if whole.labelled >= min_labels and (whole.labelled >= MOST_ANSWERS * whole.of or are_labels_sampled):
        return whole
    audited = [_sampled(window) for window in windows[-HORIZONS[-1] :]]
    audit = _among(audited, sum(map(len, audited)), "audit sample")
    return audit if audit.labelled >= max(min_labels, MOST_ANSWERS * audit.of) else None


def _estimate(newest: Sequence[WindowEvidence], min_labels: int) -> Accuracy | None:
    found = _among([window.told for window in newest], _answers(newest), "labels that people chose to give")
    is_sample = found.labelled >= min_labels and found.right >= CONFIRMING_SHARE * found.labelled
    return found if is_sample else None


def _answers(windows: Sequence[WindowEvidence]) -> int:
    return sum(len(window.rows) for window in windows)


def _among(windows: Sequence[Sequence[Said]], answers: int, basis: str) -> Accuracy:
    """Return the accuracy of the labelled ones of so many answers; `windows` hold at least those."""
    rows = [row for window in windows for row in window]
    known = tuple(1.0 - row.loss for row in rows if row.loss is not None)
    grades = known if any(row.grade is not None for row in rows) else None
    return Accuracy(right=sum(known), labelled=len(known), of=answers, basis=basis, grades=grades)
