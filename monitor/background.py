"""What a version learned from, prepared for looking up: words, word pairs, letter groups, and the nearest text; pure.

Of each prompt it tells how far it is from anything in the training texts (cosine distance of words weighted by inverse
document frequency, Spärck Jones 1972), how much of it is unknown to them, and which labels the texts have that are
nearest. It is fitted once for a version; to look up a row costs some ten microseconds for each of its words.
"""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any

import numpy as np
from scipy import sparse

from driftwheel.text.copied_words import facts_of
from driftwheel.text.words import words
from monitor.calibration import Array

MOST_COMMON_SHARE = 0.1
"""Words that more of the texts have tell nothing of what a text is about, and cost the most time."""
NEIGHBORS = 5
"""Nearest training texts whose labels are asked: one alone is mislabelled too often."""
LONGEST_TEXT = 4_000
"""Characters that are read of a text: an answer of 2 MB costs no more than any other."""


@dataclass(frozen=True, slots=True)
class LearnedText:
    """A training row: the last user message, the answer to learn, and its label."""

    prompt: str
    answer: str
    label: str | None


@dataclass(frozen=True, slots=True)
class Tokens:
    """A text's words in order, and the set of its words and word pairs."""

    words: tuple[str, ...]
    distinct: frozenset[str]

    @property
    def pairs(self) -> Iterable[str]:
        """The neighbouring words."""
        return (f"{a} {b}" for a, b in pairwise(self.words))


def tokens_of(text: str) -> Tokens:
    """Split a text, or the beginning of a very long one."""
    found = tuple(words(text[:LONGEST_TEXT]))
    return Tokens(found, frozenset((*found, *(f"{a} {b}" for a, b in pairwise(found)))))


def letter_groups(word: str) -> list[str]:
    """Return a word's groups of three letters, with its ends marked."""
    marked = f"^{word}$"
    return [marked[i : i + 3] for i in range(len(marked) - 2)]


@dataclass(frozen=True, eq=False)
class Background:
    """The training texts of a version; each is the same as itself alone, so that what was computed with it is kept."""

    count: int
    prompt_tokens: Counter[str]
    """In how many prompts each word and pair is."""
    answer_tokens: Counter[str]
    labels: Counter[str]
    columns: dict[str, int]
    """Column of each word that is rare enough to say what a text is about."""
    weights: Array
    texts: Any
    """Weighted words of all prompts, of shape (columns, texts); each text has length 1."""
    label_of_text: tuple[str | None, ...]
    groups: frozenset[str]
    """Groups of three letters."""
    facts: frozenset[str]
    """Words that answers take from their prompts, such as names; none where answers are labels."""

    @property
    def has_labels(self) -> bool:
        """Whether most of the texts have a label."""
        return 2 * sum(self.labels.values()) > self.count


def background_of(learned: Sequence[LearnedText]) -> Background:
    """Prepare training texts."""
    prompts = [tokens_of(text.prompt) for text in learned]
    counts = Counter(token for prompt in prompts for token in prompt.distinct)
    single = {word for prompt in prompts for word in prompt.words}
    most = max(2.0, MOST_COMMON_SHARE * len(learned))
    columns = {word: place for place, word in enumerate(sorted(w for w in single if counts[w] <= most))}
    in_texts = np.array([counts[word] for word in columns], dtype=np.float64)
    weights = np.log((1 + len(learned)) / (1 + in_texts))
    return Background(
        count=len(learned),
        prompt_tokens=counts,
        answer_tokens=Counter(token for text in learned for token in tokens_of(text.answer).distinct),
        labels=Counter(text.label for text in learned if text.label is not None),
        columns=columns,
        weights=weights,
        texts=weighted(prompts, columns, weights, counts, len(learned)).T.tocsr(),
        label_of_text=tuple(text.label for text in learned),
        groups=frozenset(group for word in single for group in letter_groups(word)),
        facts=_facts(learned, prompts),
    )


def _facts(learned: Sequence[LearnedText], prompts: Sequence[Tokens]) -> frozenset[str]:
    """Return the facts of texts; a label has words of its prompt too, and invents nothing."""
    if 2 * sum(text.label is not None for text in learned) > len(learned):
        return frozenset()
    return facts_of(
        (prompt.distinct, frozenset(words(text.answer[:LONGEST_TEXT])))
        for text, prompt in zip(learned, prompts, strict=True)
    )


def nothing_of(background: Background) -> Background:
    """Return the same without counts: as if nothing had been learned, as far as shares are compared."""
    return replace(background, count=0, prompt_tokens=Counter(), answer_tokens=Counter(), labels=Counter())


def weighted(
    prompts: Sequence[Tokens], columns: dict[str, int], weights: Array, known: Counter[str], count: int
) -> Any:
    """Return the weighted words of prompts, of shape (prompts, columns).

    An unknown word has no column, and the largest weight; the lengths count it, so that it makes a prompt less like
    all others.
    """
    unknown_squared = np.log(1.0 + count) ** 2
    places: list[int] = []
    lengths: list[float] = []
    ends = [0]
    for prompt in prompts:
        distinct = dict.fromkeys(prompt.words)  # in their order: sums of a set's members differ from process to process
        found = [columns[word] for word in distinct if word in columns]
        unknown = sum(word not in known for word in distinct)
        lengths.append(float(np.square(weights[found]).sum()) + unknown * unknown_squared)
        places += found
        ends.append(len(places))
    rows = np.repeat(np.sqrt(np.maximum(lengths, 1e-9)), np.diff(ends))
    data = weights[places] / rows if places else np.zeros(0)
    return sparse.csr_array(
        (data, np.array(places, dtype=np.int64), np.array(ends)), shape=(len(prompts), len(columns))
    )


@dataclass(frozen=True)
class Nearest:
    """The training text that is most like a prompt."""

    similarity: Array
    labels: tuple[str | None, ...]
    """The label that most of the nearest texts have."""
    agreement: Array
    """How much of the nearest texts' weight has that label, 0 to 1."""
    vectors: Any
    """The prompts' weighted words, of shape (prompts, columns)."""


def nearest(background: Background, prompts: Sequence[Tokens]) -> Nearest:
    """Find the nearest training texts of prompts."""
    rows = weighted(prompts, background.columns, background.weights, background.prompt_tokens, background.count)
    alike = sparse.csr_array(rows @ background.texts)
    similarity, agreement = np.zeros(len(prompts)), np.zeros(len(prompts))
    labels: list[str | None] = []
    negative, texts = -alike.data, alike.indices
    for row, (start, end) in enumerate(pairwise(alike.indptr.tolist())):
        if start == end:
            labels.append(None)
            continue
        best = np.argpartition(negative[start:end], min(NEIGHBORS, end - start) - 1)[:NEIGHBORS] + start
        votes: dict[str | None, float] = {}
        weights = (-negative[best]).tolist()
        for text, weight in zip(texts[best].tolist(), weights, strict=True):
            votes[background.label_of_text[text]] = votes.get(background.label_of_text[text], 0) + weight
        label = max(votes, key=votes.__getitem__)  # of two with as much, the one that came first
        labels.append(label)
        similarity[row], agreement[row] = max(weights), votes[label] / max(1e-9, sum(weights))
    return Nearest(similarity, tuple(labels), agreement, rows)
