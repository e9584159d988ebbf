"""The queue of requests to label: those the model was least sure of, and among them some by chance, for honesty.

Labels of uncertain answers alone would say that the model is worse than it is, so every fifth is drawn by chance from
all that have no label. What is drawn is fixed when a sitting begins; whether a request is still open is asked before it
is shown.
"""

import random
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from dashboard.files import labels_in
from dashboard.traffic_search import SCANNED_ROWS
from driftwheel.errors import ConflictError
from driftwheel.records.by_whom import PERSON, Feedback, FeedbackKind, Trust
from driftwheel.records.nouns import Dataset, ModelVersion, Traffic
from driftwheel.settings.serving import TrafficSettings
from driftwheel.store.any_of import any_of
from driftwheel.store.ledger import Ledger
from driftwheel.store.tables import TABLES
from driftwheel.text.answers import label_of
from driftwheel.traffic.feedback import Author, give_feedback, person, withdraw_feedback, words_about
from driftwheel.traffic.feedback_summary import ANSWERING, BY_TRUST, decided_by
from driftwheel.traffic.outcome_query import is_answered, is_unwatched

SITTING = 200
RANDOM_EVERY = 5
"""Each of these places of the queue is drawn by chance."""
MOST_KEYS = 9
NO_LABEL = "(none)"
"""How a Dataset's report calls the rows that have none."""

_TRAFFIC = TABLES[Traffic].c


@dataclass(frozen=True, kw_only=True)
class ToLabel:
    """One request as it is shown to who labels."""

    id: str
    prompt: str
    answer: str
    suggestion: str | None
    """The label that the model's answer claims; None where it is no label."""


def draw_queue(ledger: Ledger, project: str, seed: int, rows: int = SITTING) -> tuple[str, ...]:
    """Return the ids of answered requests without a label, in the order in which to ask for them.

    Of the newest requests alone, as many as one step of a search reads: older ones say less of now.
    """
    newest = sa.select(_TRAFFIC.created_at).where(_TRAFFIC.project == project).order_by(_TRAFFIC.created_at.desc())
    is_open = [_TRAFFIC.project == project, _TRAFFIC.label.is_(None), is_answered(), sa.not_(is_unwatched())]
    with ledger.read() as connection:
        wall = connection.execute(newest.limit(1).offset(SCANNED_ROWS)).scalar()
        query = sa.select(_TRAFFIC.id, _TRAFFIC.mean_logprob, _TRAFFIC.created_at).where(*is_open)
        found = connection.execute(query if wall is None else query.where(_TRAFFIC.created_at >= wall)).all()
    # Where nobody asked for log-probabilities all are alike, and the newest come first.
    newest_first = sorted(found, key=lambda row: (-row.created_at.timestamp(), row.id))
    unsure = sorted(newest_first, key=lambda row: 0.0 if row.mean_logprob is None else row.mean_logprob)
    ids = [row.id for row in unsure]
    return _mixed(ids, random.Random(seed).sample(sorted(ids), k=min(rows, len(ids))), rows)


def _mixed(unsure: Sequence[str], by_chance: Sequence[str], rows: int) -> tuple[str, ...]:
    """Return every fifth by chance and the others in order, each once."""
    chosen: dict[str, None] = {}
    in_order, chance = iter(unsure), iter(by_chance)
    while len(chosen) < min(rows, len(unsure)):
        source = chance if len(chosen) % RANDOM_EVERY == RANDOM_EVERY - 1 else in_order
        chosen[next(id for id in source if id not in chosen)] = None
    return tuple(chosen)


def next_of(
    ledger: Ledger, project: str, queue: Sequence[str], passed: Collection[str], label_field: str | None
) -> ToLabel | None:
    """Return the first request of a queue that is still without a label and was not passed; None at its end."""
    open_ids = [id for id in queue if id not in passed]
    # By id alone: asked for more, SQLite without statistics walks through all requests of the project.
    query = sa.select(_TRAFFIC.id, _TRAFFIC.project, _TRAFFIC.label.is_(None)).where(_TRAFFIC.id.in_(open_ids))
    with ledger.read() as connection:
        still = {id for id, of, is_open in connection.execute(query) if of == project and is_open}
    chosen = next((id for id in open_ids if id in still), None)
    if chosen is None:
        return None
    row = ledger.get(Traffic, chosen, without=("request", "response"))
    return ToLabel(id=row.id, prompt=row.prompt, answer=row.answer, suggestion=label_of(row.answer, label_field))


def labels_of(ledger: Ledger, project: str, version_id: str) -> list[str]:
    """Return the labels that a version learned, the most frequent first; none where the task has no labels."""
    versions = ledger.find(
        ModelVersion, id=version_id, project=project, without=("scorecard", "fingerprint", "verdict")
    )
    if not versions:
        return []
    dataset = ledger.get(Dataset, versions[0].dataset_id)
    known, count = dataset.report.labels, dataset.report.distinct_labels
    if count * 5 > dataset.train_rows + dataset.validation_rows + dataset.test_rows:
        return []  # free texts, of which hardly one is said twice
    if count > len(known):  # a report names the commonest alone
        known = labels_in(Path(dataset.path) / "train.jsonl") or known
    return sorted(known.keys() - {NO_LABEL}, key=lambda name: (-known[name], name))


NAMELESS = person("dashboard").id
"""Who labels without a name: perhaps several people, whom only their tabs tell apart."""


def give_label(
    traffic: TrafficSettings,
    ledger: Ledger,
    project: str,
    request_id: str,
    *,
    author: Author,
    label: str | None,
    own: Collection[str] = (),
) -> tuple[str, ...]:
    """Write down a person's label of the request that they saw, or with None that the answer is right as it is.

    `own` are ids of words that this person has said, by which one without a name is known from another.
    Returns the ids of the words that this added, for who takes them back.
    Raises ConflictError where somebody else has labelled it meanwhile: theirs stays, and the two should talk.
    """
    before = words_about(ledger, [request_id]).get(request_id, [])
    _ask_for_others(before, request_id, author, own)
    if label is None:
        give_feedback(traffic, ledger, project, request_id, author=author, thumb=1)
    else:
        give_feedback(traffic, ledger, project, request_id, author=author, label=label)
    known = {word.id for word in before}
    after = words_about(ledger, [request_id])[request_id]
    new = tuple(word.id for word in after if word.author == author.id and word.id not in known)
    # Between the look and the write another may have been first: then theirs stays, as if it had been seen.
    earlier = after[: min((i for i, word in enumerate(after) if word.id in new), default=0)]
    try:
        _ask_for_others(earlier, request_id, author, [*own, *known])
    except ConflictError:
        withdraw_feedback(ledger, project, request_id, author=author, ids=new)
        raise
    return new


def keep_label(
    traffic: TrafficSettings, ledger: Ledger, project: str, request_id: str, *, author: Author, seen: str
) -> None:
    """Say again, as one's own word, what makes the label of a request, so that it is in doubt no more.

    `seen` is the author whose word was shown. Raises ConflictError where another's counts meanwhile.
    """
    word = decided_by(words_about(ledger, [request_id]).get(request_id, []))
    if word is None or word.author != seen:
        raise ConflictError(f"the label of {request_id} is another's meanwhile; look again")
    said: dict[str, Any] = {str(word.kind): 1 if word.kind is FeedbackKind.THUMB else word.value}
    give_feedback(traffic, ledger, project, request_id, author=author, **said)


def _ask_for_others(words: Sequence[Feedback], request_id: str, author: Author, own: Collection[str]) -> None:
    """Raise ConflictError if somebody else, as trusted as the author, is among those who said what is right."""
    said = [
        w
        for w in equals(words, author)
        if w.withdrawn_at is None and w.id not in own and (w.kind in ANSWERING or _accepts(w))
    ]
    others = [w for w in said if w.author != author.id or author.id == NAMELESS]
    if others:
        who = others[-1].author if others[-1].author != NAMELESS else "somebody without a name"
        raise ConflictError(f"{who} has labelled {request_id} meanwhile; yours was not written down")


def equals(words: Sequence[Feedback], author: Author) -> list[Feedback]:
    """Return the words of those who are as trusted as an author, or more: no other can stand in the author's way.

    A key without trust would else keep people from labelling whatever it has labelled before.
    """
    return [word for word in words if BY_TRUST.index(Trust(word.trust)) >= BY_TRUST.index(author.trust)]


def _accepts(word: Feedback) -> bool:
    """Whether a person who labels said that the answer is right; a user's thumb is no label of anybody here."""
    return word.kind is FeedbackKind.THUMB and word.value == "1" and word.author.startswith(PERSON)


def open_among(ledger: Ledger, project: str, ids: Collection[str]) -> tuple[str, ...]:
    """Return those of some requests that have no label yet, in their order."""
    query = sa.select(_TRAFFIC.id, _TRAFFIC.project).where(any_of(_TRAFFIC.id, sorted(ids)), _TRAFFIC.label.is_(None))
    with ledger.read() as connection:
        found = {id for id, of in connection.execute(query) if of == project}
    return tuple(id for id in dict.fromkeys(ids) if id in found)
