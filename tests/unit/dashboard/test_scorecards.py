"""Scorecards' numbers stand in tables with the intervals behind them."""

from dataclasses import replace

from dashboard import scorecards
from driftwheel.records.nouns import ModelVersion
from driftwheel.records.scorecard import FaultScore, FieldScore, LabelScore, ParityRow, Scorecard, SliceScore
from driftwheel.settings.settings import Settings
from driftwheel.store.ledger import Ledger


def test_scorecards_stand_beside_the_baselines(seeded: dict[str, str], ledger: Ledger, settings: Settings) -> None:
    versions = ledger.find(ModelVersion, project=settings.project, newest_first=False)
    columns = scorecards.scorecard_columns(versions)
    assert list(columns) == ["base, plain", "base, few-shot", "v1", "v2", "v3"]
    assert columns["v2"]["accuracy, old items"] == "93.0% [87.4, 96.6]"


def test_grades_of_slices_stand_where_accuracies_do(seeded: dict[str, str], ledger: Ledger) -> None:
    part = SliceScore(items=9, accuracy=0.0, grade=0.62, grade_interval=(0.5, 0.7))
    card = Scorecard(criterion="chrf", grade=0.62, intervals={"grade": (0.5, 0.7)}, slices={"old": part})
    version = replace(ledger.get(ModelVersion, seeded["rejected"]), scorecard=card)
    (column,) = scorecards.scorecard_columns([version]).values()
    assert column["grade, old items"] == "62.0% [50.0, 70.0]"
    assert not any(name.startswith("accuracy") for name in column)


def test_shares_stand_with_their_intervals() -> None:
    parts: dict[str, LabelScore | FieldScore | FaultScore] = {
        "card": LabelScore(
            items=9, precision=None, precision_interval=None, recall=0.5, recall_interval=(0.2, 0.8), f1=0.25
        ),
        "word_order": FaultScore(items=0, note="not asked"),
        "intent": FieldScore(items=9, accuracy=0.5, interval=(0.2, 0.8)),
    }
    assert scorecards.table_of_shares(parts) == [
        {"name": "card", "items": 9, "precision": "", "recall": "50.0% [20.0, 80.0]", "f1": "0.25"},
        {"name": "word_order", "items": 0, "note": "not asked"},
        {"name": "intent", "items": 9, "accuracy": "50.0% [20.0, 80.0]"},
    ]


def test_parity_rows_show_each_form_with_its_intervals(seeded: dict[str, str], ledger: Ledger) -> None:
    version = replace(
        ledger.get(ModelVersion, seeded["rejected"]),
        scorecard=Scorecard(
            parity=(
                ParityRow(hop="trained", items=10, accuracy=0.9, accuracy_interval=(0.555, 0.997)),
                ParityRow(
                    hop="merged",
                    items=10,
                    accuracy=0.9,
                    accuracy_interval=(0.555, 0.997),
                    against="trained",
                    agreement=1.0,
                    agreement_interval=(0.692, 1.0),
                    mean_logprob_difference=0.01,
                    max_logprob_difference=0.2,
                ),
            )
        ),
    )
    first, second = scorecards.parity_rows(version)
    assert (first["accuracy"], first["same greedy answers"]) == ("90.0% [55.5, 99.7]", "")
    assert (second["against"], second["same greedy answers"]) == ("trained", "100.0% [69.2, 100.0]")
