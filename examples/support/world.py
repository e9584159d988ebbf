"""A seed becomes customer messages with their right triage, and text for a base model to learn words from.

The world is invented for driftwheel: every sentence in it was written for this example. `steady` is what
customers asked until the Nestora hub came; `shifted` is what they ask since. Different seeds give
different messages of the same world.
"""

import json
import random
import re
from collections.abc import Collection
from dataclasses import dataclass
from typing import Literal

from examples.support.world_shift import NEW_INTENTS, OLD_INTENTS_NEW_WORDS, SHIFT_SLOTS
from examples.support.world_steady import AMBIGUOUS, SLOTS, STEADY

Phase = Literal["steady", "shifted"]
Document = list[dict[str, str]]  # messages with a role and a content

SHARE_SHIFTED, SHARE_NEW_INTENTS, SHARE_AMBIGUOUS, SHARE_ANSWERED = 0.6, 0.55, 0.04, 0.3
"""Of shifted messages, those that are new; of these, those with a new intent; of the others, those that people file in
two ways, so that no version reaches 100 %; of a base model's threads, those with answers.
"""
SLOT = re.compile(r"\{(\w+)\}")
ALL_SLOTS = {**SLOTS, **SHIFT_SLOTS}
GREETINGS = ["hi", "hello", "hey there", "good morning", "dear team", "hi support", "good evening"]
CLOSINGS = [
    "thanks",
    "thank you",
    "cheers",
    "best regards, sam",
    "please help",
    "kind regards",
    "thx",
    "regards, maria",
]
URGENT = ["this is urgent", "i need it today", "as soon as possible please", "right now please", "it cannot wait"]
RELAXED = ["no rush", "whenever you have time", "it is not urgent", "take your time"]


@dataclass(frozen=True)
class Example:
    """One message, with what a perfect agent would say about it."""

    text: str
    intent: str
    urgency: str
    phase: Phase


def answer(example: Example) -> str:
    """Return the right answer: a compact JSON object."""
    return json.dumps({"intent": example.intent, "urgency": example.urgency}, separators=(",", ":"))


def messages(rows: int, seed: int, phase: Phase, but_not: Collection[str] = ()) -> list[Example]:
    """Return that many distinct messages; `shifted` mixes 40 % of the steady kind with 60 % of the new.

    No text of `but_not` is among them: short messages repeat between seeds, as customers do.
    """
    chance, taken = random.Random(f"{seed}-{phase}"), set(but_not)
    found: dict[str, Example] = {}
    while len(found) < rows:
        example = _message(chance, phase)
        if example.text not in taken:
            found.setdefault(example.text, example)
    return list(found.values())


def unlabelled_text(documents: int, seed: int) -> list[Document]:
    """Return that many threads: three messages about one matter, now and then followed by answers dealt out at random.

    A base model learns from them the words, what belongs together and the look of an answer, but not which answer
    belongs to what.
    """
    chance = random.Random(f"{seed}-text")
    banks = (STEADY, NEW_INTENTS, OLD_INTENTS_NEW_WORDS)
    names = [*STEADY, *NEW_INTENTS]
    found: list[Document] = []
    for _ in range(documents):
        matter = chance.choice(list(chance.choice(banks)))
        templates = [template for bank in banks for template in bank.get(matter, [])]
        texts = [_worded(chance, chance.choice(templates))[0] for _ in range(3)]
        document = [{"role": "user", "content": text} for text in texts]
        if chance.random() < SHARE_ANSWERED:
            for _ in range(3):
                example = Example("", chance.choice(names), chance.choice(["low", "normal", "high"]), "steady")
                document.append({"role": "assistant", "content": answer(example)})
        found.append(document)
    return found


def _message(chance: random.Random, phase: Phase) -> Example:
    is_new = phase == "shifted" and chance.random() < SHARE_SHIFTED
    if not is_new and chance.random() < SHARE_AMBIGUOUS:
        template, intents = chance.choice(AMBIGUOUS)
        intent = chance.choice(intents)
    else:
        bank = STEADY if not is_new else NEW_INTENTS if chance.random() < SHARE_NEW_INTENTS else OLD_INTENTS_NEW_WORDS
        intent = chance.choice(list(bank))
        template = chance.choice(bank[intent])
    text, urgency = _worded(chance, template)
    return Example(text, intent, urgency, phase)


def _worded(chance: random.Random, template: str) -> tuple[str, str]:
    """Return a message in somebody's words, and its urgency."""
    text = SLOT.sub(lambda slot: chance.choice(ALL_SLOTS[slot[1]]), template)
    urgency = chance.choices(["normal", "high", "low"], [6, 3, 2])[0]
    cue = {"normal": None, "high": chance.choice(URGENT), "low": chance.choice(RELAXED)}[urgency]
    parts = [text, *([cue] if cue else [])]
    if chance.random() < 0.35:
        parts.insert(0, chance.choice(GREETINGS))
    if chance.random() < 0.35:
        parts.append(chance.choice(CLOSINGS))
    return _noise(chance, chance.choice([", ", ". ", " - "]).join(parts)), urgency


def _noise(chance: random.Random, text: str) -> str:
    """Return the text with a typo now and then, and in somebody's own case."""
    letters = list(text)
    if chance.random() < 0.3 and len(letters) > 8:
        for _ in range(chance.choice([1, 1, 2])):
            place = chance.randrange(1, len(letters) - 1)
            kind = chance.choice(["drop", "swap", "double"])
            if kind == "drop":
                del letters[place]
            elif kind == "swap":
                letters[place - 1], letters[place] = letters[place], letters[place - 1]
            else:
                letters.insert(place, letters[place])
    text = "".join(letters)
    style = chance.random()
    if style < 0.45:
        return text[0].upper() + text[1:]
    if style < 0.5:
        return text.upper()
    return text + chance.choice(["", "", "!", "?", "."])
