"""What the rollout does becomes Deployment rows and the observed half of the alias row, each move one transaction."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from driftwheel.config import Settings
from driftwheel.ledger import TABLES, Ledger
from driftwheel.records import Alias, Deployment, Stage, new_id, utc_now

UNFINISHED = (Stage.LIVE, Stage.DRAINING, Stage.SHADOW, Stage.CANARY)


class Deployments:
    """Writes for one alias; every method blocks, so the rollout calls it in a thread."""

    def __init__(self, settings: Settings, ledger: Ledger) -> None:
        self._settings, self._ledger = settings, ledger

    def go_live(self, alias: Alias, version_id: str, *, way: str, fence: int, error: str | None) -> None:
        """Say that a version serves the alias, and in which way: its old rows end, the live one before it drains."""
        at, aliases = utc_now(), TABLES[Alias]
        with self._ledger.write() as connection:
            self._set(connection, version_id, UNFINISHED, Stage.RETIRED)
            self._set(connection, None, [Stage.LIVE], Stage.DRAINING)
            reason = f"{way}; alias row at fence {alias.fence}"
            self._ledger.add_with(connection, [self._row(alias, version_id, Stage.LIVE, 1.0, reason, at)])
            connection.execute(
                sa.update(aliases).where(aliases.c.id == alias.id, aliases.c.observed_fence <= fence)
                .values(observed_version_id=version_id, observed_fence=fence, observed_at=at, observed_error=error)
            )  # fmt: skip

    def open(self, alias: Alias, version_id: str, stage: Stage, share: float, reason: str) -> None:
        """Say that a version has entered a stage beside the live one; its earlier rows end."""
        with self._ledger.write() as connection:
            self._set(connection, version_id, UNFINISHED, Stage.RETIRED)
            self._ledger.add_with(connection, [self._row(alias, version_id, stage, share, reason, utc_now())])
            self._set(connection, None, [Stage.LIVE], Stage.LIVE, share=1.0 - share)

    def share_out(self, version_id: str, share: float) -> None:
        """Write a canary's share, and what is left to the live version."""
        with self._ledger.write() as connection:
            self._set(connection, version_id, [Stage.CANARY], Stage.CANARY, share=share)
            self._set(connection, None, [Stage.LIVE], Stage.LIVE, share=1.0 - share)

    def end_canary(self, version_id: str, stage: Stage, reason: str) -> None:
        """Say that a canary has ended without going live, and why; the live version has everything again."""
        with self._ledger.write() as connection:
            self._set(connection, version_id, [Stage.CANARY], stage, reason=reason)
            self._set(connection, None, [Stage.LIVE], Stage.LIVE, share=1.0)

    def restage(self, version_id: str, old: Stage, new: Stage) -> None:
        """Move a version's rows from one stage to the next."""
        with self._ledger.write() as connection:
            self._set(connection, version_id, [old], new)

    def close(self, version_id: str) -> None:
        """Say that a version's engines are stopped."""
        with self._ledger.write() as connection:
            self._set(connection, version_id, UNFINISHED, Stage.RETIRED)

    def close_leftovers(self) -> None:
        """Retire what an earlier gateway left; its engines died with it."""
        with self._ledger.write() as connection:
            self._set(connection, None, UNFINISHED, Stage.RETIRED, reason="gateway ended")

    def _set(
        self,
        connection: sa.Connection,
        version_id: str | None,
        stages: Sequence[Stage],
        stage: Stage,
        *,
        share: float = 0.0,
        reason: str = "",
    ) -> None:
        """Change the rows in the given stages, of one version or of all, by one statement that no other can cut."""
        table = TABLES[Deployment]
        of_alias = sa.and_(
            table.c.project == self._settings.project, table.c.alias == self._settings.serve.alias,
            table.c.stage.in_(stages),
        )  # fmt: skip
        of_version = table.c.version_id == version_id if version_id is not None else sa.true()
        values: dict[str, Any] = {"stage": stage, "share": share, "updated_at": utc_now()}
        values |= {"reason": table.c.reason + f"; {reason}"} if reason else {}
        connection.execute(sa.update(table).where(of_alias, of_version).values(**values))

    def _row(self, alias: Alias, version_id: str, stage: Stage, share: float, reason: str, at: datetime) -> Deployment:
        return Deployment(
            id=new_id("deployment", [alias.id, version_id, alias.fence, stage, at], at), project=alias.project,
            created_at=at, alias=alias.id, version_id=version_id, stage=stage, share=share, fence=alias.fence,
            reason=reason, updated_at=at,
        )  # fmt: skip
