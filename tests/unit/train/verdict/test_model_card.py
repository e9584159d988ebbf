"""The card shows what the scorecard holds, shares with intervals, and names from outside as text."""

from typing import Any

import msgspec

from driftwheel.records.nouns import Dataset, ModelVersionStatus, TrainingRun
from driftwheel.records.scorecard import Scorecard
from tests.support.versions import published_version
from train.verdict.model_card import model_card

HOSTILE = "card | <b>lost</b>"


def card(**scorecard: Any) -> str:
    dataset = Dataset(
        id="dataset_1",
        project="support",
        content_hash="c",
        path="p",
        origin="files",
        train_rows=9,
        validation_rows=9,
        test_rows=200,
    )
    run = TrainingRun(
        id="run_1",
        project="support",
        dataset_id="dataset_1",
        base_model="base",
        method="lora",
        settings={},
        settings_hash="h",
        seed=0,
        path="p",
    )
    version = published_version(
        "version_1",
        run_id="run_1",
        dataset_id="dataset_1",
        manifest_hash="m",
        scorecard=msgspec.convert({"items": 200, "dataset_id": "dataset_1", **scorecard}, Scorecard),
        status=ModelVersionStatus.CANDIDATE,
    )
    return model_card(version, run, dataset)


def test_labels_fields_and_faults_have_tables_with_intervals() -> None:
    label = {
        "items": 9,
        "precision": None,
        "precision_interval": None,
        "recall": 0.5,
        "recall_interval": [0.2, 0.8],
        "f1": 0.4,
    }
    fault = {
        "items": 40,
        "accuracy_before": 0.9,
        "accuracy": 0.8,
        "drop": 0.1,
        "drop_interval": [-0.01, 0.2],
        "accuracy_before_interval": [0.8, 1],
        "accuracy_interval": [0.6, 0.9],
        "same_answer": 0.7,
        "same_answer_interval": [0.5, 0.8],
    }
    text = card(
        labels={"good": label | {"f1": 0.9}, HOSTILE: label},
        fields={"urgency": {"items": 9, "accuracy": 0.25, "interval": [0.1, 0.5]}},
        robustness={"word_order": fault, "paraphrase": {"items": 0, "note": f"no {HOSTILE}"}},
        slices={"old": {"items": 10, "accuracy": 0.5}, "new": {"items": 10, "accuracy": 1.0}},
        outside_label_set=0.01,
        intervals={"outside_label_set": [0.001, 0.05]},
    )
    hostile = r"card \| \<b\>lost\</b\>"
    assert f"| {hostile} | 9 | - | 0.5 [0.2, 0.8] | 0.4 |\n| good |" in text, "the worst label comes first"
    assert "| urgency | 9 | 0.25 [0.1, 0.5] |" in text
    assert "| word order | 40 | 0.9 [0.8, 1] | 0.8 [0.6, 0.9] | 0.1 [-0.01, 0.2] | 0.7 [0.5, 0.8] |" in text
    assert "| old | 10 | 0.5 [0.237, 0.763] |" in text
    assert f"paraphrase: no {hostile}" in text
    assert "| label unknown to training | 0.01 [0.001, 0.05] |" in text


def test_what_prompting_reached_is_said_in_every_case() -> None:
    prompts = {"plain": {"items": 60, "accuracy": 0.1}, "retrieved": {"items": 60, "accuracy": 0.5}}
    assert "not asked on this dataset." in card()
    earlier = card(earlier_baseline={"dataset_id": "dataset_0", "prompts": prompts})
    assert "asked on `dataset_0`, other test items; its accuracy there: plain 0.1; retrieved 0.5." in earlier
    assert "base model, retrieved prompt" in card(baseline=prompts)


def test_a_text_tasks_card_shows_grades_and_names_the_criterion() -> None:
    text = card(
        criterion="chrf",
        grade=0.614,
        ungraded=3,
        intervals={"grade": [0.58, 0.642]},
        slices={
            "new": {"items": 50, "accuracy": 0.0, "grade": 0.7, "grade_interval": [0.6, 0.8]},
            "old": {"items": 150, "accuracy": 0.0, "grade": 0.5, "grade_interval": [0.45, 0.55]},
        },
        baseline={"plain": {"items": 60, "accuracy": 0.0, "criterion": "chrf", "grade": 0.2, "ungraded": 0}},
    )
    assert "| mean grade by the criterion | 0.614 [0.58, 0.642] | 0.2 |" in text
    assert "| answers without a grade | 3 | 0 |" in text
    assert "The criterion is `chrf`: chrF beside the right answers, from 0 to 1." in text
    assert "| new | 50 | 0.7 [0.6, 0.8] |" in text
