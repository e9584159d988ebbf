"""Scorecards' numbers stand in tables with the intervals behind them."""

from dataclasses import replace
from typing import Any

from dashboard import scorecards
from driftwheel.records import ModelVersion
from driftwheel.settings.settings import Settings
from driftwheel.store.ledger import Ledger


def test_scorecards_stand_beside_the_baselines(seeded: dict[str, str], ledger: Ledger, settings: Settings) -> None:
    versions = ledger.find(ModelVersion, project=settings.project, newest_first=False)
    columns = scorecards.scorecard_columns(versions)
    assert list(columns) == ["base, plain", "base, few-shot", "v1", "v2", "v3"]
    assert columns["v2"]["accuracy, old items"] == "93.0% [87.4, 96.6]"


def test_shares_stand_with_their_intervals() -> None:
    parts: dict[str, dict[str, Any]] = {
        "card": {
            "items": 9,
            "precision": None,
            "precision_interval": None,
            "recall": 0.5,
            "recall_interval": [0.2, 0.8],
        },
        "word_order": {"items": 0, "note": "not asked"},
        "intent": {"items": 9, "accuracy": 0.5, "interval": [0.2, 0.8]},
    }
    assert scorecards.table_of_shares(parts) == [
        {"name": "card", "items": 9, "precision": "", "recall": "50.0% [20.0, 80.0]"},
        {"name": "word_order", "items": 0, "note": "not asked"},
        {"name": "intent", "items": 9, "accuracy": "50.0% [20.0, 80.0]"},
    ]


def test_parity_rows_show_each_form_with_its_intervals(seeded: dict[str, str], ledger: Ledger) -> None:
    version = replace(
        ledger.get(ModelVersion, seeded["rejected"]),
        scorecard={
            "parity": [
                {"hop": "trained", "items": 10, "accuracy": 0.9, "accuracy_interval": [0.555, 0.997]},
                {
                    "hop": "merged",
                    "items": 10,
                    "accuracy": 0.9,
                    "accuracy_interval": [0.555, 0.997],
                    "agreement": 1.0,
                    "agreement_interval": [0.692, 1.0],
                    "against": "trained",
                    "mean_logprob_difference": 0.01,
                    "max_logprob_difference": 0.2,
                },
            ]
        },
    )
    first, second = scorecards.parity_rows(version)
    assert (first["accuracy"], first["same greedy answers"]) == ("90.0% [55.5, 99.7]", "")
    assert (second["against"], second["same greedy answers"]) == ("trained", "100.0% [69.2, 100.0]")
