"""A judgement is stored once, whoever asks twice; agreement is counted against people."""

from typing import Any

import pytest

from driftwheel.errors import DataError
from driftwheel.evidence.judgements import agreement, in_order, judgements_of, peoples_word, record_judgement
from driftwheel.records.bookkeeping import Judgement, Preference
from driftwheel.records.nouns import ModelVersion, ModelVersionStatus
from driftwheel.store.ledger import Ledger
from tests.support.versions import add_with_parents, published_version

FIRST, SECOND, BOTH, UNSURE = Preference.FIRST, Preference.SECOND, Preference.BOTH, Preference.UNSURE


def version(number: int) -> ModelVersion:
    return published_version(
        f"version_{number}", number=number, run_id="r", dataset_id="d", status=ModelVersionStatus.CANDIDATE
    )


@pytest.fixture(autouse=True)
def versions(ledger: Ledger) -> None:
    """The versions that are judged."""
    add_with_parents(ledger, *(version(number) for number in (1, 2, 3)))


def say(ledger: Ledger, item: str, judge: str, preference: Preference, **more: Any) -> Judgement:
    return record_judgement(
        ledger, version(1), version(2), dataset_id="d", item_id=item, judge=judge, preference=preference, **more
    )


def test_the_first_word_of_a_person_about_an_item_stands(ledger: Ledger) -> None:
    first = say(ledger, "a", "Ada", SECOND, first_was_left=True)
    assert say(ledger, "a", "Ada", FIRST, first_was_left=True) == first
    say(ledger, "a", "Ben", FIRST, first_was_left=False)
    say(ledger, "b", "Ada", BOTH, first_was_left=False)
    found = judgements_of(ledger, version(1), version(2))
    assert [(j.judge, j.item_id, j.preference) for j in found] == [
        ("Ada", "a", SECOND),
        ("Ben", "a", FIRST),
        ("Ada", "b", BOTH),
    ]
    assert judgements_of(ledger, version(1), version(3)) == []


def test_a_pair_has_one_order_and_a_judge_has_a_name(ledger: Ledger) -> None:
    assert [v.number for v in in_order(version(2), version(1))] == [1, 2]
    assert [v.number for v in in_order(version(1), version(2))] == [1, 2]
    with pytest.raises(DataError, match="v2 before v1"):
        record_judgement(ledger, version(2), version(1), dataset_id="d", item_id="a", judge="Ada", preference=FIRST)
    with pytest.raises(DataError, match="name"):
        say(ledger, "a", " ", FIRST)
    with pytest.raises(DataError, match="a judge model"):
        say(ledger, "a", "model:big", FIRST, first_was_left=True)


def row(item: str, preference: Preference, judge: str = "model:big") -> Judgement:
    return Judgement(
        id=f"{judge}-{item}",
        project="support",
        first_version_id="version_1",
        second_version_id="version_2",
        dataset_id="d",
        item_id=item,
        judge=judge,
        preference=preference,
        first_was_left=None if judge.startswith("model") else True,
    )


def test_people_outvote_each_other_and_a_tie_is_no_gold() -> None:
    said = [("a", FIRST, "Ada"), ("a", FIRST, "Ben"), ("a", SECOND, "Cid"), ("b", FIRST, "Ada"), ("b", BOTH, "Ben")]
    assert peoples_word(row(*entry) for entry in [*said, ("c", FIRST, "model:big")]) == {"a": FIRST}


def test_a_judges_agreement_leaves_out_what_it_was_unsure_of() -> None:
    gold = {"a": FIRST, "b": SECOND, "c": BOTH, "d": FIRST}
    said = [row("a", FIRST), row("b", FIRST), row("c", BOTH), row("d", UNSURE), row("e", FIRST)]
    assert agreement(said, gold) == (2, 3)
