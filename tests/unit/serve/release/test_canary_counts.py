"""A canary's evidence is read from the traffic log: what was asked of it, and what its engine did."""

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from driftwheel.identity import utc_now
from driftwheel.records.by_whom import Trust
from driftwheel.records.nouns import Alias, Traffic
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
    counts = CanaryCounts(settings.serve, ledger, ALIAS, "v1", "v2", label_field=None)
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
    counts = CanaryCounts(settings.serve, ledger, ALIAS, "v1", "v2", label_field=None)
    counts.begin(0.1)
    at = utc_now() + timedelta(milliseconds=1)
    said = {"thumb": -1, "feedback_at": at, "created_at": at, "version_id": "v2", "user_id": ""}
    rows: list[Traffic] = [replace(row(f"req_{n}"), **said) for n in range(60)]  # type: ignore[arg-type]
    ledger.add(*rows, *words_of(rows, author="support/loud", trust=trust))
    (period,) = counts.read().periods
    assert period.mishaps[Mishap.DISLIKED] == (counted, 0)
    assert (period.voices, period.is_vouched) == (voices, is_vouched)


def test_a_trusted_word_counts_on_an_answer_that_a_key_disliked_before(settings: Settings, ledger: Ledger) -> None:
    """A row was remembered at its first dislike, and no later word on it was read: the canary went live."""
    counts = CanaryCounts(settings.serve, ledger, ALIAS, "v1", "v2", label_field=None)
    counts.begin(0.1)
    rows = [replace(row(f"req_{n}"), thumb=-1, feedback_at=utc_now() + timedelta(seconds=1)) for n in range(40)]
    ledger.add(*rows, *words_of(rows, author="support/web", trust=Trust.NONE))
    (period,) = counts.read().periods
    assert (period.mishaps[Mishap.DISLIKED], period.is_vouched) == ((OPINIONS_OF_ONE, 0), False)
    ledger.add(*words_of(rows, author="person:Ada"))
    counts.read()
    assert (period.mishaps[Mishap.DISLIKED], period.is_vouched) == ((40, 0), True)


@pytest.mark.parametrize(
    ("label_field", "right", "thumb", "disliked", "is_vouched"),
    [
        (None, "{}", None, 0, False),
        (None, '{"intent": "other"}', None, 10, True),
        ("intent", '{"intent":  "refund"}', None, 0, False),
        ("intent", '{"intent": "other"}', None, 10, True),
        ("intent", "an apology", None, 10, True),
        (None, "{}", -1, 10, True),
    ],
    ids=["same text", "another text", "same label", "another label", "another form", "disliked all the same"],
)
def test_a_correction_that_says_what_the_answer_said_is_no_dislike(
    settings: Settings,
    ledger: Ledger,
    label_field: str | None,
    right: str,
    thumb: int | None,
    disliked: int,
    is_vouched: bool,
) -> None:
    """Ten corrections that confirmed the canary's answers rolled it back."""
    counts = CanaryCounts(settings.serve, ledger, ALIAS, "v1", "v2", label_field=label_field)
    counts.begin(0.1)
    said: dict[str, Any] = {"label_source": "correction", "thumb": thumb, "feedback_at": utc_now()}
    answer = '{"intent": "refund"}' if label_field else "{}"
    rows = [row(f"req_{n}", answer=answer, label=right, **said) for n in range(10)]
    ledger.add(*rows, *words_of(rows))
    (period,) = counts.read().periods
    assert period.mishaps.get(Mishap.DISLIKED, (0, 0)) == (disliked, 0)
    assert period.is_vouched is is_vouched
