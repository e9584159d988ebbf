"""Cheap signals of each row, computed once: how new a prompt is, how it is written, and what the answer is like; pure.

Each signal is one number a row. A new one is an entry of `SIGNALS`; the scan and the diagnosis take it from there.
"""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from itertools import pairwise
from typing import Any

import numpy as np
from scipy.stats import norm

from driftwheel.records.nouns import DriftKind
from driftwheel.text.answers import parse_object
from driftwheel.text.copied_words import stated
from monitor.background import LONGEST_TEXT, Background, Nearest, Tokens, letter_groups, nearest, tokens_of
from monitor.calibration import Array
from monitor.observation import Observation
from monitor.ranks import mid_ranks

SURE = 0.75
"""Share of the nearest texts' weight beyond which their label is taken for the right one."""
LONGEST_KEPT = 300
"""Characters of an answer whose words are kept."""
TOGETHER = ("novelty", "unknown_words", "unknown_pairs", "doubt")
"""What strangeness is put together from."""


@dataclass(frozen=True, slots=True)
class Row:
    """A row with what was looked up of it."""

    observation: Observation
    prompt: Tokens
    answer: Tokens
    similarity: float
    nearest_label: str | None
    agreement: float
    """How much of the nearest training texts' weight has that label."""

    @property
    def is_sure(self) -> bool:
        """Whether the nearest training texts agree on the label."""
        return self.nearest_label is not None and self.agreement > SURE


@dataclass(frozen=True, kw_only=True)
class RowSignal:
    """One property of a row."""

    name: str
    kind: DriftKind
    says: str
    """What it is, for a sentence about its mean."""
    unit: str
    value: Callable[[Row, Background], float]
    is_one_sided: bool = False
    """Whether only more of it tells anything."""
    weight: int = 1
    """Its share of the level, beside the others."""


def _share(part: float, of: float) -> float:
    return part / of if of else 0.0


@dataclass(frozen=True)
class Characters:
    """A kind of characters, counted a hundred times as fast as by asking each: a signal does so for each row."""

    are_such: Callable[[str], bool]

    @cached_property
    def _of_ascii(self) -> bytes:
        return bytes(code for code in range(128) if self.are_such(chr(code)))

    def count(self, text: str) -> int:
        """Return how many of a text's characters are such."""
        if text.isascii():
            return len(text) - len(text.encode("ascii").translate(None, self._of_ascii))
        return sum(count for character, count in Counter(text).items() if self.are_such(character))


LETTERS, CAPITALS = Characters(str.isalpha), Characters(str.isupper)
SIGNS = Characters(lambda character: not (character.isalpha() or character.isspace()))


def _unknown_groups(row: Row, background: Background) -> float:
    words, known = row.prompt.words, background.prompt_tokens
    # A word has as many groups as letters, and those of a known word are known.
    unknown = [group for word in words if word not in known for group in letter_groups(word)]
    return _share(sum(group not in background.groups for group in unknown), sum(map(len, words)))


def _unknown_words(tokens: Tokens, known: dict[str, int]) -> float:
    return _share(len([word for word in tokens.words if word not in known]), len(tokens.words))


def _unknown_pairs(row: Row, background: Background) -> float:
    known = background.prompt_tokens
    words = row.prompt.words
    pairs = [f"{a} {b}" for a, b in pairwise(words) if a in known and b in known]
    return _share(sum(pair not in known for pair in pairs), len(pairs))


def _invented(row: Row, background: Background) -> float:
    facts = stated(background.facts, row.answer.words) if background.facts else set()
    return _share(len(facts - row.prompt.distinct), len(facts))


def _agrees(row: Row, _: Background) -> float:
    """Return 1 or 0 where the nearest texts are sure of a label, and a half where they are not."""
    if not row.is_sure:
        return 0.5
    return float(row.nearest_label == row.observation.label)


SIGNALS = (
    RowSignal(
        name="novelty",
        kind=DriftKind.INPUT,
        says="distance of prompts to the nearest training text",
        unit="distance",
        value=lambda row, _: 1.0 - row.similarity,
        is_one_sided=True,
    ),
    RowSignal(
        name="unknown_words",
        kind=DriftKind.INPUT,
        says="share of words that no training text has",
        unit="share",
        value=lambda row, background: _unknown_words(row.prompt, background.prompt_tokens),
        is_one_sided=True,
    ),
    RowSignal(
        name="unknown_letter_groups",
        kind=DriftKind.INPUT,
        says="share of letter groups that no training text has",
        unit="share",
        value=_unknown_groups,
        is_one_sided=True,
    ),
    RowSignal(
        name="unknown_pairs",
        kind=DriftKind.INPUT,
        says="share of neighbouring known words that no training text has next to each other",
        unit="share",
        value=_unknown_pairs,
        is_one_sided=True,
    ),
    RowSignal(
        name="doubt",
        kind=DriftKind.INPUT,
        says="share of the nearest training texts' weight that has another label",
        unit="share",
        value=lambda row, _: 1.0 - row.agreement,
        is_one_sided=True,
    ),
    RowSignal(
        name="prompt_words",
        kind=DriftKind.INPUT,
        says="words of a prompt",
        unit="words",
        value=lambda row, _: len(row.prompt.words),
    ),
    RowSignal(
        name="prompt_capitals",
        kind=DriftKind.INPUT,
        says="share of capitals among the letters of prompts",
        unit="share",
        value=lambda row, _: _share(
            CAPITALS.count(start := row.observation.prompt[:LONGEST_TEXT]), LETTERS.count(start)
        ),
    ),
    RowSignal(
        name="prompt_signs",
        kind=DriftKind.INPUT,
        says="share of characters of prompts that are no letters or spaces",
        unit="share",
        value=lambda row, _: _share(SIGNS.count(start := row.observation.prompt[:LONGEST_TEXT]), len(start)),
    ),
    RowSignal(
        name="strangeness",
        kind=DriftKind.INPUT,
        says="strangeness of prompts: novelty, unknown words and pairs, and doubt between labels together",
        unit="standard scores",
        value=lambda *_: 0.0,  # put together from the others, by `_strangeness`
        is_one_sided=True,
        weight=4,
    ),
    RowSignal(
        name="agreement",
        kind=DriftKind.OUTPUT,
        says="share of answers with the label that the nearest training texts have",
        unit="share",
        value=_agrees,
    ),
    RowSignal(
        name="answer_length",
        kind=DriftKind.OUTPUT,
        says="characters of an answer",
        unit="characters",
        value=lambda row, _: len(row.observation.answer),
    ),
    RowSignal(
        name="unknown_answer_words",
        kind=DriftKind.OUTPUT,
        says="share of an answer's words that no training answer has",
        unit="share",
        value=lambda row, background: _unknown_words(row.answer, background.answer_tokens),
        is_one_sided=True,
    ),
    RowSignal(
        name="invented",
        kind=DriftKind.OUTPUT,
        says="share of an answer's facts that its prompt does not have",
        unit="share",
        value=_invented,
        is_one_sided=True,
    ),
    RowSignal(
        name="no_json",
        kind=DriftKind.OUTPUT,
        says="share of answers that are no JSON object",
        unit="share",
        value=lambda row, _: float(parse_object(row.observation.answer) is None),
        is_one_sided=True,
    ),
    RowSignal(
        name="no_known_label",
        kind=DriftKind.OUTPUT,
        says="share of answers without a label that the training texts have",
        unit="share",
        value=lambda row, background: float(row.observation.label not in background.labels),
        is_one_sided=True,
    ),
)


@dataclass(frozen=True)
class Signalled:
    """Rows with their signals."""

    rows: tuple[Row, ...]
    values: Array
    """Of shape (rows, signals)."""
    vectors: Any
    """Weighted words, of shape (rows, columns of the background)."""


def signalled(
    observations: Sequence[Observation], background: Background, standard: Signalled | None = None
) -> Signalled:
    """Compute the signals of rows; `standard` are the rows among which strangeness is ranked, without it these."""
    prompts = [tokens_of(row.prompt) for row in observations]
    found = nearest(background, prompts)
    rows = tuple(_row(place, observations[place], prompts[place], found) for place in range(len(prompts)))
    values = np.array([[signal.value(row, background) for signal in SIGNALS] for row in rows], dtype=np.float64)
    values = values.reshape(len(rows), len(SIGNALS))
    if len(rows):
        values[:, PLACES["strangeness"]] = _strangeness(values, standard.values if standard else values)
    return Signalled(rows, values, found.vectors)


PLACES = {signal.name: place for place, signal in enumerate(SIGNALS)}


def _strangeness(values: Array, standard: Array) -> Array:
    """Return the sum of normal scores: of four signals none alone tells a new topic, and together they do."""
    scores = [
        norm.ppf(np.clip(mid_ranks(standard[:, p], values[:, p]), 0.001, 0.999)) for p in map(PLACES.get, TOGETHER)
    ]
    return np.asarray(np.sum(scores, axis=0))


def _answer_tokens(answer: str) -> Tokens:
    return _tokens_kept(answer) if len(answer) <= LONGEST_KEPT else tokens_of(answer)


# Where an answer is a label or a small object, the same few come again and again.
_tokens_kept = lru_cache(maxsize=1024)(tokens_of)


def _row(place: int, observation: Observation, prompt: Tokens, found: Nearest) -> Row:
    return Row(
        observation=observation,
        prompt=prompt,
        answer=_answer_tokens(observation.answer),
        similarity=float(found.similarity[place]),
        nearest_label=found.labels[place],
        agreement=float(found.agreement[place]),
    )
