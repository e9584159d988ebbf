"""Keeps what people say about answers: each word a row with its author; what they amount to stands in the request's."""

from collections.abc import Collection, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import datetime, timedelta
from typing import Literal

import sqlalchemy as sa

from driftwheel.errors import ConflictError, DataError, NotFoundError
from driftwheel.identity import new_id, utc_now
from driftwheel.records.by_whom import PERSON, Action, Cause, Feedback, FeedbackKind, Trust
from driftwheel.records.nouns import Traffic
from driftwheel.settings.serving import TrafficSettings
from driftwheel.store.answer_form import answer_form
from driftwheel.store.events import note, note_with
from driftwheel.store.ledger import Ledger
from driftwheel.store.row_values import check_rows
from driftwheel.store.tables import TABLES
from driftwheel.text.answers import wrong_form
from driftwheel.text.asked import UnreadableRequestError, read_answer, read_asked
from driftwheel.traffic.feedback_summary import ANSWERING, DECIDING, counted, summed_up
from driftwheel.traffic.redaction import rules_of

MOST_WORDS = 100
"""Of one author about one answer: nobody changes their mind so often, and every word stays."""
SIGNALS = ("regenerated", "abandoned", "copied", "edited")
"""What a user may do with an answer that an application can see."""


class WrongFormError(DataError):
    """A correction is no answer of this task: it has another form than the answers that the model learned."""


@dataclass(frozen=True, kw_only=True)
class Author:
    """Who gives feedback, and how far they are trusted."""

    id: str
    """Id of the API key, or `person:` and a name."""
    trust: Trust = Trust.NONE

    def may_judge(self, row: Traffic) -> bool:
        """Say whether the request is the author's own, or the author may judge anybody's."""
        return self.trust is not Trust.NONE or row.key_id == self.id


def person(name: str) -> Author:
    """Return a person at the command line or the dashboard, who could write into the ledger just as well."""
    return Author(id=f"{PERSON}{name}", trust=Trust.TRUSTED)


def give_feedback(
    traffic: TrafficSettings,
    ledger: Ledger,
    project: str,
    request_id: str,
    *,
    author: Author,
    thumb: Literal[1, -1] | None = None,
    label: str | None = None,
    correction: str | None = None,
    comment: str | None = None,
    signal: str | None = None,
    label_field: str | None = None,
) -> Traffic:
    """Add an author's words about an answer of the project; return the request with what all words amount to.

    The newest label or correction of an author counts, and the newest thumb; of several authors the most trusted one's,
    then the newest. A correction is the whole right answer, and goes before a label of the same call. A thumb up
    labels the answer with itself where no label is. What people write keeps the rules that rows keep. Who says the
    same again adds nothing. A label is stripped, as those are that are read from answers.
    Raises NotFoundError for a request that is not there or not the author's to judge, DataError, RecordError for a text
    that cannot be kept, ConflictError for too many words, or WrongFormError for a correction in another form than the
    answers', whose label is in `label_field`.
    """
    said = {
        FeedbackKind.LABEL: label,
        FeedbackKind.CORRECTION: correction,
        FeedbackKind.THUMB: None if thumb is None else str(thumb),
        FeedbackKind.COMMENT: comment,
        FeedbackKind.SIGNAL: signal,
    }
    words = {kind: value for kind, value in said.items() if value is not None}
    if not words:
        raise DataError("feedback needs one of thumb (1 or -1), label, correction, comment or signal")
    if signal is not None and signal not in SIGNALS:
        raise DataError(f"unknown signal {signal!r}; known are {', '.join(SIGNALS)}")
    if FeedbackKind.LABEL in words:
        words[FeedbackKind.LABEL] = _stripped(words[FeedbackKind.LABEL])
    row, rules = _judged(ledger, project, request_id, author), rules_of(traffic)
    if rules is not None:
        words = {kind: value if kind in _FIXED else rules.clean(value) for kind, value in words.items()}
    if FeedbackKind.CORRECTION in words:
        _check_form(ledger, row, words[FeedbackKind.CORRECTION], label_field)
    with ledger.write() as connection:
        given = _given(connection, row.id)
        at = _after(given)
        new = _unsaid([_word(row, author, kind, value, at) for kind, value in words.items()], given)
        if len(new) + sum(word.author == author.id for word in given) > MOST_WORDS:
            raise ConflictError(f"{author.id or 'this caller'} has said {MOST_WORDS} things about {row.id}: no more")
        if new:
            ledger.add_with(connection, new)
        if any(word.kind in DECIDING for word in new):
            _sum_up(connection, row, [*given, *new])
    return ledger.get(Traffic, row.id)


_FIXED = (FeedbackKind.THUMB, FeedbackKind.SIGNAL)
"""Kinds whose values are no free text."""


def withdraw_feedback(
    ledger: Ledger,
    project: str,
    request_id: str,
    *,
    author: Author,
    of: str | None = None,
    kinds: Sequence[FeedbackKind] = tuple(FeedbackKind),
    ids: Collection[str] | None = None,
    is_noted: bool = True,
) -> Traffic:
    """Take back what an author said about an answer, as if it had not been said; the rows stay, marked.

    `of` names another author, for one who is trusted; `ids` names single words; without `is_noted` it is no event.
    Raises NotFoundError where there is nothing to take back.
    """
    if of is not None and of != author.id and author.trust is not Trust.TRUSTED:
        raise NotFoundError(f"{author.id} takes back their own words alone")
    row, whose = _judged(ledger, project, request_id, author), author.id if of is None else of
    with ledger.write() as connection:
        given = _given(connection, row.id)
        said = [w for w in given if w.author == whose and w.kind in kinds and w.withdrawn_at is None]
        taken = {w.id for w in said if ids is None or w.id in ids}
        if not taken:
            raise NotFoundError(f"{whose or 'this caller'} has said nothing about {row.id} that could be withdrawn")
        at, table = utc_now(), TABLES[Feedback]
        connection.execute(sa.update(table).where(table.c.id.in_(sorted(taken))).values(withdrawn_at=at))
        _sum_up(connection, row, [replace(w, withdrawn_at=at) if w.id in taken else w for w in given])
        if is_noted:
            # Kinds alone: what was said is the person's whose words are taken back.
            after = {"author": whose, "kinds": sorted({w.kind for w in said if w.id in taken})}
            by = Cause(actor=author.id)
            note_with(ledger, connection, by, Action.WITHDRAW_FEEDBACK, project, row.id, after=after)
    return ledger.get(Traffic, row.id)


@dataclass(frozen=True, kw_only=True)
class Confirmed:
    """About how many requests somebody said again what another author had said."""

    requests: int
    left_out: int
    reason: str | None
    """Why the first one was left out."""


def confirm_feedback(
    traffic: TrafficSettings, ledger: Ledger, project: str, of: str, *, by: Author, since: datetime | None = None
) -> Confirmed:
    """Say again, as one's own words, what another author said was right.

    So a person vouches for the labels of a key that is not trusted. The words that are confirmed stay as they are. What
    cannot be said again, such as a correction in a form that the task has no more, is left out.
    """
    said = ledger.find(Feedback, *_of_author(of, since), project=project, kind=DECIDING)
    left_out: list[str] = []
    of_request: dict[str, list[Feedback]] = {}
    for word in said:
        of_request.setdefault(word.request_id, []).append(word)
    for request_id, words in of_request.items():
        right = {str(word.kind): word.value for kinds in _VOUCHED for word in counted(words, *kinds)}
        thumb: Literal[1, -1] | None = None if "thumb" not in right else 1 if right["thumb"] == "1" else -1
        label, correction = right.get("label"), right.get("correction")
        try:
            give_feedback(
                traffic, ledger, project, request_id, author=by, thumb=thumb, label=label, correction=correction
            )
        except (DataError, ConflictError) as error:
            left_out.append(f"{request_id}: {error}")
    after = {"author": of, "requests": len(of_request) - len(left_out)}
    note(ledger, Cause(actor=by.id), Action.CONFIRM_FEEDBACK, project, of, after=after)
    first = left_out[0] if left_out else None
    return Confirmed(requests=len(of_request) - len(left_out), left_out=len(left_out), reason=first)


_VOUCHED = (ANSWERING, (FeedbackKind.THUMB,))


def _of_author(of: str, since: datetime | None) -> list[sa.ColumnElement[bool]]:
    columns = TABLES[Feedback].c
    conditions = [columns.author == of, columns.withdrawn_at.is_(None)]
    return [*conditions, columns.created_at >= since] if since else conditions


def withdraw_all(
    ledger: Ledger, project: str, of: str, *, by: Author, since: datetime | None = None, is_noted: bool = True
) -> int:
    """Take back everything that one author said, such as a key in wrong hands; return about how many requests."""
    about, is_its = TABLES[Feedback].c.request_id, (TABLES[Feedback].c.project == project, *_of_author(of, since))
    with ledger.read() as connection:
        ids = connection.execute(sa.select(about).distinct().where(*is_its).order_by(about)).scalars().all()
    for request_id in ids:
        withdraw_feedback(ledger, project, request_id, author=by, of=of, is_noted=is_noted)
    return len(ids)


def words_about(ledger: Ledger, request_ids: Sequence[str]) -> dict[str, list[Feedback]]:
    """Return the feedback of some requests, the oldest first, what was withdrawn included."""
    found: dict[str, list[Feedback]] = {}
    for row in ledger.find(Feedback, request_id=list(request_ids), newest_first=False):
        found.setdefault(row.request_id, []).append(row)
    return found


def _judged(ledger: Ledger, project: str, request_id: str, author: Author) -> Traffic:
    """Return a request that an author may judge; another's is told as one that is not there."""
    found = ledger.find(Traffic, id=request_id, project=project)
    if not found or not author.may_judge(found[0]):
        whose = "" if author.trust is not Trust.NONE else " that this key asked; others' need the scope `label`"
        raise NotFoundError(f"no request {request_id!r} in project {project!r}{whose}")
    return found[0]


def _word(row: Traffic, author: Author, kind: FeedbackKind, value: str, at: datetime) -> Feedback:
    return Feedback(
        id=new_id("feedback", [row.id, author.id, kind, value, at], at),
        project=row.project,
        created_at=at,
        request_id=row.id,
        author=author.id,
        trust=author.trust,
        kind=kind,
        value=value,
    )


def _stripped(label: str) -> str:
    """Return a label without the space around it; raises DataError if nothing is left."""
    if not label.strip():
        raise DataError("the label is blank")
    return label.strip()


def _after(given: Sequence[Feedback]) -> datetime:
    """Return the moment of a new word: later than every word before it, also where the clock was set back."""
    return max([utc_now(), *(word.created_at + timedelta(microseconds=1) for word in given)])


def _unsaid(new: Sequence[Feedback], given: Sequence[Feedback]) -> list[Feedback]:
    """Return the words of a call that say something new; what says which answer is right is said together."""
    unsaid = [word for word in new if not _is_said(word, given)]
    if not any(word.kind in ANSWERING for word in unsaid):
        return unsaid
    return [word for word in new if word.kind in ANSWERING or word in unsaid]


def _is_said(word: Feedback, given: Sequence[Feedback]) -> bool:
    """Say whether the author's newest word of the kind is the same: a client that sends twice has said it once.

    A label is said no more where the author gave a correction after it, and the other way round.
    """
    mine = [w for w in given if w.author == word.author]
    same = counted(mine, word.kind)
    if not same or (same[0].value, same[0].trust) != (word.value, word.trust):
        return False
    return word.kind not in ANSWERING or same[0].created_at == counted(mine, *ANSWERING)[0].created_at


def _given(connection: sa.Connection, request_id: str) -> list[Feedback]:
    """Return the feedback of a request, and hold its row: of two who judge at once one sums up after the other."""
    traffic, feedback = TABLES[Traffic], TABLES[Feedback]
    held = connection.execute(sa.select(traffic.c.id).where(traffic.c.id == request_id).with_for_update()).scalar()
    if held is None:
        raise NotFoundError(f"request {request_id!r} was deleted meanwhile")
    rows = connection.execute(sa.select(feedback).where(feedback.c.request_id == request_id)).mappings()
    return [Feedback(**{**row, "kind": FeedbackKind(row["kind"]), "trust": Trust(row["trust"])}) for row in rows]


def _sum_up(connection: sa.Connection, row: Traffic, given: Sequence[Feedback]) -> None:
    table, changes = TABLES[Traffic], asdict(summed_up(row.answer, given))
    check_rows(table, [{"id": row.id, **changes}])
    connection.execute(sa.update(table).where(table.c.id == row.id).values(**changes))


def _check_form(ledger: Ledger, row: Traffic, correction: str, label_field: str | None) -> None:
    """Raise WrongFormError unless a correction has the form of the answers that the request's version learned."""
    expected = wrong_form(correction, answer_form(ledger, row.version_id), label_field)
    if expected is None or _is_call(row, correction):
        return
    raise WrongFormError(f"the correction must be the whole right answer, and here that is {expected}")


def _is_call(row: Traffic, correction: str) -> bool:
    """Say whether a correction calls tools that the request has."""
    try:
        return "tool_calls" in read_answer(correction, read_asked(row.request, row.route).tools)
    except UnreadableRequestError:
        return False
