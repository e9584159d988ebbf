"""A false alarm before the shift is none that found it."""

from datetime import timedelta

import pytest
from rich.console import Console

from driftwheel.identity import utc_now
from driftwheel.records.nouns import DriftKind, DriftSignal, DriftVerdict
from driftwheel.settings.settings import Settings
from driftwheel.store.ledger import Ledger
from examples.support.claims import Measured
from examples.support.demo_loop import Demo
from examples.support.demo_steps import shift_alarms
from examples.support.load import Client
from tests.support.versions import add_with_parents, dataset_stub, published_version


@pytest.mark.parametrize(
    ("alarms", "found"),
    [({2}, None), ({2, 4, 6, 7}, (2, "output")), ({5}, (1, "output")), (set[int](), None)],
    ids=["false alarm alone", "false alarms, then the shift", "first window", "none"],
)
def test_the_shift_is_found_by_the_first_alarm_after_it(
    settings: Settings, ledger: Ledger, alarms: set[int], found: tuple[int, str] | None
) -> None:
    """A false alarm in the second of four steady windows was told as "window -2 after the shift", which met the bar."""
    add_with_parents(ledger, dataset_stub("dataset"), published_version("version_1", dataset_id="dataset"))
    started_at = utc_now()
    for number in range(1, 8):
        ledger.add(
            DriftSignal(
                id=f"signal_{number}",
                project=settings.project,
                created_at=started_at + timedelta(minutes=number),
                version_id="version_1",
                kind=DriftKind.OUTPUT,
                feature="all",
                method="scan",
                score=1,
                threshold=1,
                reference_rows=400,
                current_rows=400,
                verdict=DriftVerdict.DRIFTED if number in alarms else DriftVerdict.STEADY,
                check_id=f"check_{number}",
            )
        )
    client = Client("http://127.0.0.1:9", "key", settings.serve.alias)
    assert shift_alarms(Demo(Console(), settings, ledger, client, measured=Measured(v1="version_1"))) == found
