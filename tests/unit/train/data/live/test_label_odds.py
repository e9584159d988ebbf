"""Labels that come more readily where the model was wrong count for less at the gate, by the answers that have none."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import pytest

from benchmarks import label_schemes
from driftwheel.records.alias_key import AliasKey
from driftwheel.records.by_whom import Trust
from driftwheel.records.nouns import Traffic
from driftwheel.settings.artifact import GateSettings
from driftwheel.settings.settings import Settings
from driftwheel.store.ledger import Ledger
from tests.support.said import words_of
from tests.support.versions import answered_request
from train.data.live.label_odds import most_label_odds
from train.data.live.traffic_rows import labelled_rows
from train.data.splitting.tally import Tally
from train.gate import decide_counted
from train.verdict.paired import Pairs
from train.verdict.paired_tables import Table

START = datetime(2026, 5, 1, tzinfo=UTC)
RIGHT, WRONG = '{"intent":"card"}', '{"intent":"refund"}'


def asked(number: int, **changes: Any) -> Traffic:
    facts = {"created_at": START + timedelta(seconds=number), "key_id": "support/app", "answer": RIGHT}
    return answered_request(f"req_{number:03d}", prompt=f"where is my card {number}", **{**facts, **changes})


def said(number: int, **changes: Any) -> Traffic:
    """Of the labelled answers each third is wrong."""
    return asked(number, label=RIGHT, label_source="correction", answer=(RIGHT, RIGHT, WRONG)[number % 3], **changes)


LABELLED = [said(n) for n in range(60)]
BETWEEN = [asked(100 + n, created_at=START + timedelta(seconds=n % 50 + 1)) for n in range(80)]


@pytest.mark.parametrize(
    ("author", "others", "kept", "odds"),
    [
        pytest.param("support/desk", [], "checked", 1.0, id="every answer has a label"),
        pytest.param("support/desk", BETWEEN, "checked", 3.0, id="80 in between have none, and 40 right ones do"),
        pytest.param("support/desk", BETWEEN, "sampled", 1.0, id="the operator says that nobody chose"),
        pytest.param("person:Ada", BETWEEN, "checked", 1.0, id="a person, whom the queue asked"),
        pytest.param(
            "support/desk",
            [replace(r, created_at=START + timedelta(days=1)) for r in BETWEEN],
            "checked",
            1.0,
            id="those that came later may still get one",
        ),
        pytest.param(
            "support/app",
            [replace(r, key_id="support/other") for r in BETWEEN],
            "checked",
            1.0,
            id="a key that labels its own requests, and all of them",
        ),
        pytest.param("support/app", BETWEEN, "checked", 3.0, id="a key that labels some of its own"),
        pytest.param(
            "support/desk", [replace(r, status_code=500) for r in BETWEEN], "checked", 1.0, id="what was not answered"
        ),
    ],
)
def test_at_worst_every_answer_without_a_label_was_right(
    settings: Settings, ledger: Ledger, author: str, others: list[Traffic], kept: str, odds: float
) -> None:
    ledger.add(*LABELLED, *others, *words_of(LABELLED, author=author))
    told = settings.dataset.model_copy(update={"trusted_labels": kept, "label_field": "intent"})
    since = START - timedelta(days=1)
    rows = labelled_rows(told, ledger, "support", "support", since=since, tally=Tally())
    assert {row.is_verified for row in rows} == {True}
    assert most_label_odds(told, ledger, AliasKey("support", "support"), rows) == odds


def test_labels_of_keys_without_trust_neither_judge_nor_stand_in_the_way(settings: Settings, ledger: Ledger) -> None:
    flood = [replace(r, id=f"{r.id}_evil", label=WRONG, label_source="correction") for r in BETWEEN]
    ledger.add(*LABELLED, *flood, *words_of(LABELLED), *words_of(flood, author="support/evil", trust=Trust.NONE))
    rows = labelled_rows(settings.dataset, ledger, "support", "support", since=START, tally=Tally())
    judging = [row for row in rows if row.is_verified]
    assert len(judging) >= 59
    assert most_label_odds(settings.dataset, ledger, AliasKey("support", "support"), judging) == 1.0


@pytest.mark.parametrize(("odds", "verdict"), [(1.0, "PROMOTE"), (1.5, "PROMOTE"), (4.0, "INCONCLUSIVE")])
def test_a_gain_must_be_beyond_what_missing_labels_could_make(odds: float, verdict: str) -> None:
    table = Table(Pairs("new", 150, 60, 10, 30), "target")
    found = decide_counted(GateSettings(), [table], label_odds=odds)
    assert found.verdict == verdict
    assert found.label_odds == (None if odds == 1 else odds)


@pytest.mark.parametrize("name", ["unhappy only, many of them", "one topic only, which got better"])
def test_a_gate_that_is_blind_to_missing_labels_promotes_what_is_no_better(name: str) -> None:
    """A sample of benchmarks.label_schemes, whose loops are ten thousand."""
    (scheme,) = [s for s in label_schemes.SCHEMES if s.name == name]
    assert label_schemes.false_loops(np.random.default_rng(1), scheme, 5) == 0
    assert label_schemes.false_loops(np.random.default_rng(1), scheme, 5, with_odds=False) >= 2
