"""Takes out of a live Dataset's rows what was taken back since: words that nobody stands by neither teach nor judge."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from driftwheel.records.by_whom import Feedback, FeedbackKind
from driftwheel.records.nouns import Traffic
from driftwheel.settings.data import DatasetSettings
from driftwheel.store.ledger import Ledger
from driftwheel.text.answers import AnswerForm, field_for, right_label
from driftwheel.text.conversations import said
from driftwheel.traffic.feedback import words_about
from train.data.examples import Example
from train.data.live.traffic_rows import right_answer
from train.data.splitting.clean_rows import answer_as_learned
from train.data.splitting.splits import Splits
from train.data.splitting.tally import Tally

WITHDRAWN = "in the live dataset, but what was said about it was taken back"


@dataclass(frozen=True, kw_only=True)
class Said:
    """What some requests' authors stand by, and what they took back."""

    now: set[str] = field(default_factory=set)
    """Right answers, as a Dataset holds them."""
    taken_back: set[str] = field(default_factory=set)
    speaks: bool = False
    """A request among them still has a label, or is not in the log any more: then nobody can tell."""


def without_withdrawn(
    settings: DatasetSettings, ledger: Ledger, splits: Splits, form: AnswerForm | None, tally: Tally
) -> Splits:
    """Return the rows of a Dataset without answers that were taken back since; the report counts rows that end so.

    A row that several requests taught stays while one of them says so. Rows of files, and of Datasets that were built
    before rows knew their requests, stay as they are.
    """
    ids = sorted({id for rows in splits.values() for e in rows for id in e.requests})
    words = {id: given for id, given in words_about(ledger, ids).items() if any(w.withdrawn_at for w in given)}
    # Only what was taken back can change a row, so that the log is read for those few.
    concerned = sorted({id for rows in splits.values() for e in rows if words.keys() & e.requests for id in e.requests})
    requests = {request.id: request for request in ledger.find(Traffic, id=concerned)} if concerned else {}
    label_field = field_for(form, settings.label_field)

    def left_of(example: Example) -> Example | None:
        if not words.keys() & example.requests:
            return example
        found = [(requests.get(id), words.get(id, [])) for id in example.requests]
        return _left(example, _said(settings, found, label_field), settings.label_field)

    kept = {name: [e for row in rows if (e := left_of(row)) is not None] for name, rows in splits.items()}
    tally.dropped[WITHDRAWN] += sum(len(rows) for rows in splits.values()) - sum(len(rows) for rows in kept.values())
    return kept


def _said(
    settings: DatasetSettings, found: Sequence[tuple[Traffic | None, Sequence[Feedback]]], label_field: str | None
) -> Said:
    """Return what requests and their words say now, and what was taken back and nobody says now."""
    now, taken_back = set[str](), set[str]()
    for request, words in found:
        if request is None:
            continue
        earlier = [_as_said(request, word) for word in words if word.withdrawn_at]
        for answers, versions in ((now, [request]), (taken_back, earlier)):
            rights = [right_answer(v, label_field) for v in versions if v.label is not None]
            answers.update(answer_as_learned(settings, a, Tally()).strip() for a in rights if a is not None)
    speaks = any(request is None or request.label is not None for request, _ in found)
    return Said(now=now, taken_back=taken_back - now, speaks=speaks)


def _as_said(request: Traffic, word: Feedback) -> Traffic:
    """Return the request as it would be if that word alone decided about it."""
    if word.kind == FeedbackKind.THUMB:
        accepted = request.answer if word.value == "1" else None
        return replace(request, label=accepted, label_source="accepted")
    is_answer = word.kind in (FeedbackKind.LABEL, FeedbackKind.CORRECTION)
    return replace(request, label=word.value if is_answer else None, label_source=str(word.kind))


def _left(example: Example, found: Said, label_field: str | None) -> Example | None:
    """Return a row with the right answers that are left, or None if there are none."""
    if not found.speaks:
        return None
    if "tool_calls" in example.completion[-1]:
        return example
    answers = [answer for answer in example.answers if answer.strip() not in found.taken_back]
    if not answers:
        return None
    if answers[0] == example.answer:
        return replace(example, references=answers[1:])
    completion = [*example.completion[:-1], said("assistant", answers[0])]
    label = right_label(answers[0], label_field)
    return replace(example, completion=completion, label=label, references=answers[1:])
