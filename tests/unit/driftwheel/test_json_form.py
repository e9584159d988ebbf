"""What today's programs wrote of a version is read whole, and written again with the same keys."""

import json
from pathlib import Path
from typing import Any

import msgspec
import pytest

from driftwheel.gate_verdict import GateVerdict
from driftwheel.json_form import as_json
from driftwheel.lineage import Lineage
from driftwheel.probe_answers import Fingerprint
from driftwheel.scorecard import Scorecard

WRITTEN: dict[str, dict[str, Any]] = json.loads((Path(__file__).parent / "written" / "version.json").read_text())
"""Written by the program whose scorecards, verdicts, fingerprints and lineages were dictionaries."""

ADDED = {"baseline": None, "earlier_baseline": None}
"""The file leaves these out, as they are known only when it is read."""


def cases() -> list[Any]:
    """Every one of those objects with its record, and what may stand in its JSON beside what was there."""
    kinds: tuple[tuple[str, type, dict[str, Any]], ...] = (
        ("scorecard_files", Scorecard, ADDED),
        ("scorecards", Scorecard, {}),
        ("verdicts", GateVerdict, {}),
        ("lineages", Lineage, {}),
        ("fingerprints", Fingerprint, {"probes": []}),
    )
    return [
        pytest.param(record, raw, added, id=f"{kind}-{name}")
        for kind, record, added in kinds
        for name, raw in WRITTEN[kind].items()
    ]


@pytest.mark.parametrize(("record", "raw", "added"), cases())
def test_what_was_written_as_dictionaries_is_read_whole(record: type, raw: dict[str, Any], added: Any) -> None:
    assert as_json(msgspec.convert(raw, record)) == added | raw


@pytest.mark.parametrize("record", [Scorecard, GateVerdict, Lineage, Fingerprint])
def test_an_empty_object_is_a_record_and_keys_of_a_newer_program_are_left_out(record: type) -> None:
    assert msgspec.convert({}, record) == record() == msgspec.convert({"of_a_newer_program": 1}, record)
