"""A retrain that a person asks for, whatever stands against it."""

from driftwheel.control import controls
from driftwheel.records.by_whom import Cause
from driftwheel.records.nouns import RetrainDecision
from driftwheel.settings.settings import Settings
from driftwheel.store.ledger import Ledger


def ask_for_retrain(
    settings: Settings, ledger: Ledger, reason: str = "stale", by: Cause | None = None
) -> RetrainDecision:
    """Press the button; raises ConflictError while another retrain is unfinished."""
    return controls.request_retrain(
        settings.policy,
        ledger,
        settings.alias_key,
        trigger="button",
        override=True,
        reason=reason,
        by=by,
        caps=settings.dataset,
    )
