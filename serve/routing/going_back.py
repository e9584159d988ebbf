"""A way back that needs no database: the alias means the version before at once, and the record comes afterwards."""

from dataclasses import dataclass

from driftwheel.records.by_whom import Cause


@dataclass(frozen=True, kw_only=True)
class RollbackOrder:
    """What somebody has ordered of this gateway, and no row says yet."""

    fence: int
    """Of the alias' row that was read last: the record is void if anybody has moved the alias since."""
    left_id: str
    version_id: str
    by: Cause
