"""Two versions are paired by the items that both were asked."""

import json
import os
from dataclasses import replace
from pathlib import Path

import pytest

from driftwheel.errors import ArtifactError, NotFoundError
from driftwheel.evidence.comparison import compare, most_changed
from driftwheel.files import artifacts
from driftwheel.records.json_form import as_json
from driftwheel.records.nouns import ModelVersion, ModelVersionStatus
from driftwheel.records.predictions import Prediction
from tests.support.versions import published_version


def version(number: int) -> ModelVersion:
    return published_version(
        f"version_{number}",
        number=number,
        dataset_id="dataset_2",
        path="artifacts/it",
        manifest_hash=f"hash-{number}",
        status=ModelVersionStatus.CANDIDATE,
    )


def item(id: str, answer: str, *, is_correct: bool = True) -> Prediction:
    return Prediction(
        id=id,
        slice="old",
        prompt="",
        expected="",
        answer=answer,
        label=None,
        predicted=None,
        is_correct=is_correct,
        latency_seconds=0.1,
        mean_logprob=None,
    )


def evaluated(
    root: Path, number: int, dataset_id: str, items: list[Prediction], name: str, age: int = 0, **card: object
) -> Path:
    folder = root / "evaluations" / name
    with artifacts.writing(folder, {"artifact": f"hash-{number}", "dataset_id": dataset_id}) as aside:
        lines = [json.dumps(as_json(i), ensure_ascii=False) + "\n" for i in items]
        (aside / "predictions.jsonl").write_text("".join(lines), encoding="utf-8")
        artifacts.write_json(aside / "scorecard.json", {"dataset_id": name, **card})
    os.utime(folder / "manifest.json", (1000 - age, 1000 - age))
    return folder


def test_the_newest_shared_dataset_is_compared_item_by_item(tmp_path: Path) -> None:
    evaluated(tmp_path, 1, "dataset_1", [item("a", "x")], "a")
    evaluated(tmp_path, 2, "dataset_1", [item("a", "x")], "b")
    evaluated(tmp_path, 1, "dataset_2", [item("a", "one\u2028line"), item("b", "y")], "c")
    evaluated(tmp_path, 1, "dataset_2", [item("a", "outdated")], "old", age=50)
    evaluated(tmp_path, 2, "dataset_2", [item("b", "z"), item("c", "z"), item("a", "w")], "d")
    evaluated(tmp_path, 2, "dataset_3", [item("a", "z")], "e")
    found = compare(tmp_path, version(1), version(2))
    assert found.dataset_id == "dataset_2"
    assert [card.dataset_id for card in found.scorecards] == ["c", "d"]
    assert [(a.id, a.answer, b.answer) for a, b in found.pairs] == [
        ("b", "y", "z"),
        ("a", "one\u2028line", "w"),
    ]


@pytest.mark.parametrize(("criterion", "grades"), [("chrf", (0.4, 0.7)), ("rouge_l", (None, None))])
def test_grades_are_shown_beside_each_other_only_by_one_criterion(
    tmp_path: Path, criterion: str, grades: tuple[float | None, float | None]
) -> None:
    evaluated(tmp_path, 1, "d", [replace(item("a", "x"), grade=0.4)], "a", criterion="chrf", grade=0.4)
    evaluated(tmp_path, 2, "d", [replace(item("a", "y"), grade=0.7)], "b", criterion=criterion, grade=0.7)
    found = compare(tmp_path, version(1), version(2))
    assert tuple(card.grade for card in found.scorecards) == grades
    assert tuple(one.grade for one in found.pairs[0]) == grades


def test_versions_without_shared_items_are_refused_with_the_way_out(tmp_path: Path) -> None:
    evaluated(tmp_path, 1, "dataset_1", [item("a", "x")], "a")
    with pytest.raises(NotFoundError, match=r"evaluate --artifact artifacts/it --dataset dataset_2"):
        compare(tmp_path, version(1), version(2))
    folder = evaluated(tmp_path, 2, "dataset_1", [item("a", "x")], "b")
    (folder / "predictions.jsonl").write_text("{", encoding="utf-8")
    with pytest.raises(ArtifactError, match="evaluate again"):
        compare(tmp_path, version(1), version(2))


def test_the_most_changed_answers_come_first() -> None:
    pairs = [
        (item("same", "a b"), item("same", " a  b")),
        (item("little", "a b c d"), item("little", "a b c e")),
        (item("much", "a b c d"), item("much", "e f g h")),
        (item("right", "a b c d"), item("right", "a b c e", is_correct=False)),
    ]
    assert [a.id for a, _ in most_changed(pairs, 9)] == ["right", "much", "little"]
    assert [a.id for a, _ in most_changed(pairs, 1)] == ["right"]
