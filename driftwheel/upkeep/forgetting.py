"""Forgets a user, a key or a request: their rows, feedback, dataset rows, reports, evaluations and exports.

What a model has learned cannot be taken out of its weights: every version that learned from such rows is named and
marked, and the Dataset without them is what its successor is trained on. What remains is a record that proves it:
hashes with a salt of their own, by which one who knows an id can check that it was forgotten, and nobody else learns
anything.
"""

import json
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal, cast

import msgspec
import sqlalchemy as sa

from driftwheel.errors import DataError, NotFoundError
from driftwheel.identity import utc_now
from driftwheel.records.by_whom import Cause, Feedback, Trust
from driftwheel.records.nouns import DriftSignal, ModelVersion, RetrainDecision, Traffic
from driftwheel.records.probe_answers import ProbeAnswer
from driftwheel.settings.serving import TrafficSettings
from driftwheel.store.database import SQLITE
from driftwheel.store.driver_errors import told
from driftwheel.store.ledger import Ledger
from driftwheel.store.row_values import storable
from driftwheel.store.tables import TABLES
from driftwheel.traffic.feedback import Author, withdraw_all
from driftwheel.traffic.feedback_summary import ANSWERING
from driftwheel.traffic.redaction import rules_of
from driftwheel.traffic.retention import PRUNED
from driftwheel.upkeep.forgotten_exports import clear_exports
from driftwheel.upkeep.forgotten_record import RECORD, Forgotten, begin, keep, replaced_in, with_folders, write_down
from driftwheel.upkeep.forgotten_rows import Asked, clear_datasets, delete_unnamed, learned_from
from driftwheel.upkeep.forgotten_texts import SHORTEST, Needles, scrub_files
from driftwheel.upkeep.forgotten_turns import turns_of, turns_of_everybody
from driftwheel.upkeep.storage_files import only_upkeep

Kind = Literal["user", "key", "request"]
BATCH_ROWS = 500
BODIES = ("request", "response")
"""Fields that nothing here asks for, and of which the rows of a service's key would not fit into memory."""
_TRAFFIC, _FEEDBACK = TABLES[Traffic].c, TABLES[Feedback].c


@dataclass(frozen=True, kw_only=True)
class Target:
    """Who or what is to be forgotten."""

    kind: Kind
    name: str


def forget(
    traffic: TrafficSettings,
    ledger: Ledger,
    project: str,
    root: Path,
    target: Target,
    by: Cause,
    *,
    dry_run: bool,
    compact: bool = True,
) -> Forgotten:
    """Forget one user, key or request of a project, or say what that would mean.

    `compact` writes a SQLite file anew, for which appends wait: without it, what was deleted may still be found there
    by who reads the bytes of the file. It may be repeated after a crash: what is asked for first goes last, and what
    was found is written down before. Raises NotFoundError if nothing of it is there, DataError for no name.
    """
    if not target.name.strip():  # which every request has that names no user, or came without a key
        raise DataError(f"the id of the {target.kind} is empty: nothing was deleted")
    with only_upkeep(root):
        rows = _requests(traffic, ledger, project, target)
        said = ledger.find(Feedback, project=project, author=target.name) if target.kind == "key" else []
        asked, ids = _asked(traffic, ledger, target, rows, said), [row.id for row in rows]
        begun, goes_on = begin(ledger, project, target.kind, target.name, ids, _count_words(ledger, ids, said))
        planned = clear_datasets(ledger, project, root, asked, dry_run=True)
        if not (rows or said or planned or goes_on):
            raise NotFoundError(f"nothing of the {target.kind} {target.name!r} is in project {project!r}")
        begun = with_folders(begun, planned)
        turns = turns_of(ledger, ids).union(*(folder.texts for folder in planned))
        needles = Needles.of(turns - turns_of_everybody(ledger, project, frozenset(ids)))
        versions, cleared = learned_from(ledger, project, begun.learned), begun.datasets
        if not dry_run:
            _fill_with_zeros(ledger)
            keep(ledger, project, begun)
            _mark(ledger, versions)
            folders = clear_datasets(ledger, project, root, asked, dry_run=False)
            delete_unnamed(ledger, begun.folders)
            cleared = replaced_in(ledger, begun, folders)
            _scrub_values(ledger, project, needles)
        found = Forgotten(
            id=RECORD + begun.name,
            requests=begun.requests,
            words=begun.words,
            datasets=cleared,
            versions=tuple(versions),
            files=len(scrub_files(root, needles, dry_run=dry_run)),
            exports=tuple(clear_exports(root, frozenset(ids), dry_run=dry_run)),
            copies=tuple(str(path) for path in sorted(root.glob("*.db.revision-*"))),
        )
        if not dry_run:
            _delete(ledger, project, target, ids, by)
            write_down(ledger, project, found, begun, by)
            _wipe(ledger, compact=compact)
        return found


def _asked(
    traffic: TrafficSettings, ledger: Ledger, target: Target, rows: Sequence[Traffic], said: Sequence[Feedback]
) -> Asked:
    """Say how a Dataset's rows of these requests are known; one request is not all that its user ever said.

    Rows of a Dataset outlive the requests in the log (`traffic.keep_days`), and are found where these are gone.
    """
    groups = set[str]() if target.kind == "request" else {row.conversation_id for row in rows}
    groups |= {*_names(traffic, target), *(row.user_id for row in rows)} if target.kind == "user" else set()
    ids = {row.id for row in rows} | ({target.name} if target.kind == "request" else set())
    author = target.name if target.kind == "key" else None
    return Asked.of([row.prompt for row in rows], groups, ids, author, _said_alone(ledger, target, said))


def _said_alone(ledger: Ledger, target: Target, said: Sequence[Feedback]) -> dict[str, frozenset[str]]:
    """Return what a key, and nobody else, said is right about each request."""
    answers = [word for word in said if word.kind in ANSWERING]
    about = _about(ledger, sorted({word.request_id for word in answers}))
    others = {(w.request_id, w.value) for w in about if w.author != target.name and w.withdrawn_at is None}
    found: dict[str, frozenset[str]] = {}
    for word in answers:
        if (word.request_id, word.value) not in others:
            found[word.request_id] = found.get(word.request_id, frozenset()) | {word.value.strip()}
    return found


def _names(traffic: TrafficSettings, target: Target) -> list[str]:
    """Return how a user is named in the log: as they are, or by a hash of it."""
    rules = rules_of(traffic)
    return [target.name] if rules is None else [target.name, rules.clean_name(target.name)]


def _requests(traffic: TrafficSettings, ledger: Ledger, project: str, target: Target) -> list[Traffic]:
    """Return the requests, and with one request those that repeat what was said in it, as a conversation does.

    Of a user also those of their conversations that name nobody: each of these repeats what the user said before.
    """
    if target.kind == "user":
        named = ledger.find(Traffic, project=project, without=BODIES, user_id=_names(traffic, target))
        return [*named, *_of_nobody(ledger, project, sorted({row.conversation_id for row in named} - {""}))]
    column = _TRAFFIC.key_id if target.kind == "key" else _TRAFFIC.id
    rows = ledger.find(Traffic, column == storable(target.name), project=project, without=BODIES)
    forms = {form for row in rows for form in _in_requests(row.prompt)} if target.kind == "request" else set()
    repeating = [_TRAFFIC.request.contains(form, autoescape=True) for form in forms]
    later = ledger.find(Traffic, sa.or_(*repeating), project=project, without=BODIES) if repeating else []
    return list({row.id: row for row in [*rows, *later]}.values())


def _of_nobody(ledger: Ledger, project: str, conversations: Sequence[str]) -> list[Traffic]:
    """Return the requests of conversations whose client did not say who asked."""
    found = list[Traffic]()
    for start in range(0, len(conversations), BATCH_ROWS):
        batch = list(conversations[start : start + BATCH_ROWS])
        found += ledger.find(Traffic, project=project, without=BODIES, user_id="", conversation_id=batch)
    return found


def _in_requests(prompt: str) -> set[str]:
    """Return how a text stands in the JSON of other requests; nothing for one that anybody may have said."""
    escaped = {json.dumps(prompt)[1:-1], json.dumps(prompt, ensure_ascii=False)[1:-1]}
    return escaped if len(prompt.strip()) >= SHORTEST else set()


def _count_words(ledger: Ledger, ids: Sequence[str], said: Sequence[Feedback]) -> int:
    return len({word.id for word in (*_about(ledger, ids), *said)})


def _about(ledger: Ledger, ids: Sequence[str]) -> list[Feedback]:
    starts = range(0, len(ids), BATCH_ROWS)
    return [
        word for start in starts for word in ledger.find(Feedback, request_id=list(ids[start : start + BATCH_ROWS]))
    ]


QUOTING = ((DriftSignal, ("details",)), (RetrainDecision, ("known", "reasons")), (ModelVersion, ("scorecard",)))
"""Records with their fields that may quote what somebody said."""


def _scrub_values(ledger: Ledger, project: str, needles: Needles) -> None:
    """Take the texts out of what signals, decisions and versions quote, and out of the probes of fingerprints."""
    for kind, names in QUOTING:
        for record in ledger.find(kind, project=project):
            quoting = [name for name in names if needles.are_in(_plain(getattr(record, name)))]
            if quoting:
                ledger.change(record, **{name: _scrubbed(needles, getattr(record, name)) for name in quoting})
    for version in ledger.find(ModelVersion, project=project):
        old = version.fingerprint
        base = old.base_probes
        new = replace(
            old, probes=_without(needles, old.probes), base_probes=None if base is None else _without(needles, base)
        )
        if new != old:
            ledger.change(version, fingerprint=new)


def _without(needles: Needles, probes: Sequence[ProbeAnswer]) -> tuple[ProbeAnswer, ...]:
    """Return the probes that ask nothing of it; a fingerprint is as good with one probe less."""
    return tuple(p for p in probes if not needles.are_in(_plain(p.messages)))


def _scrubbed(needles: Needles, value: Any) -> Any:
    return msgspec.convert(needles.scrub(_plain(value)), type(value))


def _plain(value: Any) -> Any:
    return msgspec.to_builtins(value)


def _mark(ledger: Ledger, versions: Sequence[str]) -> None:
    for id in versions:
        version = ledger.get(ModelVersion, id)
        ledger.change(version, lineage=replace(version.lineage, forgotten_at=utc_now().isoformat(timespec="seconds")))


def _delete(ledger: Ledger, project: str, target: Target, ids: Sequence[str], by: Cause) -> None:
    """Delete the requests with all that was said about them, and what a key said about others' requests."""
    if target.kind == "key":
        # First as if it had not been said: so the requests of others know what is right without it.
        # Nor is each taking back an event: nobody could ever take the key's name out of the history again.
        withdraw_all(ledger, project, target.name, by=Author(id=by.actor, trust=Trust.TRUSTED), is_noted=False)
    for start in range(0, len(ids), BATCH_ROWS):
        batch = list(ids[start : start + BATCH_ROWS])
        with ledger.write() as connection:
            deleted = connection.execute(sa.delete(TABLES[Traffic]).where(_TRAFFIC.id.in_(batch))).rowcount
            connection.execute(sa.delete(TABLES[Feedback]).where(_FEEDBACK.request_id.in_(batch)))
            ledger.count_up_with(connection, project, PRUNED, deleted)
    if target.kind == "key":
        is_its = (_FEEDBACK.project == project, _FEEDBACK.author == target.name)
        with ledger.write() as connection:
            connection.execute(sa.delete(TABLES[Feedback]).where(*is_its))


def _fill_with_zeros(ledger: Ledger) -> None:
    """Let SQLite overwrite what this process deletes or changes.

    It would else stand in the file until something else takes its place.
    """
    if ledger.engine.dialect.name == SQLITE:
        ledger.engine.dispose()  # connections that are opened from now on do
        sa.event.listen(ledger.engine, "connect", lambda connection, _: connection.execute("PRAGMA secure_delete=ON"))


def _wipe(ledger: Ledger, *, compact: bool) -> None:
    """Let SQLite write its file anew and empty its log of writes, in both of which deleted rows may still stand.

    Overwriting is not enough: where rows were moved from page to page before, older copies are left between them.
    """
    if ledger.engine.dialect.name == SQLITE:
        with told(f"the ledger at {ledger.address} could not be compacted; run it again"):
            pooled = ledger.engine.raw_connection()
            with closing(pooled):
                for statement in (*(["VACUUM"] if compact else []), "PRAGMA wal_checkpoint(TRUNCATE)"):
                    cast(Any, pooled.driver_connection).execute(statement).fetchall()
