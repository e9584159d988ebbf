"""The parity table: how far each form of a model is from the trained one, stored and read back."""

from dataclasses import dataclass, field, replace
from pathlib import Path

from driftwheel.errors import GateError
from driftwheel.files import artifacts
from driftwheel.records.json_form import from_json
from driftwheel.records.scorecard import ParityRow, Scorecard
from driftwheel.settings.artifact import ParitySettings
from train.fidelity.hops import measure, require
from train.fidelity.noise import ReadTwice
from train.fidelity.probing import Probe, Reading


@dataclass(frozen=True, kw_only=True)
class ParityTable:
    """What is stored of a measurement, in parity.json."""

    rows: list[ParityRow]
    max_tokens: int
    """Longest answer that was generated."""
    probes: list[Probe]
    readings: dict[str, list[Reading]]
    """What each form makes of the probes, by the form's name, the trained one first."""
    again: dict[str, list[Reading]] = field(default_factory=dict)
    """What a second reading of the same files makes of them; empty in a table that is older than this."""

    def twice(self, form: str) -> ReadTwice | None:
        """Return both readings of a form's files."""
        return ReadTwice(once=self.readings[form], again=self.again[form]) if form in self.again else None

    def plus(
        self,
        hop: str,
        readings: list[Reading],
        again: list[Reading],
        *,
        noise_from: str | None = None,
        coarser: tuple[str, ...] = (),
    ) -> "ParityTable":
        """Return the table with one form more, both readings of its files, and the hop to it.

        The noise is that of the form itself, or of `noise_from` where the form's own belongs to what the hop changed.
        """
        wider = replace(self, readings={**self.readings, hop: readings}, again={**self.again, hop: again})
        twice = wider.twice(noise_from or hop)
        row = measure(hop, readings, list(self.readings.items()), twice=twice, coarser=coarser)
        return replace(wider, rows=[*self.rows, row])


@dataclass(frozen=True, kw_only=True)
class Parity:
    """What the forms before the endpoint make of the probes."""

    artifact: Path
    folder: Path
    probes: list[Probe]
    chain: list[tuple[str, list[Reading]]]
    rows: list[ParityRow]
    """The table's rows so far."""
    max_tokens: int
    """Longest answer that was generated."""
    digest: str
    """Content hash of the folder."""
    twice: ReadTwice | None = None
    """Both readings of the last form's files."""


def parity_folder(root: Path, artifact: Path) -> Path:
    """Return where an artifact's parity table is."""
    return root / "parity" / artifact.resolve().name


def find_parity(root: Path, artifact: Path) -> Parity | None:
    """Return what was measured of exactly these files, or None."""
    folder = parity_folder(root, artifact)
    if not artifacts.is_complete(folder):
        return None
    is_same = artifacts.read_manifest(folder).artifact == artifacts.read_manifest(artifact).content_hash
    return load_parity(root, artifact) if is_same else None


def require_parity(settings: ParitySettings, scorecard: Scorecard, artifact: Path) -> None:
    """Raise GateError unless a scorecard holds the whole table, ParityError if a hop is over its tolerance."""
    rows = scorecard.parity or ()
    if "served" not in {row.hop for row in rows}:
        raise GateError(
            f"{artifact} was evaluated without a parity table, so that what is served may not be what was trained; "
            "run `driftwheel parity`, then `driftwheel evaluate` and publish again"
        )
    require(settings, rows)


def load_parity(root: Path, artifact: Path) -> Parity:
    """Read a finished measurement; raises ArtifactError if it was changed."""
    folder = parity_folder(root, artifact)
    digest = artifacts.verify(folder).content_hash
    stored = from_json((folder / "parity.json").read_bytes(), ParityTable)
    return Parity(
        artifact=artifact,
        folder=folder,
        probes=stored.probes,
        chain=list(stored.readings.items()),
        rows=stored.rows,
        max_tokens=stored.max_tokens,
        digest=digest,
        twice=stored.twice(list(stored.readings)[-1]),
    )
