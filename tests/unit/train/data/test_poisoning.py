"""A sample of tests/suites/poisoning.py: keys without trust teach nobody what they want, and planted bugs are seen."""

from collections.abc import Callable
from pathlib import Path

import pytest

from driftwheel.records.by_whom import Trust
from tests.suites.poisoning import PLANTS, bound, examine
from train.data.live.unverified_rows import Admission
from train.preference import preference_rows

Plant = Callable[[], Trust]
# Each attack builds a Dataset and trains on it, about a second; the suite runs all of them a hundred times.
TRUE_LABELS, IN_THUMBS = "backdoor trigger, true labels", "backdoor trigger in thumbs (KTO)"
SAMPLED = ("wrong corrections", TRUE_LABELS, IN_THUMBS)


def test_no_attack_of_a_key_without_trust_is_promoted(tmp_path: Path) -> None:
    found = examine(1, 1, tmp_path, names=SAMPLED)
    assert {name: [o.has_won for o in outcomes] for name, outcomes in found.items()} == {n: [False] for n in SAMPLED}


@pytest.mark.parametrize("plant", sorted(PLANTS))
def test_a_product_that_believes_everybody_or_admits_everything_is_noticed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, plant: str
) -> None:
    attack = IN_THUMBS if plant == "compare-no-preferences" else TRUE_LABELS
    monkeypatch.setattr(preference_rows, "_admitted", preference_rows._admitted)
    monkeypatch.setattr(Admission, "_against", Admission._against)  # so that the plant goes with the test
    found = examine(1, 1, tmp_path, PLANTS[plant](), names=(attack,))
    assert [o.has_won for outcomes in found.values() for o in outcomes] == [True], "the suite is blind to this mistake"


def test_no_success_in_100_tries_bounds_the_share_at_3_percent() -> None:
    assert bound(0, 100) == pytest.approx(0.0295, abs=0.0005)
    assert bound(100, 100) == 1.0
