"""Admits rows that nobody trusted has vouched for: few of each key, few in all, and none that looks planted.

Who may ask the model may also say what it should have said, and a model learns what it is told. So a row of a key
without trust teaches only where trusted rows say the same of questions like it: it adds words to what is known, and no
answer. What is held back waits for a person (`driftwheel feedback confirm`); nothing here ever judges a candidate.
"""

import itertools
from collections import Counter
from collections.abc import Collection, Iterable, Sequence
from typing import Any

from driftwheel.settings.data import DatasetSettings
from driftwheel.text.words import is_one_term, words
from train.data.examples import Example
from train.data.splitting.tally import Tally

NEIGHBOURS = 5
"""Trusted rows that are asked what a row's label is; an odd number, so that two labels do not draw."""
LEAST_SIMILARITY = 0.15
"""Cosine of TF-IDF vectors of words and pairs of words; two questions with a rare word in common have about 0.2."""
BLOCK_ROWS = 256
"""Rows that are compared at once."""
PLANTED_WORD_ROWS, PLANTED_PAIR_ROWS = 2, 3
"""Unverified rows that share what no trusted row has: from so many on it is no slip of the pen. A single word is rarer
than a pair of words, which honest people come upon by chance."""


class Admission:
    """What rows of keys without trust may still be learned."""

    def __init__(
        self, settings: DatasetSettings, verified: Sequence[Example], unverified: Sequence[Example], tally: Tally
    ) -> None:
        """Compare all unverified rows, fresh ones and those learned before, with the trusted ones."""
        self._settings, self._tally = settings, tally
        self._planted = planted(unverified, verified)
        self._verified = TrustedAnswers(verified)
        self._contradicted: dict[str, bool] = {}
        self._of_author: Counter[str] = Counter()

    def admit(self, rows: Iterable[Example], denied: Collection[str] = ()) -> list[Example]:
        """Return the rows that may be learned, each author's first before anybody's second; the report counts the rest.

        So one who sends many keeps nobody else out. Of the rows in `denied`, by id, the author says that the answer is
        wrong: there the trusted rows must say another.
        """
        kept, ordered = [], _in_turns(rows)
        for number, row in enumerate(ordered):
            # Block by block, and none that a cap keeps out: a comparison costs as much as there are trusted rows.
            if row.id not in self._contradicted and self._refused_unread(row) is None:
                block = ordered[number : number + BLOCK_ROWS]
                self._contradicted |= self._compared(block, denied)
            if reason := self._against(row):
                self._tally.dropped[reason] += 1
            else:
                self._of_author[str(row.author)] += 1
                kept.append(row)
        return kept

    def _compared(self, block: Sequence[Example], denied: Collection[str]) -> dict[str, bool]:
        """Return by id whether the trusted rows say otherwise, or nothing at all."""
        against = self._verified.contradicted(block)
        unknown = self._verified.unknown(block) if denied else set()
        return {e.id: e.id in unknown or (e.id in against) is (e.id not in denied) for e in block}

    def _against(self, row: Example) -> str | None:
        if reason := self._refused_unread(row):
            return reason
        return "unverified, and trusted rows do not say the same" if self._contradicted[row.id] else None

    def _refused_unread(self, row: Example) -> str | None:
        if row.id in self._planted:
            return "unverified, with words that no trusted row has"
        return over_cap(self._settings, self._of_author, str(row.author))


def over_cap(settings: DatasetSettings, of_author: Counter[str], author: str) -> str | None:
    """Say which cap one more row of an author without trust would break, if it would break one."""
    if of_author[author] >= settings.max_rows_per_key:
        return "unverified, over dataset.max_rows_per_key"
    if of_author.total() >= settings.max_unverified_rows:
        return "unverified, over dataset.max_unverified_rows"
    return None


def within_caps(settings: DatasetSettings, rows: Iterable[Example], tally: Tally) -> list[Example]:
    """Return the rows that the caps let in, each author's first before anybody's second; compared with nothing."""
    of_author, kept = Counter[str](), []
    for row in _in_turns(rows):
        if reason := over_cap(settings, of_author, str(row.author)):
            tally.dropped[reason] += 1
        else:
            of_author[str(row.author)] += 1
            kept.append(row)
    return kept


def planted(unverified: Sequence[Example], verified: Sequence[Example]) -> set[str]:
    """Return the ids of rows with words, or pairs of words, that several unverified rows have and no trusted one."""
    known = {phrase for row in verified for phrase in _phrases(row)}
    holders: dict[str, set[str]] = {}
    for row in unverified:
        for phrase in _phrases(row) - known:
            holders.setdefault(phrase, set()).add(row.id)
    least = {True: PLANTED_PAIR_ROWS, False: PLANTED_WORD_ROWS}
    return {id for phrase, ids in holders.items() if len(ids) >= least[" " in phrase] for id in ids}


class TrustedAnswers:
    """What trusted rows say, to be asked about questions like theirs."""

    def __init__(self, verified: Sequence[Example]) -> None:
        self._rows = [row for row in verified if row.label is not None]
        self._is_asked = bool(self._rows) and not are_texts([str(row.label) for row in self._rows])
        self._vectors: Any = None
        self._known: Any = None

    def contradicted(self, rows: Sequence[Example]) -> set[str]:
        """Return the ids of rows with another label than most of the trusted rows most like them, or like none.

        Where answers are free texts, of which hardly two are the same, nobody can be asked so, and none is returned.
        """
        said = self._said(rows)
        return {row.id for row in rows if row.id in said and said[row.id] != row.label}

    def unknown(self, rows: Sequence[Example]) -> set[str]:
        """Return the ids of rows like which there is no trusted one."""
        return {id for id, label in self._said(rows).items() if label is None}

    def _said(self, rows: Sequence[Example]) -> dict[str, str | None]:
        """Return by id the label of most of the trusted rows most like a row, or None if there are none.

        A row about which nobody can be asked is not among them.
        """
        if not self._rows:
            return {row.id: None for row in rows if row.label is not None}
        if not rows or not self._is_asked:
            return {}
        self._read()
        # Sparse, so that a row costs the trusted rows that share a word with it, and no memory for all the others.
        nearness = (self._vectors.transform([row.conversation for row in rows]) @ self._known).tocsr()
        found: dict[str, str | None] = {}
        for number, row in enumerate(rows):
            part = slice(nearness.indptr[number], nearness.indptr[number + 1])
            near, places = nearness.data[part], nearness.indices[part]
            votes: Counter[str] = Counter()
            for place in near.argsort()[-NEIGHBOURS:]:
                if near[place] >= LEAST_SIMILARITY:
                    votes[str(self._rows[places[place]].label)] += near[place]
            found[row.id] = votes.most_common(1)[0][0] if votes else None
        return found

    def _read(self) -> None:
        if self._vectors is None:
            from sklearn.feature_extraction.text import TfidfVectorizer

            self._vectors = TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True, token_pattern=r"(?u)\b\w+\b")
            self._known = self._vectors.fit_transform([row.conversation for row in self._rows]).T.tocsr()


def are_texts(labels: Sequence[str]) -> bool:
    """Say whether answers are free texts: mostly of several words, and hardly two the same."""
    is_repeated = 2 * len(set(labels)) <= len(labels)
    return not is_repeated and 2 * sum(map(is_one_term, labels)) < len(labels)


def _phrases(row: Example) -> set[str]:
    """Return a question's words, its pairs of words, and the signs in it that belong to no word."""
    said = words(row.conversation)
    signs = {sign for sign in row.conversation if not sign.isalnum() and not sign.isspace()}
    return {*said, *signs, *(f"{a} {b}" for a, b in itertools.pairwise(said))}


def _in_turns(rows: Iterable[Example]) -> list[Example]:
    """Return rows so that each author's n-th comes before anybody's next one."""
    turns: Counter[str] = Counter()
    numbered = []
    for row in rows:
        numbered.append((turns[str(row.author)], row))
        turns[str(row.author)] += 1
    return [row for _, row in sorted(numbered, key=lambda pair: pair[0])]
