"""The second world's demo: a shift worth the name, several right texts, and guests who see what is wrong."""

from collections import Counter
from statistics import fmean

from driftwheel.text.grades import grade
from examples.support.demo_tasks import LIKED, TEXT, chrf_grade, nearest_text
from examples.support.world_cottages import SHARE_POSTCARDS, listings, unlabelled_text
from examples.support.world_postcards import NEW_FACTS
from examples.support.world_texts import WORDINGS


def test_a_seed_gives_the_same_requests_and_another_seed_others() -> None:
    first, again, other = listings(300, 1, "steady"), listings(300, 1, "steady"), listings(300, 2, "steady")
    assert first == again
    assert len({listing.text for listing in first}) == 300
    assert first != other
    assert {len(set(listing.references)) for listing in first} == {3}


def test_the_shift_brings_a_style_and_facts_that_nobody_told_of() -> None:
    steady, shifted = listings(300, 1, "steady"), listings(300, 3, "shifted")
    told = Counter(fact.partition(":")[0] for listing in shifted for fact in listing.text.split("; "))
    assert abs(told["style"] / 300 - SHARE_POSTCARDS) < 0.1
    assert all(told[name] > 60 for name in NEW_FACTS)
    assert not any(
        "style" in listing.text or any(f"{name}:" in listing.text for name in NEW_FACTS) for listing in steady
    )


def test_each_right_text_says_every_fact_in_its_style() -> None:
    for listing in listings(200, 3, "shifted"):
        facts = dict(fact.split(": ", 1) for fact in listing.text.split("; "))
        is_postcard = facts.pop("style", None) is not None
        for text in listing.references:
            assert all(value.lower() in text.lower() for value in facts.values()), (listing.text, text)
            assert text.endswith("!" if is_postcard else ".")


def test_guests_like_right_texts_and_not_those_of_other_requests_nor_in_the_old_style() -> None:
    shifted = listings(200, 3, "shifted")
    own = [TEXT.likes(grade("chrf", e.references[0], e.references[1:]) or 0.0) for e in shifted]
    others = [chrf_grade(e, o.references[0]) for e, o in zip(shifted, [*shifted[1:], shifted[0]], strict=True)]
    assert fmean(own) > 0.75
    assert fmean(value >= LIKED for value in others) < 0.15
    assert fmean(others) < 0.4, "fluent, but of other requests"


def test_who_corrects_mends_the_text_and_writes_no_other() -> None:
    listing = listings(1, 1, "steady")[0]
    for text in listing.references:
        assert nearest_text(listing, text.replace("crowns", "coins")) == text


def test_the_base_is_not_told_which_text_belongs_to_what() -> None:
    paired = [d for d in unlabelled_text(1000, 0) if d[-1]["role"] == "assistant"]
    assert len(paired) > 300
    named = [d[0]["content"].split("; ")[0].removeprefix("name: ") in d[1]["content"] for d in paired]
    assert fmean(named) < 0.15, "one of 16 names by chance"
    assert set(WORDINGS) < set("; ".join(d[0]["content"] for d in paired).replace(":", ";").split("; ")) | {"extra"}
