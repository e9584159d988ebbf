"""One correction in ten of live texts: steady traffic is left alone, and worse texts start a retrain."""

import json
from datetime import timedelta
from pathlib import Path

import pytest

from driftwheel.identity import utc_now
from driftwheel.records.json_form import as_json
from driftwheel.records.nouns import (
    Alias,
    DecisionVerdict,
    DriftKind,
    DriftSignal,
    DriftVerdict,
    ModelVersion,
    RetrainDecision,
)
from driftwheel.records.predictions import PREDICTIONS, Prediction
from driftwheel.records.scorecard import Scorecard
from driftwheel.settings.settings import Settings
from driftwheel.store.ledger import Ledger
from examples.support.demo_tasks import nearest_text
from examples.support.world_cottages import Listing, listings
from monitor.check import conclude
from monitor.look import next_look
from tests.support.versions import add_with_parents, answered_request, dataset_stub, published_version

START, WINDOW_ROWS = utc_now(), 200


def item(number: int, listing: Listing) -> Prediction:
    """Return a test item that was answered with the last of its right texts."""
    first, *others, answer = listing.references
    return Prediction(
        id=f"item_{number}",
        slice="old",
        prompt=listing.text,
        expected=first,
        references=tuple(others),
        answer=answer,
        label=None,
        predicted=None,
        is_correct=False,
        latency_seconds=0.1,
        mean_logprob=None,
    )


@pytest.fixture
def watched(settings: Settings, ledger: Ledger, tmp_path: Path) -> Settings:
    """A live version of a text task, judged on 200 items, and a promise that nobody chooses what is corrected."""
    lines = [json.dumps(as_json(item(n, e))) + "\n" for n, e in enumerate(listings(200, 1, "steady"))]
    (tmp_path / PREDICTIONS).write_text("".join(lines), encoding="utf-8")
    card = Scorecard(criterion="chrf", grade=0.68, items=200, predictions_path=str(tmp_path / PREDICTIONS))
    version = ModelVersion(**{**vars(published_version("version_1", dataset_id="dataset")), "scorecard": card})
    add_with_parents(ledger, dataset_stub("dataset"), version)
    ledger.add(Alias(id="support/support", project="support", name="support", version_id="version_1", fence=1))
    monitor = settings.monitor.model_copy(update={"window_rows": WINDOW_ROWS, "labels_are_sampled": True})
    policy = settings.policy.model_copy(update={"min_fresh_labels": 20, "approval": "auto"})
    dataset = settings.dataset.model_copy(update={"label_field": None})
    return settings.model_copy(update={"monitor": monitor, "policy": policy, "dataset": dataset})


def ask(ledger: Ledger, window: int, *, is_worse: bool) -> None:
    """Log a window of answers; worse ones belong to the request before. Every tenth is mended, whatever it is like."""
    asked = listings(WINDOW_ROWS, 100 + window, "steady")
    rows = []
    for number, listing in enumerate(asked):
        answer = (asked[number - 1] if is_worse else listing).references[-1]
        is_mended = number % 10 == 3
        right = Listing(listing.text, listing.references[:-1], "steady")
        rows.append(
            answered_request(
                f"req_{window}_{number:03d}",
                created_at=START + timedelta(minutes=window, milliseconds=number),
                version_id="version_1",
                prompt=listing.text,
                answer=answer,
                label=nearest_text(right, answer) if is_mended else None,
                label_source="correction" if is_mended else None,
                key_id=f"guest{number % 6}",
            )
        )
    ledger.add(*rows)


def test_worse_texts_start_a_retrain_by_one_correction_in_ten_and_steady_ones_do_not(
    watched: Settings, ledger: Ledger
) -> None:
    """All corrections differ from the answers, before and after: told as right and wrong, nothing had changed."""
    for window in range(7):
        ask(ledger, window, is_worse=window >= 4)
        look = next_look(watched, ledger)
        assert look is not None
        conclude(watched, ledger, look, [], {})
    signals = ledger.find(DriftSignal, kind=DriftKind.QUALITY, feature="all", newest_first=False)
    # The first window has 20 labels, and quality is judged from 30 on.
    assert [s.verdict for s in signals[:4]] == [DriftVerdict.INSUFFICIENT, *[DriftVerdict.STEADY] * 3]
    assert DriftVerdict.DRIFTED in {s.verdict for s in signals[4:]}
    (decision,) = ledger.find(RetrainDecision, verdict=DecisionVerdict.RETRAIN)
    assert decision.reasons[0].startswith("grade by chrf ")
    assert "of 100" in decision.reasons[0]
