"""Writes the reconciler's moves to Deployment rows and the alias row, each move in one transaction.

Only the leader writes; what a gateway that follows does is its own matter, and leaves no row.
"""

from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Concatenate, ParamSpec

import sqlalchemy as sa

from driftwheel.identity import new_id, utc_now
from driftwheel.records.alias_key import AliasKey
from driftwheel.records.by_whom import Action, Facts, process
from driftwheel.records.nouns import Alias, Deployment, DeploymentStage
from driftwheel.store.alias import dismiss_leader, observe_alias
from driftwheel.store.events import note_with
from driftwheel.store.ledger import Ledger
from driftwheel.store.tables import TABLES
from serve.release.leader import LeaderElection

BESIDE_LIVE = (DeploymentStage.DRAINING, DeploymentStage.SHADOW, DeploymentStage.CANARY)
UNFINISHED = (DeploymentStage.LIVE, *BESIDE_LIVE)
P = ParamSpec("P")


def by_leader(
    write: Callable[Concatenate["Deployments", P], None],
) -> Callable[Concatenate["Deployments", P], None]:
    """Make a method do nothing on a gateway that follows."""

    def write_if_leader(self: "Deployments", /, *args: P.args, **named: P.kwargs) -> None:
        if self.is_ours:
            write(self, *args, **named)

    return write_if_leader


class Deployments:
    """Writes for one alias; every method blocks, so the reconciler calls it in a thread.

    Raises ConflictError if another gateway has begun to lead.
    """

    def __init__(self, ledger: Ledger, key: AliasKey, leader: LeaderElection) -> None:
        self._ledger, self._key, self.election = ledger, key, leader
        self.is_ours = False
        """Whether this gateway writes the rows: the reconciler's word for as long as a step of it takes."""

    def take_over(self, alias: Alias, live_id: str | None) -> None:
        """Retire what the leader before this one left; live is what this gateway serves, if it does yet."""
        rows = self._ledger.find(Deployment, alias=alias.name, project=alias.project, stage=DeploymentStage.LIVE.value)
        with self.election.write() as connection:
            self._set(connection, None, BESIDE_LIVE, DeploymentStage.RETIRED, reason="its gateway ended")
            if live_id is not None and [row.version_id for row in rows] != [live_id]:
                self._set(connection, None, [DeploymentStage.LIVE], DeploymentStage.RETIRED)
                reason = f"served at fence {alias.observed_fence} by the gateway that leads now"
                self._ledger.add_with(
                    connection, [self._row(alias, live_id, DeploymentStage.LIVE, 1.0, reason, utc_now())]
                )

    @by_leader
    def go_live(
        self,
        alias: Alias,
        version_id: str,
        *,
        way: str,
        fence: int,
        error: str | None,
        drained_id: str | None = None,
    ) -> None:
        """Say that a version serves the alias, and in which way: its old rows end, and the version before it drains."""
        at = utc_now()
        # One transaction: nobody ever reads two live versions, or none.
        with self.election.write() as connection:
            self._set(connection, version_id, UNFINISHED, DeploymentStage.RETIRED)
            if drained_id is not None:
                self._set(connection, drained_id, [DeploymentStage.LIVE], DeploymentStage.DRAINING)
            self._set(connection, None, [DeploymentStage.LIVE], DeploymentStage.RETIRED)
            reason = f"{way}; alias row at fence {alias.fence}"
            self._ledger.add_with(connection, [self._row(alias, version_id, DeploymentStage.LIVE, 1.0, reason, at)])
            project, name = alias.project, alias.name
            observe_alias(connection, project, name, version_id=version_id, fence=fence, error=error)
            self._note(connection, Action.SWAP, version_id, {"fence": fence}, way)

    @by_leader
    def observe(self, alias: Alias, version_id: str | None, *, fence: int, error: str | None = None) -> None:
        """Say what is served, and what was refused."""
        with self.election.write() as connection:
            project, name = alias.project, alias.name
            observe_alias(connection, project, name, version_id=version_id, fence=fence, error=error)
            # What is refused is tried again and again: said once for each reason.
            if error is not None and (alias.observed_fence, alias.observed_error) != (fence, error):
                self._note(connection, Action.REFUSE_SWAP, alias.version_id, {"fence": fence}, error)

    @by_leader
    def open(self, alias: Alias, version_id: str, stage: DeploymentStage, share: float, reason: str) -> None:
        """Say that a version has entered a stage beside the live one; its earlier rows end."""
        with self.election.write() as connection:
            self._set(connection, version_id, UNFINISHED, DeploymentStage.RETIRED)
            self._ledger.add_with(connection, [self._row(alias, version_id, stage, share, reason, utc_now())])
            self._set(connection, None, [DeploymentStage.LIVE], DeploymentStage.LIVE, share=1.0 - share)
            action = Action.BEGIN_CANARY if stage is DeploymentStage.CANARY else Action.SHADOW
            self._note(connection, action, version_id, {"share": share, "fence": alias.fence}, reason)

    @by_leader
    def share_out(self, version_id: str, share: float) -> None:
        """Write a canary's share, and what is left to the live version."""
        with self.election.write() as connection:
            self._set(connection, version_id, [DeploymentStage.CANARY], DeploymentStage.CANARY, share=share)
            self._set(connection, None, [DeploymentStage.LIVE], DeploymentStage.LIVE, share=1.0 - share)
            self._note(connection, Action.ADVANCE_CANARY, version_id, {"share": share}, "no worse so far")

    @by_leader
    def explain(self, version_id: str, reason: str) -> None:
        """Write why a canary goes no further by itself."""
        with self.election.write() as connection:
            self._set(connection, version_id, [DeploymentStage.CANARY], DeploymentStage.CANARY, reason=reason)
            self._note(connection, Action.HOLD_CANARY, version_id, {}, reason)

    @by_leader
    def end_canary(self, version_id: str, stage: DeploymentStage, reason: str) -> None:
        """Say that a canary has ended without going live, and why; the live version has everything again."""
        with self.election.write() as connection:
            self._set(connection, version_id, [DeploymentStage.CANARY], stage, reason=reason)
            self._set(connection, None, [DeploymentStage.LIVE], DeploymentStage.LIVE, share=1.0)
            self._note(connection, Action.ABORT_CANARY, version_id, {"stage": stage}, reason)

    @by_leader
    def restage(self, version_id: str, old: DeploymentStage, new: DeploymentStage) -> None:
        """Move a version's rows from one stage to the next."""
        with self.election.write() as connection:
            self._set(connection, version_id, [old], new)

    @by_leader
    def close(self, version_id: str) -> None:
        """Say that a version's engines are stopped."""
        with self.election.write() as connection:
            self._set(connection, version_id, UNFINISHED, DeploymentStage.RETIRED)

    @by_leader
    def release(self) -> None:
        """Retire every row of a gateway that ends, and let another one lead."""
        with self.election.write() as connection:
            self._set(connection, None, UNFINISHED, DeploymentStage.RETIRED, reason="gateway ended")
            # So the next gateway need not wait for missed heartbeats.
            dismiss_leader(connection, *self._key)

    def canary_share(self, alias: Alias) -> float:
        """Return which share of the requests the leader gives to the desired version; 0 where it is no canary."""
        rows = self._ledger.find(
            Deployment,
            alias=alias.name,
            project=alias.project,
            version_id=alias.version_id,
            stage=DeploymentStage.CANARY.value,
        )
        return rows[0].share if rows else 0.0

    def _note(self, connection: sa.Connection, action: Action, version_id: str, after: Facts, reason: str) -> None:
        note_with(
            self._ledger, connection, process("gateway", reason), action, self._key.project, version_id, after=after
        )

    def _set(
        self,
        connection: sa.Connection,
        version_id: str | None,
        stages: Sequence[DeploymentStage],
        stage: DeploymentStage,
        *,
        share: float = 0.0,
        reason: str = "",
    ) -> None:
        """Change the rows in the given stages, of one version or of all, by one statement that no other can cut."""
        table = TABLES[Deployment]
        is_chosen = [
            table.c.project == self._key.project,
            table.c.alias == self._key.name,
            table.c.stage.in_(stages),
        ]
        if version_id is not None:
            is_chosen.append(table.c.version_id == version_id)
        change = sa.update(table).where(*is_chosen).values(stage=stage, share=share, updated_at=utc_now())
        if reason:
            change = change.values(reason=table.c.reason + f"; {reason}")
        connection.execute(change)

    def _row(
        self, alias: Alias, version_id: str, stage: DeploymentStage, share: float, reason: str, at: datetime
    ) -> Deployment:
        return Deployment(
            id=new_id("deployment", [alias.id, version_id, alias.fence, stage, at], at),
            project=alias.project,
            created_at=at,
            alias=alias.name,
            version_id=version_id,
            stage=stage,
            share=share,
            fence=alias.fence,
            reason=reason,
            updated_at=at,
        )
