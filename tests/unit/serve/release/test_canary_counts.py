"""A canary's counts take opinions from the ledger with whose they are."""

from dataclasses import replace
from datetime import timedelta

import pytest

from driftwheel.by_whom import Trust
from driftwheel.records import Alias, Traffic, utc_now
from driftwheel.settings.settings import Settings
from driftwheel.store.ledger import Ledger
from serve.release.canary_counts import CanaryCounts
from serve.release.canary_rule import OPINIONS_OF_ONE, Mishap
from tests.support.said import words_of
from tests.unit.driftwheel.traffic.test_log import ROW

ALIAS = Alias(id="support/support", project="support", name="support", version_id="v2", fence=2)


@pytest.mark.parametrize(
    ("trust", "counted", "voices", "is_vouched"),
    [(Trust.NONE, OPINIONS_OF_ONE, {"support/loud"}, False), (Trust.TRUSTED, 60, set(), True)],
)
def test_sixty_thumbs_of_one_key_count_as_one_voice(
    settings: Settings, ledger: Ledger, trust: Trust, counted: int, voices: set[str], is_vouched: bool
) -> None:
    counts = CanaryCounts(settings.serve, ledger, ALIAS, "v1", "v2", is_json_task=False)
    counts.begin(0.1)
    at = utc_now() + timedelta(milliseconds=1)
    said = {"thumb": -1, "feedback_at": at, "created_at": at, "version_id": "v2", "user_id": ""}
    rows: list[Traffic] = [replace(ROW, id=f"req_{n}", **said) for n in range(60)]  # type: ignore[arg-type]
    ledger.add(*rows, *words_of(rows, author="support/loud", trust=trust))
    (period,) = counts.read().periods
    assert period.mishaps[Mishap.DISLIKED] == (counted, 0)
    assert (period.voices, period.is_vouched) == (voices, is_vouched)
