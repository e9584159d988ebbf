"""Requests that change the ledger take turns: bounded in number, fair between keys, with rests for the traffic log."""

import asyncio
import time

import pytest

from serve.access.ledger_turns import MOST_WAITING, LedgerTurns
from serve.refusals import RequestRefused


async def flood(turns: LedgerTurns, caller_ids: list[str], seconds: float) -> list[int]:
    """Ask for turns at once, each of which lasts so long; return what each got: 200, 429 or 503."""
    at_once = 0

    async def ask(caller_id: str) -> int:
        nonlocal at_once
        try:
            async with turns.turn(caller_id):
                at_once += 1
                assert at_once == 1
                await asyncio.sleep(seconds)
                at_once -= 1
        except RequestRefused as refusal:
            return refusal.status
        return 200

    return await asyncio.gather(*(ask(caller_id) for caller_id in caller_ids))


def test_one_key_gets_half_of_the_places_and_all_keys_together_no_more_than_there_are() -> None:
    half = MOST_WAITING // 2
    answers = asyncio.run(flood(LedgerTurns(), ["loud"] * 500 + ["quiet"] * 500 + ["late"] * 3, 0.0))
    assert answers == [200] * half + [429] * (500 - half) + [200] * half + [503] * (500 - half) + [503] * 3


def test_between_two_turns_lies_a_rest_as_long_as_the_first() -> None:
    began_at = time.monotonic()
    assert asyncio.run(flood(LedgerTurns(), ["one"] * 3, 0.05)) == [200] * 3
    assert time.monotonic() - began_at >= 0.05 * 5


def test_a_turn_that_fails_lets_the_next_one_in() -> None:
    async def fail_and_go_on() -> list[int]:
        turns = LedgerTurns()
        with pytest.raises(ZeroDivisionError):
            async with turns.turn("one"):
                raise ZeroDivisionError
        return await flood(turns, ["one"] * (MOST_WAITING // 2), 0.0)

    assert asyncio.run(fail_and_go_on()) == [200] * (MOST_WAITING // 2)
