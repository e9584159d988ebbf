"""Forgets a user, a key or a request: their rows, feedback, dataset rows, reports, evaluations and exports.

What a model has learned cannot be taken out of its weights: every version that learned from such rows is named and
marked, and the Dataset without them is what its successor is trained on. What remains is a record that proves it:
hashes with a salt of their own, by which one who knows an id can check that it was forgotten, and nobody else learns
anything.
"""

import hashlib
import json
import secrets
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal, cast

import msgspec
import sqlalchemy as sa

from driftwheel.artifacts import write_text
from driftwheel.bookkeeping import Switch
from driftwheel.by_whom import Action, Cause, Feedback, Trust
from driftwheel.errors import NotFoundError
from driftwheel.identity import utc_now
from driftwheel.probe_answers import ProbeAnswer
from driftwheel.records import DriftSignal, ModelVersion, RetrainDecision, Traffic
from driftwheel.settings.serving import TrafficSettings
from driftwheel.store.database import SQLITE
from driftwheel.store.driver_errors import told
from driftwheel.store.events import note_with
from driftwheel.store.ledger import Ledger
from driftwheel.store.row_values import storable
from driftwheel.store.tables import TABLES
from driftwheel.traffic.export import EXPORTS
from driftwheel.traffic.feedback import Author, withdraw_all
from driftwheel.traffic.redaction import rules_of
from driftwheel.traffic.retention import PRUNED
from driftwheel.upkeep.forgotten_rows import Asked, Cleared, clear_datasets, learned_from
from driftwheel.upkeep.forgotten_texts import SHORTEST, Needles, scrub_files
from driftwheel.upkeep.storage_files import only_upkeep

Kind = Literal["user", "key", "request"]
BATCH_ROWS = 500
RECORD = "forgotten_"
"""How the name of the switch begins that holds a record."""
_TRAFFIC, _FEEDBACK = TABLES[Traffic].c, TABLES[Feedback].c


@dataclass(frozen=True, kw_only=True)
class Target:
    """Who or what is to be forgotten."""

    kind: Kind
    name: str


@dataclass(frozen=True, kw_only=True)
class Forgotten:
    """What was forgotten, in numbers and ids, and what is left to do by hand."""

    id: str
    """Of the record that proves it."""
    requests: int
    words: int
    """Feedback rows."""
    datasets: tuple[Cleared, ...]
    versions: tuple[str, ...]
    """Those that learned from it."""
    files: int
    """Reports, evaluations and other files of the storage folder that it stood in."""
    exports: tuple[str, ...]
    """Exported files that cannot be cleared here: they are to be made again, or deleted."""
    copies: tuple[str, ...]
    """Copies of the database from before upgrades, which hold it."""


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
    by who reads the bytes of the file. It may be repeated after a crash: what is asked for first goes last. Raises
    NotFoundError if nothing of it is there.
    """
    with only_upkeep(root):
        rows = _requests(traffic, ledger, project, target)
        said = ledger.find(Feedback, project=project, author=target.name) if target.kind == "key" else []
        if not rows and not said:
            raise NotFoundError(f"nothing of the {target.kind} {target.name!r} is in project {project!r}")
        ids, needles, asked = [row.id for row in rows], Needles.of([row.prompt for row in rows]), _asked(target, rows)
        cleared = clear_datasets(ledger, project, root, asked, dry_run=True)
        versions = learned_from(ledger, project, [c.id for c in cleared if c.learned])
        if not dry_run:
            _fill_with_zeros(ledger)
            _mark(ledger, versions)
            cleared = clear_datasets(ledger, project, root, asked, dry_run=False)
            _scrub_values(ledger, project, needles)
        found = Forgotten(
            id=f"{RECORD}{utc_now():%Y%m%dT%H%M%S}_{secrets.token_hex(4)}",
            requests=len(rows),
            words=_count_words(ledger, ids, said),
            datasets=tuple(cleared),
            versions=tuple(versions),
            files=len(scrub_files(root, needles, dry_run=dry_run)),
            exports=tuple(_clear_exports(root, frozenset(ids), dry_run=dry_run)),
            copies=tuple(str(path) for path in sorted(root.glob("*.db.revision-*"))),
        )
        if not dry_run:
            _delete(ledger, project, target, ids, by)
            _write_down(ledger, project, found, target, ids, by)
            _wipe(ledger, compact=compact)
        return found


def _asked(target: Target, rows: Sequence[Traffic]) -> Asked:
    """Say how a Dataset's rows of these requests are known; one request is not all that its user ever said."""
    groups = set[str]() if target.kind == "request" else {row.conversation_id for row in rows}
    groups |= {row.user_id for row in rows} if target.kind == "user" else set()
    return Asked.of([row.prompt for row in rows], groups)


def was_forgotten(ledger: Ledger, project: str, name: str) -> list[str]:
    """Return the records that prove that a user, key or request was forgotten, for one who knows its id."""
    found = []
    for switch in ledger.find(Switch, project=project):
        if switch.id.startswith(f"{project}/{RECORD}"):
            record = json.loads(switch.value)
            if _hash(record["salt"], name) in record["hashes"]:
                found.append(switch.id.partition("/")[2])
    return found


def _requests(traffic: TrafficSettings, ledger: Ledger, project: str, target: Target) -> list[Traffic]:
    """Return the requests, and with one request those that repeat what was said in it, as a conversation does."""
    if target.kind == "user":
        rules = rules_of(traffic)
        names = [target.name] if rules is None else [target.name, rules.clean_name(target.name)]  # or a hash of it
        return ledger.find(Traffic, project=project, without=("response",), user_id=names)
    column = _TRAFFIC.key_id if target.kind == "key" else _TRAFFIC.id
    rows = ledger.find(Traffic, column == storable(target.name), project=project, without=("response",))
    forms = {form for row in rows for form in _in_requests(row.prompt)} if target.kind == "request" else set()
    repeating = [_TRAFFIC.request.contains(form, autoescape=True) for form in forms]
    later = ledger.find(Traffic, sa.or_(*repeating), project=project, without=("response",)) if repeating else []
    return list({row.id: row for row in [*rows, *later]}.values())


def _in_requests(prompt: str) -> set[str]:
    """Return how a text stands in the JSON of other requests; nothing for one that anybody may have said."""
    escaped = {json.dumps(prompt)[1:-1], json.dumps(prompt, ensure_ascii=False)[1:-1]}
    return escaped if len(prompt.strip()) >= SHORTEST else set()


def _count_words(ledger: Ledger, ids: Sequence[str], said: Sequence[Feedback]) -> int:
    about = {w.id for start in range(0, len(ids), BATCH_ROWS) for w in _about(ledger, ids[start : start + BATCH_ROWS])}
    return len(about | {word.id for word in said})


def _about(ledger: Ledger, ids: Sequence[str]) -> list[Feedback]:
    return ledger.find(Feedback, request_id=list(ids))


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
        withdraw_all(ledger, project, target.name, by=Author(id=by.actor, trust=Trust.TRUSTED))
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


def _clear_exports(root: Path, ids: frozenset[str], *, dry_run: bool) -> Iterator[str]:
    """Take the rows out of the exported files that are still there; give those in which nobody can."""
    path = root / EXPORTS
    lines = path.read_text(encoding="utf-8").splitlines() if path.is_file() else []
    for file in sorted({Path(json.loads(line)["file"]) for line in lines}):
        if not file.is_file():
            continue
        if file.suffix != ".jsonl":
            yield str(file)
        elif not dry_run:
            _drop_lines(file, ids)


def _drop_lines(file: Path, ids: frozenset[str]) -> None:
    lines = file.read_text(encoding="utf-8").splitlines(keepends=True)
    kept = [line for line in lines if json.loads(line).get("id") not in ids]
    if len(kept) < len(lines):
        write_text(file, "".join(kept))


def _write_down(ledger: Ledger, project: str, found: Forgotten, target: Target, ids: Sequence[str], by: Cause) -> None:
    salt = secrets.token_hex(16)
    facts = {key: value for key, value in asdict(found).items() if key not in ("id", "exports", "copies")}
    hashes = [_hash(salt, name) for name in (target.name, *ids)]
    record = {"at": utc_now().isoformat(), "kind": target.kind, "salt": salt, "hashes": hashes, **facts}
    with ledger.write() as connection:
        ledger.set_switch_with(connection, project, found.id, json.dumps(record))
        after = {"kind": target.kind, "requests": found.requests, "words": found.words, "versions": [*found.versions]}
        note_with(ledger, connection, by, Action.FORGET, project, found.id, after=after)


def _hash(salt: str, name: str) -> str:
    return hashlib.sha256(f"{salt}/{name}".encode()).hexdigest()
