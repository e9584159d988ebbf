"""A canary's evidence is read from the traffic log: what was asked of it, and what its engine did."""

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from driftwheel.by_whom import Trust
from driftwheel.records import Alias, Traffic, utc_now
from driftwheel.settings.settings import Settings
from driftwheel.store.ledger import Ledger
from driftwheel.traffic.outcomes import UNWATCHED
from serve.release.canary_counts import CanaryCounts
from serve.release.canary_rule import OPINIONS_OF_ONE, Mishap
from tests.support.said import words_of
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


@pytest.mark.parametrize(
    ("trust", "counted", "voices", "is_vouched"),
    [(Trust.NONE, OPINIONS_OF_ONE, {"support/loud"}, False), (Trust.TRUSTED, 60, set(), True)],
)
def test_sixty_thumbs_of_one_key_count_as_one_voice(
    settings: Settings, ledger: Ledger, trust: Trust, counted: int, voices: set[str], is_vouched: bool
) -> None:
    counts = CanaryCounts(settings.serve, ledger, ALIAS, "v1", "v2", is_json_task=False)
    counts.begin(0.1)
    at = utc_now() + timedelta(milliseconds=1)
    said = {"thumb": -1, "feedback_at": at, "created_at": at, "version_id": "v2", "user_id": ""}
    rows: list[Traffic] = [replace(row(f"req_{n}"), **said) for n in range(60)]  # type: ignore[arg-type]
    ledger.add(*rows, *words_of(rows, author="support/loud", trust=trust))
    (period,) = counts.read().periods
    assert period.mishaps[Mishap.DISLIKED] == (counted, 0)
    assert (period.voices, period.is_vouched) == (voices, is_vouched)
