"""The second world: facts about holiday cottages as data, and the texts that say them, several right ones for each.

Everything is made from a seed. A prompt lists facts, `name: Gullwing; beds: 4`; a right text says all of them and no
others, in one of several orders and wordings.
"""

import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

NAMES = (
    "Gullwing",
    "Foxglove",
    "Old Forge",
    "Tidewater",
    "Larkspur",
    "Stonecrop",
    "Hazel End",
    "Saltmarsh",
    "Brambles",
    "The Granary",
    "Kestrel View",
    "Millrace",
    "Sandpiper",
    "Thistledown",
    "Winter Barn",
    "Quarry Lodge",
)
TOWNS = ("Averley", "Port Hollin", "Marrow Bay", "Little Thane", "Cobbe", "Westering", "Dunmere", "Sallow Cross")
SEASONS = ("spring", "summer", "autumn", "winter")
EXTRAS = ("a wood stove", "a walled garden", "a sea view", "a sauna", "two bicycles", "a small boat")
PLACES = ("the harbour", "the station", "the beech wood", "the market square", "the lighthouse", "the river")
OPENINGS = (
    "{name} is a cottage in {town}",
    "In {town} you find the cottage {name}",
    "The cottage {name} lies in {town}",
    "{town} has a cottage called {name}",
)
WORDINGS = {
    "beds": ("it sleeps {}", "there is room for {} guests", "up to {} people can stay", "it has {} beds"),
    "price": ("a night costs {} crowns", "the price is {} crowns a night", "you pay {} crowns for each night"),
    "season": ("it is open in {}", "guests are welcome in {}", "it can be booked in {}"),
    "extra": ("it comes with {}", "{} belongs to it", "guests enjoy {}"),
    "near": ("it is close to {}", "{} is a short walk away", "you can walk to {}"),
}
REFERENCES = 3


@dataclass(frozen=True)
class Style:
    """How texts are written: sentences that name the cottage, and clauses for each fact."""

    openings: Sequence[str]
    wordings: Mapping[str, Sequence[str]]
    end: str = "."


PLAIN = Style(OPENINGS, WORDINGS)


@dataclass(frozen=True)
class Cottage:
    """Facts of one cottage; each may be missing but for name and town."""

    name: str
    town: str
    facts: tuple[tuple[str, str], ...]

    @property
    def prompt(self) -> str:
        """The facts as data."""
        return "; ".join(f"{key}: {value}" for key, value in (("name", self.name), ("town", self.town), *self.facts))


def cottages(seed: int, count: int) -> Iterator[Cottage]:
    """Give so many cottages, no two with the same facts."""
    chance, seen = random.Random(f"{seed}-cottages"), set[str]()
    while len(seen) < count:
        values = {
            "beds": str(chance.randint(2, 9)),
            "price": str(10 * chance.randint(4, 30)),
            "season": chance.choice(SEASONS),
            "extra": chance.choice(EXTRAS),
            "near": chance.choice(PLACES),
        }
        kept = sorted(chance.sample(sorted(values), chance.randint(2, 5)))
        made = Cottage(chance.choice(NAMES), chance.choice(TOWNS), tuple((key, values[key]) for key in kept))
        if made.prompt not in seen:
            seen.add(made.prompt)
            yield made


def text_of_facts(
    cottage: Cottage, facts: Sequence[tuple[str, str]], chance: random.Random, style: Style = PLAIN
) -> str:
    """Return a text that says name, town and the given facts, in an order and wording by chance."""
    opening = chance.choice(style.openings).format(name=cottage.name, town=cottage.town)
    parts = [chance.choice(style.wordings[key]).format(value) for key, value in chance.sample(list(facts), len(facts))]
    sentences = [opening, *(" and ".join(parts[at : at + 2]) for at in range(0, len(parts), 2))]
    return " ".join(f"{sentence[0].upper()}{sentence[1:]}{style.end}" for sentence in sentences)


def right_texts(cottage: Cottage, seed: int, style: Style = PLAIN) -> list[str]:
    """Return several right texts of a cottage, all different."""
    chance, texts = random.Random(f"{seed}-{cottage.prompt}"), dict[str, None]()
    while len(texts) < REFERENCES:
        texts[text_of_facts(cottage, cottage.facts, chance, style)] = None
    return list(texts)
