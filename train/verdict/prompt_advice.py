"""Says what to do after a trial of prompts, publish one or retrain, by what each is known to win and to cost.

What a prompt wins was measured on the rows of the trial, what a retrain wins on the new items of the last one. They are
other rows, so that the two are set beside each other and no test compares them.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from driftwheel.records.bookkeeping import Step
from driftwheel.records.nouns import DecisionVerdict, ModelVersion, RetrainDecision
from driftwheel.store.ledger import Ledger
from train.evaluation.prompt_trial import Trial
from train.verdict.verdict_words import points

LOOKED_AT = 20
"""Newest retrains among which one that was judged is looked for: refused ones in a row stop the loop much sooner."""


@dataclass(frozen=True, kw_only=True)
class PastRetrain:
    """What a retrain has won, and what it cost."""

    version: int
    gain: float
    """On its new items, over the version that was live then; from -1 to 1."""
    seconds: float
    """Of all its steps."""

    @property
    def text(self) -> str:
        """What happened, as a sentence."""
        won = f"changed the new items by {points(self.gain, signed=True)}"
        return f"The newest retrain (v{self.version}) {won} in {self.seconds / 60:.0f} minutes."


def newest_retrain(ledger: Ledger, project: str) -> PastRetrain | None:
    """Return the newest retrain that was judged beside a live version; None where none was."""
    retrains = ledger.find(RetrainDecision, project=project, verdict=DecisionVerdict.RETRAIN, limit=LOOKED_AT)
    for decision in retrains:
        version = ledger.get(ModelVersion, decision.version_id) if decision.version_id else None
        if version is None or version.number is None or version.verdict.difference is None:
            continue
        steps = ledger.find(Step, decision_id=decision.id)
        seconds = sum((s.finished_at - s.created_at).total_seconds() for s in steps if s.finished_at)
        return PastRetrain(version=version.number, gain=version.verdict.difference, seconds=seconds)
    return None


def advice(trials: Sequence[Trial], retrain: PastRetrain | None) -> str:
    """Return what the trial says to do, in sentences: publish a prompt, retrain, or both.

    A prompt counts only where its whole interval is above 0: the best of many tried is better by chance. The gate,
    which judges it on other rows, has the last word.
    """
    sure = [(t.difference, t) for t in trials if t.difference is not None and t.interval and t.interval[0] > 0]
    past = "" if retrain is None else f" {retrain.text}"
    if not sure:
        if retrain is not None and retrain.gain <= 0:
            return f"No prompt is surely better.{past} Label what is answered wrong before the next one."
        return f"No prompt is surely better: retrain.{past}"
    gain, best = max(sure, key=lambda one: one[0])
    found = f"{best.prompt} is surely better, by {points(gain)}, and needs no training{_longer(best, trials[0])}"
    if retrain is None or gain >= retrain.gain:
        return f"{found}: publish it before a retrain.{past}"
    return f"{found}: publish it now, and retrain for more.{past}"


def _longer(best: Trial, none: Trial) -> str:
    after, before = best.scores.prompt_tokens_mean, none.scores.prompt_tokens_mean
    return "" if after is None or before is None else f" but {after - before:+.0f} tokens a request"
