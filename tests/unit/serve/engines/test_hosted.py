"""A gateway waits for what hosts prove, says for what, and lets go of what a host says is gone."""

import asyncio
import math
from dataclasses import replace

import pytest

from driftwheel.control.engine_hosts import EngineState, HostedEngine, HostReport, find_report, put_report
from driftwheel.errors import EngineError
from driftwheel.settings.settings import Settings
from driftwheel.store.ledger import Ledger
from serve.engines import hosted
from serve.engines.hosted import LOOKS_WITHOUT_HEARTBEAT, EngineAtHost, HostBook, HostedLauncher
from tests.support.versions import published_version

VERSION = published_version("v1")


@pytest.fixture
def book(settings: Settings, ledger: Ledger, monkeypatch: pytest.MonkeyPatch) -> HostBook:
    monkeypatch.setattr(hosted, "LOOK_SECONDS", 0.01)
    monkeypatch.setattr(hosted, "NO_HOST_SECONDS", 0.1)
    return HostBook(ledger, settings.alias_key)


@pytest.fixture
def lasting(monkeypatch: pytest.MonkeyPatch) -> None:
    """No host is taken for silent: with looks this quick, that is one whose next word a busy disk delays."""
    monkeypatch.setattr(hosted, "LOOKS_WITHOUT_HEARTBEAT", math.inf)


def engine(state: EngineState, reason: str = "", port: int = 8001, version_id: str = "v1") -> HostedEngine:
    return HostedEngine(version_id=version_id, state=state, reason=reason, model=version_id, port=port)


def say(book: HostBook, name: str, *engines: HostedEngine, session: str = "1") -> None:
    """Write what a host says, with one heartbeat more."""
    seen = find_report(book.ledger, book.key, name)
    beats = seen.heartbeats + 1 if seen else 1
    report = HostReport(
        name=name, place=name, session=session, address="10.0.0.1", heartbeats=beats, engines=tuple(engines)
    )
    assert put_report(book.ledger, book.key, seen, report)


def launcher(settings: Settings, book: HostBook, timeout_seconds: float = 60.0) -> HostedLauncher:
    return HostedLauncher(settings.serve.model_copy(update={"start_timeout_seconds": timeout_seconds}), book)


@pytest.mark.usefixtures("lasting")
def test_every_host_that_lives_is_waited_for(settings: Settings, book: HostBook) -> None:
    say(book, "a", engine(EngineState.PROVED))
    say(book, "b", engine(EngineState.FETCHING, "1 of 2 MB"))

    async def wait() -> list[str]:
        waiting = asyncio.create_task(launcher(settings, book).places(VERSION))
        for _ in range(3):
            looked_at = book._looked_at
            while book._looked_at == looked_at:
                assert not waiting.done()
                await asyncio.sleep(0.005)
        assert not waiting.done()
        await asyncio.to_thread(say, book, "b", engine(EngineState.PROVED, port=8002))
        return await waiting

    places = asyncio.run(wait())
    assert [place.split()[0] for place in places] == ["a", "b"]
    found = launcher(settings, book).launch(VERSION, places[1])
    assert (found.url, found.name, found.is_running) == ("http://10.0.0.1:8002", "v1", True)


def test_a_host_that_refuses_a_version_does_not_hold_up_the_others(settings: Settings, book: HostBook) -> None:
    say(book, "a", engine(EngineState.PROVED))
    say(book, "b", engine(EngineState.REFUSED, "no room on the GPU"))
    assert len(asyncio.run(launcher(settings, book).places(VERSION))) == 1


@pytest.mark.usefixtures("lasting")
def test_what_no_host_has_proved_is_one_error_with_what_each_says(settings: Settings, book: HostBook) -> None:
    with pytest.raises(EngineError, match="no engine host is there: run `driftwheel engine-host`"):
        asyncio.run(launcher(settings, book).places(VERSION))
    say(book, "a", engine(EngineState.REFUSED, "another model"))
    look(book, 1)
    with pytest.raises(EngineError, match=r"no engine host has proved v1 in \d+ s: a refused: another model"):
        asyncio.run(launcher(settings, book).places(VERSION))
    say(book, "b", engine(EngineState.FETCHING, "1 of 2 MB"))
    say(book, "c", engine(EngineState.PROVED, version_id="v2"))  # it comes back with an old version
    look(book, 1)  # a fast machine says both within LOOK_SECONDS of the last look, a slow one looks between them
    with pytest.raises(EngineError, match="b fetching: 1 of 2 MB; c has not begun"):
        asyncio.run(launcher(settings, book, 0.1).places(VERSION))


def look(book: HostBook, times: float) -> None:
    for _ in range(int(times)):
        book._looked_at = -1.0
        book.look()


def test_a_silent_host_is_not_waited_for_but_keeps_the_engines_that_answer(settings: Settings, book: HostBook) -> None:
    say(book, "a", engine(EngineState.PROVED))
    say(book, "b", engine(EngineState.STARTING))
    look(book, 1)
    there = HostedLauncher(settings.serve, book)
    found = there.launch(VERSION, book.proved("v1")[0].key)
    look(book, LOOKS_WITHOUT_HEARTBEAT)
    assert book.hosts() == []
    assert found.is_running
    say(book, "a", engine(EngineState.PROVED))
    look(book, 1)
    assert len(asyncio.run(there.places(VERSION))) == 1  # although b has not settled
    assert there.engines_per_version == 1


@pytest.mark.parametrize("state", [EngineState.LEAVING, EngineState.STARTING, None])
def test_an_engine_is_let_go_when_its_host_says_so(
    settings: Settings, book: HostBook, state: EngineState | None
) -> None:
    say(book, "a", engine(EngineState.PROVED))
    look(book, 1)
    found: EngineAtHost = HostedLauncher(settings.serve, book).launch(VERSION, book.proved("v1")[0].key)
    assert found.is_running
    say(book, "a", *([engine(state)] if state else []))
    look(book, 1)
    assert not found.is_running


def test_an_engine_of_an_agent_that_started_again_is_another_one(settings: Settings, book: HostBook) -> None:
    say(book, "a", engine(EngineState.PROVED))
    look(book, 1)
    place = book.proved("v1")[0].key
    found = HostedLauncher(settings.serve, book).launch(VERSION, place)
    say(book, "a", engine(EngineState.PROVED), session="2")
    look(book, 1)
    assert not found.is_running
    with pytest.raises(EngineError, match="the engine of v1 on host a is gone again"):
        HostedLauncher(settings.serve, book).launch(replace(VERSION), place)


def test_an_outage_of_the_ledger_makes_no_host_silent(settings: Settings, book: HostBook, ledger: Ledger) -> None:
    say(book, "a", engine(EngineState.PROVED))
    look(book, LOOKS_WITHOUT_HEARTBEAT - 1)
    assert len(book.hosts()) == 1
    with ledger.engine.begin() as connection:
        connection.exec_driver_sql("ALTER TABLE switch RENAME TO gone")
    look(book, 5)
    with ledger.engine.begin() as connection:
        connection.exec_driver_sql("ALTER TABLE gone RENAME TO switch")
    look(book, LOOKS_WITHOUT_HEARTBEAT - 2)
    assert len(book.hosts()) == 1
