"""API keys: made and shown once, rotated with a time of grace, disabled for good; the ledger keeps only a hash.

A key has 256 random bits, so a plain sha256 hides it as well as a slow hash would, and costs the gateway 1 microsecond.
"""

import hashlib
import os
import re
import secrets
from collections.abc import Iterable
from datetime import datetime, timedelta

import sqlalchemy as sa

from driftwheel.errors import ConfigError, ConflictError, NotFoundError
from driftwheel.identity import utc_now
from driftwheel.records.bookkeeping import ApiKey, ApiKeyStatus, Scope
from driftwheel.records.by_whom import Action, Cause, Facts, me
from driftwheel.store.events import note_with
from driftwheel.store.ledger import Ledger
from driftwheel.store.tables import TABLES

KEYS_VARIABLE = "DRIFTWHEEL_API_KEYS"
"""Environment variable of keys that are good without a ledger, with commas between them."""
KEY_ID_DIGITS = 8
"""Of the sha256 of a key from the environment, which are its id."""
KEY_PREFIX = "dwk_"
"""Lets people and scanners for leaked secrets recognize a key."""
RANDOM_BYTES = 32
"""256 bits: so many need no slow hash, which every request would have to wait for."""
NAME = re.compile(r"[a-z0-9][a-z0-9_.-]{0,62}")
LARGEST_LIMIT = 10**15
"""Of requests or tokens per minute; a bucket counts in floats, which are exact up to some 9 * 10**15."""
LIMITS = ("requests_per_minute", "tokens_per_minute", "max_concurrency")
MIN_CHARACTERS, MIN_DIFFERENT_CHARACTERS = 20, 10
"""Of a key that a person chose; `changeme-changeme-changeme` is long enough and has eight different characters."""

IMPLIED = {Scope.LABEL: (Scope.FEEDBACK,), Scope.LABEL_TRUSTED: (Scope.LABEL, Scope.FEEDBACK)}
"""What a scope is worth beside itself: who may judge anybody's answers may give feedback."""


def environment_keys() -> list[str]:
    """Return the keys of the environment."""
    return [key.strip() for key in os.environ.get(KEYS_VARIABLE, "").split(",") if key.strip()]


def own_key() -> str:
    """Return the key with which this process asks its loop's gateway: the environment's first one, or none."""
    return next(iter(environment_keys()), "")


def refuse_weak(keys: Iterable[str]) -> None:
    """Raise ConfigError if a key of the environment could be guessed."""
    for number, key in enumerate(keys, start=1):
        if is_weak(key):
            raise ConfigError(
                f"key {number} in {KEYS_VARIABLE} is weak: it needs {MIN_CHARACTERS} characters, "
                f"{MIN_DIFFERENT_CHARACTERS} of them different; `driftwheel keys create NAME` makes a strong one"
            )


def with_implied(scopes: Iterable[Scope]) -> frozenset[Scope]:
    """Return everything that some scopes are good for."""
    return frozenset(part for scope in scopes for part in (scope, *IMPLIED.get(scope, ())))


def digest_of(key: str | bytes) -> str:
    """Return what the ledger keeps of a key."""
    return hashlib.sha256(key.encode() if isinstance(key, str) else key).hexdigest()


def is_weak(key: str) -> bool:
    """Say whether a key that a person chose could be guessed: too short, or of too few different characters."""
    return len(key) < MIN_CHARACTERS or len(set(key)) < MIN_DIFFERENT_CHARACTERS


def create_key(
    ledger: Ledger,
    project: str,
    name: str,
    scopes: Iterable[Scope],
    *,
    expires_at: datetime | None = None,
    requests_per_minute: int | None = None,
    tokens_per_minute: int | None = None,
    max_concurrency: int | None = None,
    by: Cause | None = None,
) -> tuple[ApiKey, str]:
    """Make a key and return its record and the key itself, which nobody can read again.

    Raises ConfigError for a name or limit that cannot be, ConflictError if the name is taken.
    """
    if not NAME.fullmatch(name):
        raise ConfigError(f"key name {name!r} must match {NAME.pattern}; take another")
    for limit in (requests_per_minute, tokens_per_minute, max_concurrency):
        if limit is not None and not 1 <= limit <= LARGEST_LIMIT:
            bounds = f"at least 1 and at most {LARGEST_LIMIT}"
            raise ConfigError(f"limit {limit} of key {name!r} must be {bounds}; leave it out for no limit")
    if expires_at is not None and expires_at <= utc_now():
        raise ConfigError(
            f"key {name!r} would end at {expires_at:%Y-%m-%d %H:%M} UTC, which is over; choose a later day"
        )
    key = KEY_PREFIX + secrets.token_urlsafe(RANDOM_BYTES)
    record = ApiKey(
        id=f"{project}/{name}",
        project=project,
        scopes=sorted(set(scopes)),
        digest=digest_of(key),
        expires_at=expires_at,
        requests_per_minute=requests_per_minute,
        tokens_per_minute=tokens_per_minute,
        max_concurrency=max_concurrency,
    )
    try:
        with ledger.write() as connection:
            ledger.add_with(connection, [record])
            _note(ledger, connection, Action.CREATE_KEY, None, record, by)
    except ConflictError as error:
        raise ConflictError(f"there is already a key {name!r}; rotate it, or take another name") from error
    return record, key


def find_key(ledger: Ledger, project: str, name: str) -> ApiKey:
    """Return a key's record; raises NotFoundError."""
    found = ledger.find(ApiKey, id=f"{project}/{name}")
    if not found:
        raise NotFoundError(f"no key {name!r} in project {project!r}; `driftwheel keys list` lists what there is")
    return found[0]


def keys_of(ledger: Ledger, project: str) -> list[ApiKey]:
    """Return a project's keys, oldest first."""
    return ledger.find(ApiKey, project=project, newest_first=False)


def _note(
    ledger: Ledger, connection: sa.Connection, action: Action, old: ApiKey | None, new: ApiKey, by: Cause | None
) -> None:
    before, after = {} if old is None else _facts(old), _facts(new)
    note_with(ledger, connection, by or me(), action, new.project, new.id, before=before, after=after)


def _facts(key: ApiKey) -> Facts:
    """Return what an event says of a key: not even its hash."""
    limits = {name: getattr(key, name) for name in LIMITS}
    ends_at = None if key.expires_at is None else key.expires_at.isoformat()
    return {"status": key.status, "scopes": list(key.scopes), "expires_at": ends_at, **limits}


def disable_key(ledger: Ledger, project: str, name: str, *, by: Cause | None = None) -> ApiKey:
    """Make a key, and the one before its last rotation, worthless for good; raises NotFoundError."""
    record = find_key(ledger, project, name)
    if record.status == ApiKeyStatus.DISABLED:
        return record
    with ledger.write() as connection:
        changed = ledger.change_with(connection, record, status=ApiKeyStatus.DISABLED, fence=record.fence + 1)
        _note(ledger, connection, Action.DISABLE_KEY, record, changed, by)
    return changed


def rotate_key(
    ledger: Ledger,
    project: str,
    name: str,
    grace: timedelta,
    now: datetime | None = None,
    *,
    by: Cause | None = None,
) -> tuple[ApiKey, str]:
    """Give a name a new key and return it; the old one works until the grace ends, the one before it no more.

    Raises NotFoundError, and ConflictError for a disabled key or when another rotation came first.
    """
    record = find_key(ledger, project, name)
    if record.status == ApiKeyStatus.DISABLED:
        raise ConflictError(f"key {name!r} is disabled for good; create another one")
    key = KEY_PREFIX + secrets.token_urlsafe(RANDOM_BYTES)
    with ledger.write() as connection:
        changed = ledger.change_with(
            connection,
            record,
            digest=digest_of(key),
            previous_digest=record.digest,
            previous_ends_at=(now or utc_now()) + grace,
            fence=record.fence + 1,
        )
        _note(ledger, connection, Action.ROTATE_KEY, record, changed, by)
    return changed, key


def state_of_keys(ledger: Ledger, project: str) -> tuple[int, int]:
    """Return two numbers of which one changes whenever a key is made or changed; raises StorageError."""
    table = TABLES[ApiKey]
    query = sa.select(sa.func.count(), sa.func.coalesce(sa.func.sum(table.c.fence), 0))
    with ledger.read() as connection:
        count, fences = connection.execute(query.where(table.c.project == project)).one()
    return int(count), int(fences)
