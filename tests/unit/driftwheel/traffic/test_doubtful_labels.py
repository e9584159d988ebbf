"""Labels that sure answers or requests like theirs contradict are found, and honest ones are left alone."""

from dataclasses import replace
from typing import Any

import pytest

from driftwheel.records.by_whom import Trust
from driftwheel.records.nouns import Traffic
from driftwheel.settings.settings import Settings
from driftwheel.store.ledger import Ledger
from driftwheel.traffic.doubtful_labels import find_doubtful
from examples.support.world import messages
from tests.support.said import words_of


def asked(number: int, text: str, said: str, label: str, **changes: Any) -> Traffic:
    row = Traffic(
        id=f"req_{number:03d}",
        project="support",
        alias="support",
        version_id="version_1",
        route="/v1/chat/completions",
        status_code=200,
        prompt=text,
        answer=f'{{"intent":"{said}"}}',
        label=label,
        label_source="label",
        latency_seconds=0.1,
        mean_logprob=-0.1,
    )
    return replace(row, **changes)


HONEST = [
    asked(n, e.text, e.intent, e.intent, mean_logprob=-0.01 * (n % 40))
    for n, e in enumerate(messages(200, 3, "steady"))
]


@pytest.fixture
def log(ledger: Ledger) -> Ledger:
    ledger.add(*HONEST, *words_of(HONEST))
    return ledger


def found(ledger: Ledger, settings: Settings) -> dict[str, tuple[str | None, str | None]]:
    rows = find_doubtful(ledger, settings.alias_key, "intent")
    return {row.request_id: (row.model_says, row.neighbours_say) for row in rows}


def test_of_honest_labels_hardly_any_is_in_doubt(log: Ledger, settings: Settings) -> None:
    assert len(found(log, settings)) <= 10


@pytest.mark.parametrize(
    ("changes", "model_says", "neighbours_say"),
    [
        ({}, True, True),
        ({"mean_logprob": -9.0}, False, True),
        ({"mean_logprob": None}, False, True),
        ({"prompt": "zig zag zoo"}, True, False),
        ({"label_source": "correction", "label": '{"intent":"nonsense"}'}, True, True),
        ({"prompt": "zig zag zoo", "mean_logprob": -9.0}, False, False),
        ({"status_code": 500}, False, False),
        ({"project": "other"}, False, False),
    ],
    ids=["both", "unsure", "without probabilities", "like no other", "a correction", "neither", "failed", "another's"],
)
def test_a_wrong_label_is_in_doubt_by_a_sure_answer_and_by_requests_like_it(
    log: Ledger, settings: Settings, changes: dict[str, Any], model_says: bool, neighbours_say: bool
) -> None:
    true = HONEST[7]
    wrong = asked(900, f"{true.prompt} please", str(true.label), "nonsense", mean_logprob=0.0)
    wrong = replace(wrong, **changes)
    log.add(wrong, *words_of([wrong], author="support/web", trust=Trust.NONE))
    expected = (true.label if model_says else None, true.label if neighbours_say else None)
    assert found(log, settings).get(wrong.id, (None, None)) == expected


def test_what_two_authors_say_is_not_asked_again(log: Ledger, settings: Settings) -> None:
    wrong = asked(900, HONEST[7].prompt, str(HONEST[7].label), "nonsense", mean_logprob=0.0)
    log.add(wrong, *words_of([wrong], author="support/web", trust=Trust.NONE))
    (doubtful,) = [row for row in find_doubtful(log, settings.alias_key, "intent") if row.request_id == wrong.id]
    assert (doubtful.label, doubtful.author, doubtful.trust) == ("nonsense", "support/web", "none")
    log.add(*words_of([wrong], author="person:Ada"))
    assert wrong.id not in found(log, settings)


def test_free_texts_have_no_labels_to_doubt(ledger: Ledger, settings: Settings) -> None:
    rows = [replace(row, label=f"text {n}", answer=f"said {n}") for n, row in enumerate(HONEST)]
    ledger.add(*rows, *words_of(rows))
    assert find_doubtful(ledger, settings.alias_key, None) == []
