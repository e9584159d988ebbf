"""What today's programs wrote of a version is read whole, and written again with the same keys."""

import json
from pathlib import Path
from typing import Any

import msgspec
import pytest
import sqlalchemy as sa

from driftwheel.records.gate_verdict import GateVerdict
from driftwheel.records.json_form import as_json
from driftwheel.records.lineage import Lineage
from driftwheel.records.nouns import ModelVersion, ModelVersionStatus
from driftwheel.records.probe_answers import Fingerprint
from driftwheel.records.scorecard import Scorecard
from driftwheel.store.ledger import Ledger
from tests.support.versions import add_with_parents, published_version

WRITTEN: dict[str, dict[str, Any]] = json.loads((Path(__file__).parent / "written" / "version.json").read_text())
"""Written by the program whose scorecards, verdicts, fingerprints and lineages were dictionaries."""

CALLS = {"tool_names": None, "tool_calls": None}
"""What a scorecard says since then of tool calls: nothing was scored."""

BASELINES = {"baseline": None, "earlier_baseline": None}
"""The file leaves these out, as they are known only when it is read."""

STARTED = {"started_from": None}
"""What a lineage says since then of a warm start: it was from the base."""


def cases() -> list[Any]:
    """Every one of those objects with its record, and what may stand in its JSON beside what was there."""
    kinds: tuple[tuple[str, type, dict[str, Any]], ...] = (
        ("scorecard_files", Scorecard, BASELINES | CALLS),
        ("scorecards", Scorecard, CALLS),
        ("verdicts", GateVerdict, {}),
        ("lineages", Lineage, STARTED),
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


@pytest.mark.every_database
def test_a_row_that_was_written_as_dictionaries_is_read_as_records(ledger: Ledger) -> None:
    raw = {
        "scorecard": WRITTEN["scorecards"]["loaded"],
        "verdict": WRITTEN["verdicts"]["promoted"],
        "fingerprint": WRITTEN["fingerprints"]["adapter"],
        "lineage": WRITTEN["lineages"]["ensemble"],
    }
    add_with_parents(
        ledger,
        published_version("version_1", run_id="run_1", dataset_id="dataset_1", status=ModelVersionStatus.CANDIDATE),
    )
    columns = sa.table("version", *(sa.column(name, sa.JSON) for name in raw))
    with ledger.write() as connection:
        connection.execute(sa.update(columns).values(raw))
    found = ledger.get(ModelVersion, "version_1")
    assert {name: as_json(getattr(found, name)) for name in raw} == {
        **raw,
        "scorecard": CALLS | raw["scorecard"],
        "lineage": STARTED | raw["lineage"],
    }
