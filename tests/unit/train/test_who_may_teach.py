"""Whose word teaches and whose word judges, from the feedback's rows to the splits of a retrain's Dataset."""

from collections import Counter
from dataclasses import replace

import pytest

from driftwheel.errors import DataError
from driftwheel.records.by_whom import Trust
from driftwheel.records.nouns import Dataset, Traffic
from driftwheel.settings.settings import Settings
from driftwheel.store.ledger import Ledger
from examples.support.world import answer, messages
from tests.support.said import words_of
from tests.unit.train import test_dataset
from tests.unit.train.test_dataset import log_traffic, with_dataset
from train.data.live.traffic_dataset import dataset_from_traffic
from train.data.splitting.dataset_files import read_splits

live = test_dataset.live


def flood(ledger: Ledger, rows: list[Traffic], count: int, author: str, trust: Trust = Trust.NONE) -> None:
    """Let a key ask and "correct" many questions, under as many users."""
    asked = [
        replace(
            rows[n % len(rows)],
            id=f"req_flood_{author}_{n}",
            prompt=f"{rows[n % len(rows)].prompt} no {n}",
            request="",
            label='{"intent":"spam","urgency":"low"}',
            user_id=f"user {n}",
            key_id=author,
        )
        for n in range(count)
    ]
    ledger.add(*asked, *words_of(asked, author=author, trust=trust))


@pytest.mark.parametrize("trust", [Trust.NONE, Trust.LABEL])
def test_a_key_that_corrects_a_thousand_answers_wrongly_gets_no_item_that_judges(
    settings: Settings,
    ledger: Ledger,
    live: Dataset,
    trust: Trust,
) -> None:
    rows = log_traffic(ledger, live, 300)
    flood(ledger, rows, 1000, "support/attacker", trust)
    dataset = dataset_from_traffic(settings, ledger, "decision_1")
    splits = read_splits(dataset)
    assert {e.author for name in ("test", "validation") for e in splits[name]} == {None}
    assert {e.label for e in splits["test"] if e.slice == "new"}.isdisjoint({"spam"})
    taught = Counter(e.author for e in splits["train"] if e.author)
    assert taught["support/attacker"] <= settings.dataset.max_rows_per_key
    assert dataset.report.unverified == dict(taught)


def test_without_trusted_labels_there_is_no_retrain_and_it_says_which_are_needed(
    settings: Settings,
    ledger: Ledger,
    live: Dataset,
) -> None:
    (row,) = log_traffic(ledger, live, 1)
    loose = with_dataset(settings, min_rows=3, max_rows_per_key=1000, max_unverified_rows=1000)
    honest = [
        replace(row, id=f"req_{n}", prompt=e.text, request="", label=answer(e), user_id="")
        for n, e in enumerate(messages(300, 44, "steady"))
    ]
    ledger.add(*honest, *words_of(honest, author="support/web", trust=Trust.NONE))
    with pytest.raises(DataError, match=r"no fresh row may judge .* `label:trusted`"):
        dataset_from_traffic(loose, ledger, "decision_1")


@pytest.mark.parametrize(("said", "is_taken"), [("checked", False), ("sampled", True)])
def test_labels_that_come_only_where_the_model_was_wrong_teach_and_do_not_judge(
    settings: Settings,
    ledger: Ledger,
    live: Dataset,
    said: str,
    is_taken: bool,
) -> None:
    log_traffic(ledger, live, 400, answer='{"intent":"nothing like it","urgency":"low"}')
    told = with_dataset(settings, trusted_labels=said)
    if is_taken:
        splits = read_splits(dataset_from_traffic(told, ledger, "decision_1"))
        assert len([e for e in splits["test"] if e.slice == "new"]) > 60
        return
    with pytest.raises(DataError, match=r"support/desk only told where the model was wrong.*the right ones too"):
        dataset_from_traffic(told, ledger, "decision_1")


def test_what_nobody_trusted_vouched_for_stays_marked_when_it_is_replayed_and_counts_against_the_caps(
    settings: Settings,
    ledger: Ledger,
    live: Dataset,
) -> None:
    """A slow drip: a few rows in each retrain would add up, if replayed rows lost their author."""
    rows = log_traffic(ledger, live, 300)
    honest = [replace(r, id=f"{r.id}_drip", prompt=f"{r.prompt} please", request="", user_id="") for r in rows[:120]]
    ledger.add(*honest, *words_of(honest, author="support/drip", trust=Trust.NONE))
    first = dataset_from_traffic(settings, ledger, "decision_1")
    taken = first.report.unverified.get("support/drip", 0)
    assert 0 < taken <= settings.dataset.max_rows_per_key
    lines = [e for e in read_splits(first)["train"] if e.author]
    assert {e.as_line()["author"] for e in lines} == {"support/drip"}
    assert all("author" not in e.as_line() for e in read_splits(first)["test"])
