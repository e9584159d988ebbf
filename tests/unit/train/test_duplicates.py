"""Near duplicates are found, strangers are not, and the exact measure decides."""

import random

from examples.support.world import messages
from train.duplicates import NearDuplicates, jaccard, shingles, text_hash


def test_a_near_duplicate_is_found_and_a_stranger_is_not() -> None:
    index = NearDuplicates(["where is my parcel, it should be here by now", "please cancel my plan"], 0.8)
    assert index.like("Where is my parcel, it should be here by now?") == [0]
    assert index.like("the screen of my tablet is cracked") == []


def test_clusters_join_what_is_linked() -> None:
    base = "i was charged forty nine dollars twice for the headset last week"
    texts = [base, base + "!", "please reset my password", base.upper(), "please reset my passwort"]
    assert NearDuplicates(texts, 0.8).clusters() == [0, 0, 2, 0, 2]


def test_planted_near_duplicates_are_found_among_thousands() -> None:
    """The oracle is the planting: one changed letter in a long text keeps Jaccard similarity above 0.9."""
    chance = random.Random(0)
    texts = [" ".join(e.text for e in messages(3, seed, "steady")) for seed in range(400)]
    found = 0
    index = NearDuplicates(texts, 0.9)
    for number, text in enumerate(texts):
        place = chance.randrange(10, len(text) - 10)
        planted = text[:place] + "#" + text[place + 1 :]
        assert jaccard(shingles(text), shingles(planted)) > 0.9
        found += number in index.like(planted)
    assert found >= 396


def test_the_hash_ignores_what_does_not_matter() -> None:
    assert text_hash("Where  is my parcel") == text_hash("where is my PARCEL ")
    assert text_hash("where is my parcel") != text_hash("where is my parcels")
