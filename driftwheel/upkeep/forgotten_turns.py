"""Finds all that a user said in logged requests and in rows of Datasets: in every turn of a conversation, not the last.

A client sends the whole conversation with each request. The log's `prompt` holds what was said last, and what came
before it may stand nowhere else: the earlier requests have left the log, or the client kept them to itself.
"""

from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence

from driftwheel.foreign_json import read_json
from driftwheel.records.nouns import Traffic
from driftwheel.store.ledger import Ledger

BATCH_ROWS = 200
"""Bodies in memory at once: each holds a whole conversation."""
ANSWER = "response"
NEWEST = 200
"""Requests of others among which an application's own turns are recognized."""
SHARED, LEAST_SHARED = 0.2, 20
"""A turn before the last that so many of them have is an example which the application puts before every question.
Taken for somebody's words it would empty every evaluation and every fingerprint; one who is only quoted is in fewer."""


def turns_of(ledger: Ledger, ids: Sequence[str]) -> set[str]:
    """Return what users said in some logged requests, each turn once."""
    found = set[str]()
    for start in range(0, len(ids), BATCH_ROWS):
        batch = list(ids[start : start + BATCH_ROWS])
        for row in ledger.find(Traffic, without=(ANSWER,), id=batch):
            found.add(row.prompt)
            found.update(turns_in(row.request))
    return found


def turns_of_everybody(ledger: Ledger, project: str, ids: Collection[str]) -> set[str]:
    """Return the turns before the last that many of the newest requests of others have: the application's examples."""
    found = Counter[str]()
    newest = ledger.find(Traffic, project=project, without=(ANSWER,), limit=NEWEST)
    others = [row for row in newest if row.id not in ids]
    for row in others:
        found.update({*turns_in(row.request)} - {row.prompt})
    return {text for text, count in found.items() if count >= max(LEAST_SHARED, SHARED * len(others))}


def turns_in(body: str) -> Iterator[str]:
    """Give what the user said in a request's body: also in one that nobody can learn from, such as beside an image."""
    try:
        fields = read_json(body)
    except ValueError:  # an imported row has none
        return
    if isinstance(fields, dict):
        for name in ("messages", "input", "prompt"):
            yield from said_by_user(fields.get(name))


def said_by_user(given: object) -> Iterator[str]:
    """Give the user's texts of messages, of input items, or of a plain prompt: each part, and a turn's parts together.

    What stands in a system prompt is the application's, and the same for all its users.
    """
    for turn in given if isinstance(given, list) else [given]:
        if isinstance(turn, str):
            yield turn
        elif isinstance(turn, Mapping) and turn.get("role") == "user":
            yield from _texts(turn.get("content"))


def _texts(content: object) -> Iterator[str]:
    parts = content if isinstance(content, list) else [content]
    texts = [part.get("text") if isinstance(part, Mapping) else part for part in parts]
    kept = [text for text in texts if isinstance(text, str)]
    yield from kept
    if len(kept) > 1:
        yield "\n".join(kept)
