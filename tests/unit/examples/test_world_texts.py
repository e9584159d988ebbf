"""The second world is made from a seed, and a right text says all facts and no others."""

from examples.support.world_texts import REFERENCES, cottages, right_texts


def test_cottages_are_different_and_the_same_each_time() -> None:
    made = list(cottages(7, 300))
    assert made == list(cottages(7, 300)) != list(cottages(8, 300))
    assert len({cottage.prompt for cottage in made}) == 300


def test_each_right_text_says_every_fact_and_they_differ() -> None:
    for cottage in cottages(7, 50):
        texts = right_texts(cottage, 7)
        assert len(set(texts)) == REFERENCES
        for text in texts:
            assert all(value.lower() in text.lower() for value in (cottage.name, cottage.town))
            assert all(value.lower() in text.lower() for _, value in cottage.facts)
