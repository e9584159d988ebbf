"""Known keys have a caller, unknown, disabled and expired ones none; the ledger's changes are known within a second."""

import asyncio
import hashlib
from datetime import timedelta

import pytest

from driftwheel.callers.api_keys import create_key, disable_key, environment_keys, keys_of, rotate_key
from driftwheel.identity import utc_now
from driftwheel.records.bookkeeping import Scope
from driftwheel.store.ledger import Ledger
from serve.access.key_ring import RELOAD_SECONDS, ApiKeys, follow

NOW = utc_now()
KEY_ID = hashlib.sha256(b"k2").hexdigest()[:8]
HOUR = timedelta(hours=1)


def who(keys: ApiKeys, key: str, *, after: timedelta = timedelta(0)) -> str | None:
    caller = keys.identify(b"Bearer " + key.encode(), (NOW + after).timestamp())
    return caller.id if caller else None


@pytest.mark.parametrize(
    ("header", "key_id"),
    [
        (b"Bearer k2", KEY_ID),
        (b"bearer  k2 ", KEY_ID),
        (b"Bearer k3", None),
        (b"k2", None),
        (b"", None),
        (b"Bearer ", None),
        (b"Basic k2", None),
        (b"Bearer k1,k2", None),
        (b"Bearer\tk2", None),
    ],
    ids=["known", "case-and-space", "unknown", "no-scheme", "missing", "empty", "basic", "two", "tab"],
)
def test_a_header_names_its_key(header: bytes, key_id: str | None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DRIFTWHEEL_API_KEYS", "k1, k2,")
    caller = ApiKeys(environment_keys()).identify(header, 0.0)
    assert (caller.id if caller else None) == key_id
    assert caller is None or caller.scopes == frozenset(Scope)


def test_a_key_of_the_ledger_works_until_it_expires_or_is_disabled(ledger: Ledger) -> None:
    _, key = create_key(ledger, "support", "bot", [Scope.ASK], expires_at=NOW + HOUR)
    keys = ApiKeys([], keys_of(ledger, "support"))
    assert (who(keys, key), who(keys, key, after=2 * HOUR), who(keys, key[:-1])) == ("support/bot", None, None)
    disable_key(ledger, "support", "bot")
    keys.load(keys_of(ledger, "support"))
    assert who(keys, key) is None
    assert not keys


def test_after_a_rotation_both_keys_work_until_the_grace_ends(ledger: Ledger) -> None:
    _, first = create_key(ledger, "support", "bot", [Scope.ASK])
    _, second = rotate_key(ledger, "support", "bot", HOUR, NOW)
    keys = ApiKeys([], keys_of(ledger, "support"))
    assert (who(keys, first), who(keys, second)) == ("support/bot", "support/bot")
    assert (who(keys, first, after=2 * HOUR), who(keys, second, after=2 * HOUR)) == (None, "support/bot")
    disable_key(ledger, "support", "bot")
    keys.load(keys_of(ledger, "support"))
    assert (who(keys, first), who(keys, second)) == (None, None)


def test_what_a_key_has_used_stays_used_when_another_key_changes(ledger: Ledger) -> None:
    _, key = create_key(ledger, "support", "bot", [Scope.ASK], requests_per_minute=2)
    keys = ApiKeys([], keys_of(ledger, "support"))
    caller = keys.identify(f"Bearer {key}".encode(), 0.0)
    assert caller is not None
    assert caller.rate_limit is not None
    caller.rate_limit.enter(0.0)
    create_key(ledger, "support", "other", [Scope.ASK])
    keys.load(keys_of(ledger, "support"))
    again = keys.identify(f"Bearer {key}".encode(), 0.0)
    assert again is not None
    assert again.rate_limit is caller.rate_limit


def test_changes_in_the_ledger_are_known_within_a_second(ledger: Ledger) -> None:
    keys = ApiKeys([])

    async def watch() -> list[str | None]:
        task = asyncio.create_task(follow(keys, ledger, "support"))
        _, key = await asyncio.to_thread(create_key, ledger, "support", "bot", [Scope.ASK])
        while who(keys, key) is None:
            await asyncio.sleep(0.02)
        seen = [who(keys, key)]
        await asyncio.to_thread(disable_key, ledger, "support", "bot")
        while who(keys, key) is not None:
            await asyncio.sleep(0.02)
        task.cancel()
        return [*seen, who(keys, key)]

    assert asyncio.run(asyncio.wait_for(watch(), 60)) == ["support/bot", None]
    assert RELOAD_SECONDS < 1
