"""Who holds an API key, and what it is good for, as the ledger and the environment say now.

For listeners that few ask, such as the dashboard: each look-up is a query. The gateway keeps the keys in memory.
"""

from dataclasses import dataclass
from datetime import datetime

from driftwheel.callers.api_keys import KEY_ID_DIGITS, digest_of, environment_keys, keys_of, refuse_weak, with_implied
from driftwheel.records.bookkeeping import ApiKey, ApiKeyStatus, Scope
from driftwheel.store.ledger import Ledger
from driftwheel.store.tables import TABLES


@dataclass(frozen=True, kw_only=True)
class KeyHolder:
    """Who holds a key; the id stands with whatever they do."""

    id: str
    """``project/name``; of a key from the environment the first digits of its sha256."""
    scopes: frozenset[Scope]


def holder_of(ledger: Ledger, project: str, key: str, now: datetime) -> KeyHolder | None:
    """Return who holds a key that is good now, or None."""
    digest = digest_of(key)
    columns = TABLES[ApiKey].c
    is_it = (columns.digest == digest) | (columns.previous_digest == digest)
    for record in ledger.find(ApiKey, is_it, project=project, status=ApiKeyStatus.ACTIVE):
        ends = [record.expires_at] if record.digest == digest else [record.expires_at, record.previous_ends_at]
        if all(end is None or now < end for end in ends):
            return _holder(record)
    return _of_environment().get(digest)


def holder_named(ledger: Ledger, project: str, id: str, now: datetime) -> KeyHolder | None:
    """Return the holder of an id whose key is still good, or None."""
    for record in ledger.find(ApiKey, id=id, project=project, status=ApiKeyStatus.ACTIVE):
        return _holder(record) if record.expires_at is None or now < record.expires_at else None
    return next((holder for holder in _of_environment().values() if holder.id == id), None)


def has_keys(ledger: Ledger, project: str) -> bool:
    """Say whether there is any key; raises ConfigError if one of the environment could be guessed."""
    keys = environment_keys()
    refuse_weak(keys)
    return bool(keys) or any(r.status == ApiKeyStatus.ACTIVE for r in keys_of(ledger, project))


def bearer(authorization: str) -> str | None:
    """Return the key in an Authorization header's value, or None."""
    kind, _, key = authorization.partition(" ")
    return key.strip() or None if kind.lower() == "bearer" else None


def _holder(record: ApiKey) -> KeyHolder:
    return KeyHolder(id=record.id, scopes=with_implied(map(Scope, record.scopes)))


def _of_environment() -> dict[str, KeyHolder]:
    digests = [digest_of(key) for key in environment_keys()]
    return {digest: KeyHolder(id=digest[:KEY_ID_DIGITS], scopes=frozenset(Scope)) for digest in digests}
