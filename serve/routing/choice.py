"""Traffic splitting for canaries, and load balancing of replicas by a hash of the prompt's prefix.

Both choices are hashes (sticky sessions, rendezvous hashing), so the same user stays with the same version, also when
the share grows, and the same beginning of a prompt meets the engine that has it in its prefix cache.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, Protocol, TypeVar

AFFINITY_SLACK = 4
"""A replica is kept for its cached prefix while it has at most this many more requests than the least busy one."""

StickyBy = Literal["request", "user", "key"]


class Replica(Protocol):
    """What the choice needs to know of an engine."""

    in_flight: int
    is_ready: bool
    host: str
    port: int


Choice = TypeVar("Choice", bound=Replica)


@dataclass(frozen=True)
class Split:
    """The part of an alias' requests that a canary answers."""

    version_id: str
    share: float
    """0 to 1."""

    def takes(self, unit: str) -> bool:
        """Say whether the canary answers this unit: a request's id, a user or a key."""
        return fraction(f"{self.version_id}\0{unit}") < self.share


def fraction(text: str) -> float:
    """Return a number from 0 to below 1 that is the same for the same text and else as good as random."""
    # Not `hash`: it differs from process to process, and several gateways must deal alike.
    return int.from_bytes(hashlib.blake2b(text.encode("utf-8", "replace"), digest_size=8).digest()) / 2**64


def unit_of(sticky_by: StickyBy, *, request_id: str, key_id: str, user_id: str) -> str:
    """Return what is dealt to canary or live as one: the user, else the key, else the request alone."""
    if sticky_by == "user":
        return user_id or key_id or request_id
    return (key_id or request_id) if sticky_by == "key" else request_id


def least_busy(replicas: Sequence[Choice], prefix: str) -> Choice | None:
    """Return the ready replica that has the prefix cached, or the one with the fewest requests if that is too busy.

    Rendezvous hashing (Thaler and Ravishankar, 1998): when a replica is lost, only its own prefixes move.
    """
    ready = [replica for replica in replicas if replica.is_ready]
    if len(ready) < 2:
        return ready[0] if ready else None
    idlest = min(ready, key=lambda replica: replica.in_flight)
    if not prefix:
        return idlest
    # Address and not number: it stays the same when a replica before it in the list is lost.
    home = max(ready, key=lambda replica: fraction(f"{replica.host}:{replica.port}\0{prefix}"))
    return home if home.in_flight <= idlest.in_flight + AFFINITY_SLACK else idlest
