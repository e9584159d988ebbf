"""The parity table: how far each form of a model is from the trained one."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from train.fidelity.probing import Probe, Reading


@dataclass(frozen=True, kw_only=True)
class Parity:
    """What the forms before the endpoint make of the probes."""

    artifact: Path
    folder: Path
    probes: list[Probe]
    chain: list[tuple[str, list[Reading]]]
    rows: list[dict[str, Any]]
    """The table's rows so far."""
    max_tokens: int
    """Longest answer that was generated."""
    digest: str
    """Content hash of the folder."""
