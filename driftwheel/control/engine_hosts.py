"""What an engine host says of itself in the ledger: who it is, that it lives, and which of its engines are proved.

Each host has one row, which its agent alone replaces, by compare-and-set: an agent whose name another one has taken,
as after a long sleep, finds that its row is not the one that it wrote. Nobody compares clocks: that a host lives is
seen from a number that grows.
"""

import json
from dataclasses import dataclass
from enum import StrEnum

import msgspec
import sqlalchemy as sa
import structlog

from driftwheel.records.alias_key import AliasKey
from driftwheel.records.bookkeeping import Switch
from driftwheel.records.json_form import as_json, from_json
from driftwheel.store.ledger import Ledger
from driftwheel.store.tables import TABLES

HEARTBEAT_SECONDS = 2.0
"""Between two reports of a host about which nothing has changed; each is a commit."""
_SWITCH = TABLES[Switch].c
log = structlog.get_logger()


class EngineState(StrEnum):
    FETCHING = "fetching"  # its files are on their way
    STARTING = "starting"  # it loads them, waits for memory, or is being proved
    PROVED = "proved"  # it answers the probes as the published version did
    REFUSED = "refused"  # it did not start or is another model; `reason` says why
    LEAVING = "leaving"  # it takes no new request, and ends with its last one


@dataclass(frozen=True, kw_only=True)
class HostedEngine:
    """An engine of a host, or a version for which the host has none yet."""

    version_id: str
    state: EngineState
    model: str = ""
    """The name under which it serves the version."""
    port: int = 0
    reason: str = ""
    """Why it is refused, or how far it is."""


@dataclass(frozen=True, kw_only=True)
class HostReport:
    """What a host last said."""

    name: str
    place: str
    """Machine and folder of the agent: of two agents at one place the second is the first one's restart."""
    session: str
    """Differs with every start of an agent."""
    address: str
    """Where the gateways reach its engines."""
    heartbeats: int = 0
    engines: tuple[HostedEngine, ...] = ()

    @property
    def pulse(self) -> tuple[str, int]:
        """What changes while the host lives."""
        return self.session, self.heartbeats


def host_reports(ledger: Ledger, key: AliasKey) -> list[HostReport]:
    """Return what the hosts of an alias last said, by name."""
    prefix = _prefix(key)
    rows = ledger.find(Switch, _SWITCH.id.startswith(f"{key.project}/{prefix}", autoescape=True), project=key.project)
    reports = [report for row in rows if (report := _read(row.value)) is not None]
    return sorted(reports, key=lambda report: report.name)


def find_report(ledger: Ledger, key: AliasKey, name: str) -> HostReport | None:
    """Return what a host last said, or None if there was never one of that name."""
    return _read(ledger.switch(key.project, _prefix(key) + name))


def put_report(ledger: Ledger, key: AliasKey, seen: HostReport | None, report: HostReport) -> bool:
    """Replace a host's report, and say whether that was done: it is not if the row is another than was seen."""
    name = _prefix(key) + report.name
    with ledger.write() as connection:
        query = sa.select(_SWITCH.value).where(_SWITCH.id == f"{key.project}/{name}").with_for_update()
        found = _read(connection.execute(query).scalar() or "")
        # An own row that is newer than what was seen was written by a call whose answer was lost.
        is_own = found is not None and found.session == report.session
        if not is_own and (found.pulse if found else None) != (seen.pulse if seen else None):
            return False
        ledger.set_switch_with(connection, key.project, name, json.dumps(as_json(report)))
        return True


def _read(text: str) -> HostReport | None:
    """Return a report, or None for nothing and for what this driftwheel cannot read, such as a newer agent's words."""
    try:
        return from_json(text, HostReport) if text else None
    except (ValueError, msgspec.ValidationError) as error:
        log.error("the report of an engine host cannot be read; run one version of driftwheel", error=str(error))
        return None


def _prefix(key: AliasKey) -> str:
    return f"engine_host/{key.name}/"
