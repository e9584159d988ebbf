"""The retrain policy: decides on retrain, roll back or hold from signals and facts, with reasons; pure."""

from dataclasses import dataclass
from datetime import datetime, timedelta

from driftwheel.control.retrain_limits import RetrainHistory, lacking_labels, obstacles
from driftwheel.records.nouns import DecisionStatus, DecisionVerdict, DriftKind
from driftwheel.settings.watching import PolicySettings


@dataclass(frozen=True, kw_only=True)
class Trial:
    """A version in its first windows, beside the last window of the version before it."""

    previous_id: str
    is_worse: bool
    """Its labelled answers are wrong more often, by more than allowed and beyond chance."""
    had_sound_engine: bool
    """The version before it ended without an engine alarm."""
    is_input_steady: bool
    """What is asked is what was asked before; else the version before might do no better now."""
    text: str
    """Both accuracies in words."""


@dataclass(frozen=True, kw_only=True)
class PolicyFacts(RetrainHistory):
    """Everything that the decision may depend on."""

    drifted: frozenset[DriftKind]
    """Kinds with an alarm in the newest check."""
    fresh_labels: int
    """Labelled rows since the live version's dataset."""
    quality_text: str = "quality was not measured"
    """The quality signal in words."""
    is_quality_known: bool = True
    """The window had enough labelled rows to judge quality."""
    is_quality_suspected: bool = False
    """Quality was lost in this window, but not yet in `monitor.persistence` windows in a row."""
    is_quality_proved: bool = True
    """The loss is beyond an anytime-valid bound, by labels that nothing about the answers decided; else it is an
    estimate, such as a rise of corrections or of thumbs down."""
    is_engine_failing: bool = True
    """An engine alarm is about failures; else answers are only slow, and as right or wrong as they would be anyway."""
    live_since: datetime | None = None
    """When the live version was made; a schedule counts from here until the first retrain."""
    trial: Trial | None = None
    """None when the version's probation is over, or it is the first one."""


@dataclass(frozen=True)
class Decision:
    """The outcome, in the words of a RetrainDecision."""

    verdict: DecisionVerdict
    status: DecisionStatus
    trigger: str
    remedy: str
    reasons: list[str]


def decide(facts: PolicyFacts, settings: PolicySettings) -> Decision:
    """Return the decision: is a new version a mistake; is there a cause, would retraining help, is it allowed now."""
    # In the order of what helps soonest: going back needs no training, a broken engine is mended by neither, and
    # without new labels a retrain has nothing to learn.
    if disappointment := _disappointment(facts):
        return _hold("rollback", [disappointment])
    trigger, cause = _cause(facts, settings)
    if DriftKind.ENGINE in facts.drifted:
        # A slow engine would else keep a model that has lost its quality for as long as nobody buys a faster one.
        if trigger != "policy" or facts.is_engine_failing:
            return _hold("engine", [*cause, "the engine is at fault: errors or latency; retraining does not help"])
        cause = [*cause, "answers are slow, too: look at the engine, which retraining does not mend"]
    if trigger is None:
        is_estimate = DriftKind.QUALITY in facts.drifted and not facts.is_quality_proved
        is_blind = is_estimate or (bool(facts.drifted) and not facts.is_quality_known)
        return _hold("label" if is_blind else "none", cause)
    if missing := lacking_labels(settings, facts.fresh_labels):
        return _hold("label", [*cause, missing])
    if found := obstacles(settings, facts):
        return _hold("wait", [*cause, *found])
    status = DecisionStatus.AWAITING_APPROVAL if settings.asks_for_retrain else DecisionStatus.OPEN
    return Decision(
        DecisionVerdict.RETRAIN, status, trigger, "retrain", [*cause, f"{facts.fresh_labels} fresh labelled rows"]
    )


def _disappointment(facts: PolicyFacts) -> str | None:
    """Say why going back would help, if it would."""
    if facts.trial is None:
        return None
    if facts.trial.is_worse and facts.trial.is_input_steady:
        return f"{facts.trial.text}: back to {facts.trial.previous_id}"
    if DriftKind.ENGINE in facts.drifted and facts.trial.had_sound_engine:
        return f"errors or latency since the swap: back to {facts.trial.previous_id}"
    return None


def _cause(facts: PolicyFacts, settings: PolicySettings) -> tuple[str | None, list[str]]:
    shifted = sorted(facts.drifted & {DriftKind.INPUT, DriftKind.OUTPUT})
    if DriftKind.QUALITY in facts.drifted and facts.is_quality_proved:
        drift = [f"{' and '.join(shifted)} drift"] if shifted else []
        return "policy", [facts.quality_text, *drift]
    if _is_due(facts, settings):
        return "schedule", [f"the last retrain is more than {settings.schedule_seconds:.0f} s ago"]
    if DriftKind.QUALITY in facts.drifted:
        return None, [f"{facts.quality_text}; an estimate retrains nothing: label the audit sample to decide"]
    if facts.is_quality_suspected:
        return None, [f"{facts.quality_text}: an alarm if the next windows say the same"]
    if shifted:
        advice = "label some to see whether it matters"
        if facts.is_quality_known:
            advice = "no reason to retrain; `driftwheel accept` makes it the new normal"
        return None, [f"{' and '.join(shifted)} drift, but {facts.quality_text}: {advice}"]
    return None, ["no alarm"]


def _is_due(facts: PolicyFacts, settings: PolicySettings) -> bool:
    since = facts.last_retrain_at or facts.live_since
    if settings.schedule_seconds == 0 or since is None:
        return False
    return abs(facts.now - since) >= timedelta(seconds=settings.schedule_seconds)


def _hold(remedy: str, reasons: list[str]) -> Decision:
    return Decision(DecisionVerdict.HOLD, DecisionStatus.CLOSED, "policy", remedy, reasons)
