"""A host's name is one agent's: a restart has it at once, another machine after a silence, and a live one keeps it."""

import asyncio
from dataclasses import replace
from pathlib import Path

import pytest

from driftwheel.control.engine_hosts import find_report, host_reports, put_report
from driftwheel.errors import ConflictError
from driftwheel.settings.settings import Settings
from driftwheel.store.ledger import Ledger
from serve.hosts import name_claim
from serve.hosts.name_claim import NameClaim


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(name_claim, "HEARTBEAT_SECONDS", 0.05)


def claim(settings: Settings, ledger: Ledger, root: str, name: str = "gpu1") -> NameClaim:
    return NameClaim(ledger, settings.alias_key, name, Path(root), "10.0.0.5")


@pytest.mark.every_database
def test_a_restart_at_one_place_has_the_name_at_once_and_the_older_agent_loses_it(
    settings: Settings, ledger: Ledger
) -> None:
    first, second = claim(settings, ledger, "/a"), claim(settings, ledger, "/a")
    asyncio.run(first.take())
    first.report(())
    asyncio.run(second.take())
    with pytest.raises(ConflictError, match="another agent has taken the name of engine host 'gpu1'"):
        first.report(())
    second.report(())
    assert [report.heartbeats for report in host_reports(ledger, settings.alias_key)] == [2]


def test_two_agents_with_one_name_are_told(settings: Settings, ledger: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
    # Five of them pass before the first agent is taken for dead, and its reports may wait for a busy disk.
    monkeypatch.setattr(name_claim, "HEARTBEAT_SECONDS", 1.0)
    first, second = claim(settings, ledger, "/a"), claim(settings, ledger, "/b")

    async def both() -> None:
        await first.take()
        taking = asyncio.create_task(second.take())
        while not taking.done():
            await asyncio.to_thread(first.report, ())
            await asyncio.sleep(0.02)
        await taking

    with pytest.raises(ConflictError, match=r"'gpu1' runs at .*:/a; give this one another --name"):
        asyncio.run(both())
    first.report(())


def test_the_name_of_an_agent_that_is_silent_goes_to_another_machine(settings: Settings, ledger: Ledger) -> None:
    first, second = claim(settings, ledger, "/a"), claim(settings, ledger, "/b")
    asyncio.run(first.take())
    asyncio.run(second.take())
    found = find_report(ledger, settings.alias_key, "gpu1")
    assert found is not None
    assert found.place.endswith(":/b")
    with pytest.raises(ConflictError):
        first.report(())


def test_a_report_whose_answer_was_lost_is_no_other_agent(settings: Settings, ledger: Ledger) -> None:
    one = claim(settings, ledger, "/a")
    asyncio.run(one.take())
    found = find_report(ledger, settings.alias_key, "gpu1")
    assert found is not None
    assert put_report(ledger, settings.alias_key, found, replace(found, heartbeats=found.heartbeats + 1))
    one.report(())  # it has not seen that one


def test_hosts_of_another_alias_are_not_listed(settings: Settings, ledger: Ledger) -> None:
    asyncio.run(claim(settings, ledger, "/a").take())
    assert host_reports(ledger, settings.alias_key._replace(name="other")) == []
    assert [report.name for report in host_reports(ledger, settings.alias_key)] == ["gpu1"]


def test_a_report_that_cannot_be_read_is_nobody_and_stops_no_gateway(settings: Settings, ledger: Ledger) -> None:
    asyncio.run(claim(settings, ledger, "/a", "gpu2").take())
    ledger.set_switch("support", "engine_host/support/gpu1", '{"name": "gpu1", "engines": [{"state": "dancing"}]}')
    assert [report.name for report in host_reports(ledger, settings.alias_key)] == ["gpu2"]
    asyncio.run(claim(settings, ledger, "/a").take())
    assert [report.name for report in host_reports(ledger, settings.alias_key)] == ["gpu1", "gpu2"]
