"""Facts are the words that answers have from their prompts, found without knowing the language."""

from driftwheel.text.copied_words import facts_of, stated
from driftwheel.text.words import words


def learned(*rows: tuple[str, str]) -> frozenset[str]:
    return facts_of((frozenset(words(prompt)), frozenset(words(answer))) for prompt, answer in rows)


def test_a_word_is_a_fact_if_answers_have_it_from_their_prompts() -> None:
    facts = learned(
        ("town: Ulm; house", "The house is in Ulm."), ("town: Rom", "The house is in Rom."), ("", "It is the end.")
    )
    assert facts == {"ulm", "rom"}, "of two answers with a house only one was asked for it"


def test_facts_are_found_in_other_scripts() -> None:
    assert {"берлин", "мюнхен"} <= learned(("город: Берлин", "Дом в Берлин"), ("город: Мюнхен", "Дом в Мюнхен"))


def test_a_number_is_a_fact_whatever_was_learned() -> None:
    assert stated(frozenset({"ulm"}), words("In Ulm there are 12 of them, not 3rd")) == {"ulm", "12"}
    assert learned() == frozenset()
