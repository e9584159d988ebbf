"""Looks up API keys: a bearer key gives its caller; the ledger is read again when keys have changed."""

import asyncio
import hashlib
import math
from collections.abc import Callable, Iterable, Sequence
from datetime import datetime

import structlog

from driftwheel.callers.api_keys import KEY_ID_DIGITS, keys_of, state_of_keys, with_implied
from driftwheel.errors import StorageError
from driftwheel.records.bookkeeping import ApiKey, ApiKeyStatus, Scope
from driftwheel.store.ledger import Ledger
from serve.access.caller import Caller
from serve.access.rate_limit import RateLimit
from serve.access.shared_counts import Counts

RELOAD_SECONDS = 0.5
"""How long a key that was disabled may still be good; each look is one cheap query for a counter."""
log = structlog.get_logger()


class ApiKeys:
    """The keys that may use the gateway, by their hashes."""

    def __init__(
        self, keys: Iterable[str], records: Sequence[ApiKey] = (), counts_of: Callable[[str], Counts] | None = None
    ) -> None:
        """Take the environment's keys, which may do everything, and the ledger's; and where a key's use is counted."""
        self._counts_of = counts_of or (lambda key_id: Counts())
        self.texts = list(keys)
        self._from_environment = {}
        for key in self.texts:
            digest = hashlib.sha256(key.encode()).digest()
            self._from_environment[digest] = (Caller(digest.hex()[:KEY_ID_DIGITS], frozenset(Scope)), math.inf)
        self._callers: dict[bytes, tuple[Caller, float]] = {}
        self._rate_limits: dict[str, RateLimit] = {}
        self.load(records)

    def __bool__(self) -> bool:
        return bool(self._callers)

    def load(self, records: Sequence[ApiKey]) -> None:
        """Know these keys of the ledger and no others; what a key has used of an unchanged limit stays used."""
        callers = dict(self._from_environment)
        rate_limits: dict[str, RateLimit] = {}
        for record in records:
            if record.status != ApiKeyStatus.ACTIVE:
                continue
            numbers = (record.requests_per_minute, record.tokens_per_minute, record.max_concurrency)
            if any(numbers):
                # What was used stays used: else any change of any key would fill every bucket.
                known = self._rate_limits.get(record.id)
                is_same = known is not None and known.numbers == numbers
                rate_limits[record.id] = known if known and is_same else RateLimit(*numbers, self._counts_of(record.id))
            caller = Caller(record.id, with_implied(map(Scope, record.scopes)), rate_limits.get(record.id))
            ends_at = _timestamp(record.expires_at)
            callers[bytes.fromhex(record.digest)] = (caller, ends_at)
            if record.previous_digest is not None and record.previous_ends_at is not None:
                old_ends_at = min(ends_at, _timestamp(record.previous_ends_at))
                # Both keys share one caller, so a rotation does not double its limits.
                callers[bytes.fromhex(record.previous_digest)] = (caller, old_ends_at)
        # Replaced whole, never changed in place: a request in between sees the old keys or the new ones.
        self._callers, self._rate_limits = callers, rate_limits

    def identify(self, authorization: bytes, now: float) -> Caller | None:
        """Return who an Authorization header's value names at a time in seconds since 1970, or None.

        A look-up by hash tells a guesser nothing: he cannot choose what his guess hashes to.
        """
        if authorization[:7].lower() != b"bearer ":
            return None
        caller, ends_at = self._callers.get(hashlib.sha256(authorization[7:].strip()).digest(), (None, math.inf))
        return caller if now < ends_at else None


async def follow(keys: ApiKeys, ledger: Ledger, project: str) -> None:
    """Load the ledger's keys again and again; while it cannot be read, the keys known last stay good."""
    known: tuple[int, int] | None = None
    while True:
        try:
            state = await asyncio.to_thread(state_of_keys, ledger, project)
            if state != known:
                keys.load(await asyncio.to_thread(keys_of, ledger, project))
                known = state
        except StorageError as error:
            log.error("the keys could not be read again; those known stay good", error=str(error))
        await asyncio.sleep(RELOAD_SECONDS)


def _timestamp(moment: datetime | None) -> float:
    return math.inf if moment is None else moment.timestamp()
