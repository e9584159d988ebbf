"""A canary's evidence is read from the traffic log: what was asked of it, and what its engine did."""

from datetime import timedelta
from typing import Any

from driftwheel.records import Alias, Traffic, utc_now
from driftwheel.settings.settings import Settings
from driftwheel.store.ledger import Ledger
from driftwheel.traffic.outcomes import UNWATCHED
from serve.release.canary_counts import CanaryCounts
from serve.release.canary_rule import Mishap
from tests.support.versions import add_with_parents, published_version

ALIAS = Alias(id="support/support", project="support", name="support", version_id="v1", fence=1)


def row(name: str, alias: str = "support", status_code: int = 200, **changes: Any) -> Traffic:
    values: dict[str, Any] = {
        "project": "support",
        "version_id": "v2",
        "route": "/v1/chat/completions",
        "prompt": "hi",
        "answer": "{}",
        "finish_reason": "stop",
        "latency_seconds": 0.01,
        "created_at": utc_now() + timedelta(milliseconds=5),
    }
    return Traffic(id=name, alias=alias, status_code=status_code, **{**values, **changes})


def test_a_failure_of_the_engine_counts_whoever_says_that_nobody_watches(settings: Settings, ledger: Ledger) -> None:
    """With `x-driftwheel-watch: no` a broken canary was never rolled back."""
    add_with_parents(ledger, published_version("v1"), published_version("v2", number=2))
    counts = CanaryCounts(settings.serve, ledger, ALIAS, "v1", "v2", is_json_task=False)
    counts.begin(0.5)
    unwatched = f"support{UNWATCHED}"
    ledger.add(
        row("req_1"),
        row("req_2", unwatched),
        row("req_3", unwatched, 500),
        row("req_4", unwatched, is_partial=True),
        row("req_5", unwatched, 400),
        row("req_6", unwatched, thumb=-1, feedback_at=utc_now()),
        row("req_7", f"other{UNWATCHED}", 500),
        row("req_8", status_code=500),
    )
    period = counts.read().periods[-1]
    assert period.mishaps == {Mishap.ERROR: (3, 0)}
    assert (period.canary_answers, period.live_answers) == (4, 0)
