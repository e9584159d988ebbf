"""Records of what was forgotten: begun before anything is deleted, so that a crash loses nothing of what they say.

They hold hashes with a salt of their own, by which one who knows an id can check that it was forgotten, and nobody else
learns anything.
"""

import hashlib
import json
import secrets
from collections.abc import Collection, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import sqlalchemy as sa

from driftwheel.identity import utc_now
from driftwheel.records.bookkeeping import Switch
from driftwheel.records.by_whom import Action, Cause
from driftwheel.records.json_form import as_json, from_json
from driftwheel.records.nouns import Dataset
from driftwheel.store.events import note_with
from driftwheel.store.ledger import Ledger
from driftwheel.store.tables import TABLES
from driftwheel.upkeep.forgotten_rows import Cleared, ClearedFolder

RECORD, BEGUN = "forgotten_", "forgetting_"
"""How the names of the switches begin that hold a record, and one that is not at its end."""


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


@dataclass(frozen=True, kw_only=True)
class Begun:
    """A forgetting under way: all that can no longer be found out once the deleting has begun."""

    name: str
    """What both its switches are called behind their beginnings."""
    kind: str
    salt: str
    hashes: tuple[str, ...]
    """Of who or what is forgotten, and of its requests."""
    requests: int
    words: int
    datasets: tuple[Cleared, ...] = ()
    folders: tuple[str, ...] = ()
    """Folders of rows that are replaced."""

    @property
    def learned(self) -> list[str]:
        """The Datasets whose rows shaped weights."""
        return [cleared.id for cleared in self.datasets if cleared.learned]


def begin(ledger: Ledger, project: str, kind: str, name: str, ids: Collection[str], words: int) -> tuple[Begun, bool]:
    """Return the record of a forgetting, and whether it goes on with one that broke off."""
    for switch in ledger.find(Switch, project=project):
        if switch.id.startswith(f"{project}/{BEGUN}") and switch.value:
            begun = from_json(switch.value.encode(), Begun)
            if begun.kind == kind and _hash(begun.salt, name) in begun.hashes:
                more = sorted({_hash(begun.salt, id) for id in ids} - {*begun.hashes})
                requests, words = begun.requests + len(more), max(words, begun.words)
                return replace(begun, hashes=(*begun.hashes, *more), requests=requests, words=words), True
    salt = secrets.token_hex(16)
    begun = Begun(
        name=f"{utc_now():%Y%m%dT%H%M%S}_{secrets.token_hex(4)}",
        kind=kind,
        salt=salt,
        hashes=tuple(_hash(salt, known) for known in dict.fromkeys((name, *ids))),
        requests=len(ids),
        words=words,
    )
    return begun, False


def with_folders(begun: Begun, found: Sequence[ClearedFolder]) -> Begun:
    """Add what is found now to what was found before a crash."""
    known = {cleared.id: cleared for cleared in (*begun.datasets, *(c for folder in found for c in folder.datasets))}
    folders = sorted({*begun.folders, *(str(folder.path) for folder in found)})
    return replace(begun, datasets=tuple(known.values()), folders=tuple(folders))


def keep(ledger: Ledger, project: str, begun: Begun) -> None:
    """Write down what is about to be deleted."""
    ledger.set_switch(project, BEGUN + begun.name, json.dumps(as_json(begun)))


def replaced_in(ledger: Ledger, begun: Begun, found: Sequence[ClearedFolder]) -> tuple[Cleared, ...]:
    """Return each Dataset with the one that replaced it, also where that was before a crash."""
    now = {cleared.id: cleared for folder in found for cleared in folder.datasets}
    return tuple(
        now.get(old.id) or replace(old, replaced_by=Path(ledger.get(Dataset, old.id).path).name)
        for old in begun.datasets
    )


def write_down(ledger: Ledger, project: str, found: Forgotten, begun: Begun, by: Cause) -> None:
    """Make the record of a forgetting that is at its end."""
    facts = {key: value for key, value in asdict(found).items() if key not in ("id", "exports", "copies")}
    record = {"at": utc_now().isoformat(), "kind": begun.kind, "salt": begun.salt, "hashes": [*begun.hashes], **facts}
    table = TABLES[Switch]
    with ledger.write() as connection:
        ledger.set_switch_with(connection, project, found.id, json.dumps(record))
        connection.execute(sa.delete(table).where(table.c.id == f"{project}/{BEGUN}{begun.name}"))
        after = {"kind": begun.kind, "requests": found.requests, "words": found.words, "versions": [*found.versions]}
        note_with(ledger, connection, by, Action.FORGET, project, found.id, after=after)


def was_forgotten(ledger: Ledger, project: str, name: str) -> list[str]:
    """Return the records that prove that a user, key or request was forgotten, for one who knows its id."""
    found = []
    for switch in ledger.find(Switch, project=project):
        if switch.id.startswith(f"{project}/{RECORD}"):
            record = json.loads(switch.value)
            if _hash(record["salt"], name) in record["hashes"]:
                found.append(switch.id.partition("/")[2])
    return found


def _hash(salt: str, name: str) -> str:
    return hashlib.sha256(f"{salt}/{name}".encode("utf-8", "surrogatepass")).hexdigest()
