"""Generates the second world's requests with their right texts from a seed, and unlabelled text for the base model.

Every sentence was written for this example. `steady` asks for plain descriptions of cottages; `shifted` is what comes
since the guests want postcards: three of four requests ask for that style, with facts that nobody told of before.
"""

import random
from collections.abc import Collection
from dataclasses import dataclass, replace

from examples.support.world import Document, Phase
from examples.support.world_postcards import NEW_FACTS, POSTCARD
from examples.support.world_texts import (
    EXTRAS,
    NAMES,
    PLACES,
    PLAIN,
    SEASONS,
    TOWNS,
    Cottage,
    Style,
    right_texts,
    text_of_facts,
)

SHARE_POSTCARDS, SHARE_ANSWERED = 0.75, 0.4
"""Of shifted requests, those for postcards; of a base model's threads, those with answers."""
STYLE = ("style", "postcard")


@dataclass(frozen=True)
class Listing:
    """One request, with several texts that are right for it."""

    text: str
    references: tuple[str, ...]
    phase: Phase


def listings(rows: int, seed: int, phase: Phase, but_not: Collection[str] = ()) -> list[Listing]:
    """Return that many distinct requests, none of whose texts is in `but_not`."""
    chance, taken = random.Random(f"{seed}-{phase}-listings"), set(but_not)
    found: dict[str, Listing] = {}
    while len(found) < rows:
        is_postcard = phase == "shifted" and chance.random() < SHARE_POSTCARDS
        cottage, style = _cottage(chance, is_postcard=is_postcard), POSTCARD if is_postcard else PLAIN
        prompt = prompt_of(cottage, is_postcard=is_postcard)
        if prompt not in taken and prompt not in found:
            found[prompt] = Listing(prompt, tuple(right_texts(cottage, seed, style)), phase)
    return list(found.values())


def prompt_of(cottage: Cottage, *, is_postcard: bool) -> str:
    """Return what is asked for: the facts as data, and the style where it is not the plain one."""
    return replace(cottage, facts=(STYLE, *cottage.facts)).prompt if is_postcard else cottage.prompt


def unlabelled_text(documents: int, seed: int) -> list[Document]:
    """Return that many threads: texts about one cottage, or its facts now and then followed by texts about others.

    A base model learns from them the words, that what is said again is the same, and the look of an answer, but not
    which text belongs to what.
    """
    chance, found = random.Random(f"{seed}-cottages-text"), list[Document]()
    for _ in range(documents):
        cottage, is_postcard = _drawn(chance)
        style = POSTCARD if is_postcard else PLAIN
        if chance.random() < SHARE_ANSWERED:
            asked, told = prompt_of(cottage, is_postcard=is_postcard), _text(*_drawn(chance), chance)
            found.append([{"role": "user", "content": asked}, {"role": "assistant", "content": told}])
        else:
            texts = [text_of_facts(cottage, cottage.facts, chance, style) for _ in range(2)]
            found.append([{"role": "user", "content": text} for text in texts])
    return found


def _drawn(chance: random.Random) -> tuple[Cottage, bool]:
    is_postcard = chance.random() < 0.5
    return _cottage(chance, is_postcard=is_postcard), is_postcard


def _text(cottage: Cottage, is_postcard: bool, chance: random.Random) -> str:
    style: Style = POSTCARD if is_postcard else PLAIN
    return text_of_facts(cottage, cottage.facts, chance, style)


def _cottage(chance: random.Random, *, is_postcard: bool) -> Cottage:
    """Return a cottage with two to five facts; one for a postcard has two new ones at least."""
    old = {
        "beds": str(chance.randint(2, 9)),
        "price": str(10 * chance.randint(4, 30)),
        "season": chance.choice(SEASONS),
        "extra": chance.choice(EXTRAS),
        "near": chance.choice(PLACES),
    }
    new = {key: chance.choice(values) for key, values in NEW_FACTS.items()}
    if is_postcard:
        kept = [*chance.sample(sorted(new), 2), *chance.sample(sorted(old), chance.randint(0, 3))]
    else:
        kept = chance.sample(sorted(old), chance.randint(2, 5))
    values = old | new
    facts = tuple((key, values[key]) for key in sorted(kept))
    return Cottage(chance.choice(NAMES), chance.choice(TOWNS), facts)
