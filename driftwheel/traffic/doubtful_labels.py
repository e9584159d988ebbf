"""Finds labels to look at again: those that sure answers of the model, or labels of requests like theirs, contradict.

As in confident learning (Northcutt et al., JAIR 70, 2021) an answer is sure where its probability is at least usual for
answers that people confirm. Requests are alike by the words that they share, the rarer the more (TF-IDF, cosine).
"""

import heapq
import math
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import median

from driftwheel.records.alias_key import AliasKey
from driftwheel.records.by_whom import Feedback, Trust
from driftwheel.records.nouns import Traffic
from driftwheel.store.ledger import Ledger
from driftwheel.store.tables import TABLES
from driftwheel.text.answers import right_label
from driftwheel.text.words import words
from driftwheel.traffic.feedback import words_about
from driftwheel.traffic.feedback_summary import ANSWERING, counted, decided_by
from driftwheel.traffic.outcome_query import is_answered

NEWEST = 2_000
"""Labelled requests that are compared: two seconds of a core."""
NEIGHBOURS, FEWEST_NEIGHBOURS = 5, 3
LEAST_SIMILARITY = 0.25
LEAST_SHARE = 0.25
"""Of the neighbours' votes: a label with less is contradicted by them."""
FEWEST_SURE = 20
"""Of fewer confirmed answers nobody knows how sure is usual."""
COMMON_SHARE = 0.1
"""Words that more of the requests have tell none of them from the others."""


@dataclass(frozen=True, kw_only=True)
class DoubtfulLabel:
    """A label that somebody should look at again, and what speaks against it."""

    request_id: str
    prompt: str
    label: str
    author: str
    """Whose word it is; empty where nobody knows."""
    trust: str
    model_says: str | None
    """What the model answered, where it was sure and said something else."""
    neighbours_say: str | None
    """The label of most requests like this one, where it is another."""
    doubt: float
    """From 0 to 2: one for a sure answer, and the share of the neighbours' votes that others got."""


@dataclass(frozen=True)
class _Labelled:
    request: Traffic
    label: str
    said: str | None
    """The label that the model's answer claims."""


def find_doubtful(ledger: Ledger, key: AliasKey, label_field: str | None) -> list[DoubtfulLabel]:
    """Return the labels of the newest requests that are in doubt, the most doubtful first.

    None where two authors say the same of a request, and none where answers are free texts, no two of which are alike.
    """
    columns = TABLES[Traffic].c
    found = ledger.find(
        Traffic,
        columns.label.is_not(None),
        is_answered(),
        project=key.project,
        alias=key.name,
        limit=NEWEST,
        without=("request", "response"),
    )
    rows = [row for request in found if (row := _read(request, label_field)) is not None]
    if 2 * len({row.label for row in rows}) > len(rows):
        return []
    given = words_about(ledger, [row.request.id for row in rows])
    sure, near = _least_of_sure(rows), _said_nearby(rows)
    doubtful = [_doubt(row, sure, near[n], given.get(row.request.id, [])) for n, row in enumerate(rows)]
    return sorted((d for d in doubtful if d is not None), key=lambda d: (-d.doubt, d.request_id))


def _read(request: Traffic, label_field: str | None) -> _Labelled | None:
    is_label_alone = request.label_source == "label" and label_field is not None
    label = request.label if is_label_alone else right_label(str(request.label), label_field)
    return None if label is None else _Labelled(request, label, right_label(request.answer, label_field))


def _least_of_sure(rows: Sequence[_Labelled]) -> float:
    """Return the log-probability from which on an answer is sure: the middle one of those that people confirm."""
    confirmed = [r.request.mean_logprob for r in rows if r.said == r.label and r.request.mean_logprob is not None]
    return median(confirmed) if len(confirmed) >= FEWEST_SURE else math.inf


def _doubt(row: _Labelled, sure: float, near: Mapping[str, float], given: Sequence[Feedback]) -> DoubtfulLabel | None:
    logprob = row.request.mean_logprob
    is_sure = row.said is not None and row.said != row.label and logprob is not None and logprob >= sure
    share = near.get(row.label, 0.0) if near else 1.0
    most = max(near, key=lambda label: near[label], default=row.label)
    is_alone = share < LEAST_SHARE and most != row.label
    if not (is_sure or is_alone) or _is_agreed(given):
        return None
    word = decided_by(given)
    return DoubtfulLabel(
        request_id=row.request.id,
        prompt=row.request.prompt,
        label=row.label,
        author=word.author if word else "",
        trust=str(word.trust if word else Trust.NONE),
        model_says=row.said if is_sure else None,
        neighbours_say=most if is_alone else None,
        doubt=float(is_sure) + 1 - share,
    )


def _is_agreed(given: Sequence[Feedback]) -> bool:
    """Say whether two authors gave the same label or correction; what each said last counts."""
    values = Counter(word.value for author in {w.author for w in given} for word in _last_of(given, author))
    return any(count > 1 for count in values.values())


def _last_of(given: Sequence[Feedback], author: str) -> list[Feedback]:
    return counted([word for word in given if word.author == author], *ANSWERING)[:1]


def _said_nearby(rows: Sequence[_Labelled]) -> list[dict[str, float]]:
    """Return for each row the shares of the labels among those most like it; none where too few are alike."""
    terms = [Counter(words(row.request.prompt)) for row in rows]
    held = Counter(term for own in terms for term in own)
    most = max(FEWEST_NEIGHBOURS, COMMON_SHARE * len(rows))
    weights = {term: math.log(len(rows) / count) for term, count in held.items() if 1 < count <= most}
    holders: defaultdict[str, list[tuple[int, float]]] = defaultdict(list)
    vectors = []
    for number, own in enumerate(terms):
        # The length counts every word, so that two requests are not alike for the sake of one that they share.
        length = math.sqrt(sum(math.log(len(rows) / held[term]) ** 2 for term in own)) or 1.0
        vectors.append({term: weights[term] / length for term in own if term in weights})
        for term, weight in vectors[-1].items():
            holders[term].append((number, weight))
    return [_votes(rows, number, vector, holders) for number, vector in enumerate(vectors)]


def _votes(
    rows: Sequence[_Labelled],
    number: int,
    vector: Mapping[str, float],
    holders: Mapping[str, Sequence[tuple[int, float]]],
) -> dict[str, float]:
    likeness: defaultdict[int, float] = defaultdict(float)
    for term, weight in vector.items():
        for other, its in holders[term]:
            if other != number:
                likeness[other] += weight * its
    nearest = heapq.nlargest(NEIGHBOURS, likeness.items(), key=lambda pair: (pair[1], -pair[0]))
    near = [(other, value) for other, value in nearest if value >= LEAST_SIMILARITY]
    if len(near) < FEWEST_NEIGHBOURS:
        return {}
    total, votes = sum(value for _, value in near), dict[str, float]()
    for other, value in near:
        votes[rows[other].label] = votes.get(rows[other].label, 0.0) + value / total
    return votes
