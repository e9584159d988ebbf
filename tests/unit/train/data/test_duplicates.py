"""Texts that a reader would call the same are found, strangers are not."""

import random

import pytest

from examples.support.world import messages
from train.data.duplicates import Match, NearDuplicates, text_hash

QUESTION = "my new card has not arrived after two weeks"


@pytest.mark.parametrize(
    ("other", "kind"),
    [
        (QUESTION, "exact"),
        ("MY new  card has not arrived, after two weeks!?", "folded"),
        ("m\u0443 new \u0441ard has not \u200barrived after two w\u00e9eks", "folded"),
        ("my new card has not arived after two weeks", "near"),
        ("my newcard has not arrived after two weeks", "near"),
        ("after two weeks my new card has not arrivde", "near"),
        ("hi team, my new card has not arrived after two weeks", "contained"),
        ("hello, my new card hasnot arrived after two weeks. thanks a lot", "contained"),
        ("card has not arrived after two we", "contained"),
        ("my new phone was stolen on a train to berlin", None),
        ("my new card has been blocked after two wrong pins", None),
        ("two weeks", None),
    ],
    ids=[
        "same",
        "case and signs",
        "look-alikes",
        "typo",
        "joined words",
        "order and typo",
        "greeting",
        "greeting, closing and typo",
        "cut off",
        "another matter",
        "same beginning",
        "too short to tell",
    ],
)
def test_a_text_resembles_another_in_the_strictest_way_that_holds(other: str, kind: str | None) -> None:
    found = NearDuplicates([QUESTION, "please cancel my plan"], 0.9).matches([other])
    assert found == ([Match(0, 0, kind)] if kind else [])  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("a", "b"),
    [
        ("i was charged $49 twice for the headset", "i was charged $60 twice for the headset"),
        ("where is order 4471, it is late", "hello, where is order 9082, it is late"),
        ("\U0001f600", "\U0001f680"),
    ],
    ids=["amounts", "numbers of orders", "signs alone"],
)
def test_other_numbers_and_other_signs_are_another_text(a: str, b: str) -> None:
    assert NearDuplicates([a], 0.9).like(b) == []


def test_a_lower_similarity_forgives_more() -> None:
    other = "my new card has not come after two weeks"
    assert NearDuplicates([QUESTION], 0.9).like(other) == []
    assert NearDuplicates([QUESTION], 0.6).like(other) == [0]


def test_clusters_join_what_is_linked() -> None:
    base = "i was charged forty nine dollars twice for the headset last week"
    texts = [base, base + "!", "please reset my password", base.upper(), "please reset my passwort"]
    assert NearDuplicates(texts, 0.8).clusters() == [0, 0, 2, 0, 2]


def test_no_texts_resemble_nothing() -> None:
    assert NearDuplicates([], 0.9).like("hello") == []
    assert NearDuplicates([], 0.9).clusters() == []
    assert NearDuplicates(["hello"], 0.9).matches([]) == []


def test_planted_typos_are_found_among_thousands() -> None:
    """The oracle is the planting: one changed letter in a short message."""
    chance = random.Random(0)
    texts = [e.text for e in messages(2000, 1, "steady") if len(e.text) > 20]
    planted = []
    for text in texts:
        place = chance.choice([n for n, c in enumerate(text) if c.isalpha()])
        planted.append(text[:place] + "#x"[text[place] != "x"] + text[place + 1 :])
    found = {(m.asked, m.found) for m in NearDuplicates(texts, 0.9).matches(planted)}
    assert sum((n, n) in found for n in range(len(texts))) >= 0.995 * len(texts)


def test_resemblance_depends_on_the_two_texts_alone_in_either_order() -> None:
    """What a split parted as unlike must be unlike beside every other set of texts, or a later check refuses it."""
    chance = random.Random(0)
    texts = [e.text for e in messages(1200, 1, "steady") if len(e.text) > 25]
    noisy = [_with_swapped_letters(text, 4, chance) + ", thx" for text in texts]
    found = {(m.asked, m.found) for m in NearDuplicates(texts, 0.95).matches(noisy)}
    assert found == {(m.found, m.asked) for m in NearDuplicates(noisy, 0.95).matches(texts)}
    alone = [bool(NearDuplicates([a], 0.95).like(b)) for a, b in zip(texts, noisy, strict=True)]
    assert alone == [(number, number) in found for number in range(len(texts))]
    assert 0.2 * len(texts) < sum(alone) < 0.8 * len(texts)


def _with_swapped_letters(text: str, times: int, chance: random.Random) -> str:
    for _ in range(times):
        place = chance.choice([n for n, letter in enumerate(text[:-1]) if letter.isalpha()])
        text = text[:place] + text[place + 1] + text[place] + text[place + 2 :]
    return text


def test_the_hash_ignores_what_does_not_matter() -> None:
    assert text_hash("Where  is my parcel") == text_hash("where is my PARCEL ")
    assert text_hash("where is my parcel") != text_hash("where is my parcels")
