"""Makes training rows that leak a test item, without knowing the detector that must find them."""

import random
import unicodedata
from collections.abc import Callable
from dataclasses import dataclass

MIX = {
    "exact": 100,
    "case and space": 120,
    "unicode": 120,
    "prefix": 160,
    "one typo": 100,
    "two typos": 60,
    "word order": 60,
    "small word": 40,
    "greeting and typo": 40,
    "same conversation": 100,
    "future-dated": 100,
}
NEAR_DUPLICATES = ("one typo", "two typos", "word order", "small word", "greeting and typo")
TO_THE_LETTER = ("exact", "case and space", "unicode", "same conversation", "future-dated")

GREETINGS = ["hi", "Hello there", "hey", "Good morning", "dear support", "Hi team"]
CLOSINGS = ["thanks", "thank you", "please help", "cheers", "kind regards", "any idea?", "please advise"]
SMALL_WORDS = ["please", "just", "the", "now", "so", "really", "also", "still"]
LOOKALIKES = {"a": "а", "e": "е", "o": "о", "c": "с", "p": "р", "x": "х", "i": "і", "A": "Α", "B": "В", "H": "Н"}
NEIGHBORS = {"a": "s", "e": "r", "i": "o", "o": "p", "t": "y", "n": "m", "s": "d", "r": "t", "c": "v", "d": "f"}


@dataclass(frozen=True)
class Planted:
    """A leak: of which kind, of which test item, and the text that now stands in the training rows."""

    kind: str
    item: int
    text: str


def plant(items: list[str], seed: int, share: float = 1.0) -> list[Planted]:
    """Return the mix, or a share of each kind; leaks by conversation and by date have words that resemble nothing."""
    chance = random.Random(seed)
    planted = []
    for kind, count in MIX.items():
        for item in chance.sample(range(len(items)), max(1, round(count * share))):
            make = MAKE.get(kind, _other_words)
            planted.append(Planted(kind, item, make(chance, items[item])))
    return planted


def _other_words(chance: random.Random, text: str) -> str:
    return " ".join("".join(chance.choices("abcdefghijklmnopqrstuvwxyz", k=6)) for _ in text.split())


def _case_and_space(chance: random.Random, text: str) -> str:
    cased = chance.choice([str.upper, str.lower, str.title, str.swapcase])(text)
    spaces = chance.choice(["  ", "\t", "\u00a0", " \n"])
    return chance.choice(["", " ", "\n"]) + spaces.join(cased.split(" ")) + chance.choice(["", "  "])


def _unicode(chance: random.Random, text: str) -> str:
    def decomposed(t: str) -> str:
        return unicodedata.normalize("NFD", "".join(c + "\u0301" if c in "eo" else c for c in t))

    def full_width(t: str) -> str:
        return "".join(chr(ord(c) + 0xFEE0) if "!" <= c <= "~" and chance.random() < 0.5 else c for c in t)

    def zero_width(t: str) -> str:
        return "".join(c + chance.choice(["", "", "\u200b", "\u200d", "\u00ad", "\ufeff"]) for c in t)

    def lookalikes(t: str) -> str:
        return "".join(LOOKALIKES[c] if c in LOOKALIKES and chance.random() < 0.6 else c for c in t)

    def quotes(t: str) -> str:
        return "\u201c" + t.replace("'", "\u2019").replace("-", "\u2013") + "\u201d"

    return chance.choice([decomposed, full_width, zero_width, lookalikes, quotes])(text)


def _prefix(chance: random.Random, text: str) -> str:
    words = text.split()
    if len(words) >= 7 and chance.random() < 0.5:
        kept = chance.randint(-(-len(words) * 6 // 10), len(words) - 1)
        return " ".join(words[:kept] if chance.random() < 0.5 else words[-kept:])
    if chance.random() < 0.5:
        return f"{text} {chance.choice(CLOSINGS)}"
    return f"{chance.choice(GREETINGS)}, {text}"


def _typo(chance: random.Random, text: str) -> str:
    letters = list(text)
    place = chance.choice([n for n, c in enumerate(letters) if c.isalpha()])
    kind = chance.choice(["drop", "swap", "double", "neighbor"])
    if kind == "drop":
        del letters[place]
    elif kind == "swap" and place:
        letters[place - 1], letters[place] = letters[place], letters[place - 1]
    elif kind == "double":
        letters.insert(place, letters[place])
    else:
        letters[place] = NEIGHBORS.get(letters[place].lower(), "z")
    return "".join(letters)


def _word_order(chance: random.Random, text: str) -> str:
    words = text.rstrip("?.! ").split()
    if chance.random() < 0.5:
        cut = chance.randint(1, len(words) - 1)
        return " ".join([*words[cut:], *words[:cut]])
    place = chance.randrange(len(words) - 1)
    words[place : place + 2] = reversed(words[place : place + 2])
    return " ".join(words)


def _small_word(chance: random.Random, text: str) -> str:
    words = text.split()
    words.insert(chance.randint(0, len(words)), chance.choice(SMALL_WORDS))
    return " ".join(words)


def _greeting_and_typo(chance: random.Random, text: str) -> str:
    return f"{chance.choice(GREETINGS)}, {_typo(chance, text)}"


MAKE: dict[str, Callable[[random.Random, str], str]] = {
    "exact": lambda _, text: text,
    "case and space": _case_and_space,
    "unicode": _unicode,
    "prefix": _prefix,
    "one typo": _typo,
    "two typos": lambda chance, text: _typo(chance, _typo(chance, text)),
    "word order": _word_order,
    "small word": _small_word,
    "greeting and typo": _greeting_and_typo,
}
