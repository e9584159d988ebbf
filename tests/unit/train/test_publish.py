"""Finished evaluations become verdicts and versions, on a real ledger and real folders."""

import json
import random
import shutil
from argparse import Namespace
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest

from driftwheel.errors import ArtifactError, GateError, ParityError
from driftwheel.files import artifacts
from driftwheel.records.gate_verdict import GateVerdict, Override, Won
from driftwheel.records.json_form import as_json, from_json
from driftwheel.records.nouns import Dataset, ModelVersion, ModelVersionStatus, TrainingRun
from driftwheel.records.predictions import Prediction
from driftwheel.records.run_metrics import RunMetrics
from driftwheel.records.scorecard import GeneralTask, ParityRow
from driftwheel.settings.settings import Settings
from driftwheel.store.alias import move_alias
from driftwheel.store.ledger import Ledger
from driftwheel.text.grades import Criterion
from tests.support.versions import add_with_parents
from train.data.examples import Example, read_examples
from train.evaluation.scores import score
from train.evaluation.scoring import evaluation_folder
from train.publish import card_path, publish
from train.retrain_state import Job, Progress
from train.verbs import step
from train.verdict.evidence import what_stays_fixed
from train.worker import decide_against_live, run_steps

ITEMS = 200
TRAINED = ParityRow(hop="trained", items=200, accuracy=0.85)
MERGED = replace(TRAINED, hop="merged", against="trained", agreeing=200, mean_logprob_difference=0.001, loss_share=0.02)
QUANTIZED = replace(MERGED, hop="quantized", against="merged")
SERVED = replace(MERGED, hop="served", against="quantized")
TABLE = (TRAINED, MERGED, QUANTIZED, SERVED)
PROMOTE = GateVerdict(verdict="PROMOTE")


def add_dataset(settings: Settings, ledger: Ledger, name: str, first_row: int = 0) -> Dataset:
    path = settings.root / "datasets" / name
    rows = [
        Example(f"row-{n}", [{"role": "user", "content": f"question {n}"}], [], "card", f"row-{n}")
        for n in range(first_row, first_row + ITEMS)
    ]
    with artifacts.writing(path, {"name": name}) as folder:
        lines = [json.dumps(asdict(row)) + "\n" for row in rows]
        (folder / "test.jsonl").write_text("".join(lines), encoding="utf-8")
        for split in ("train", "validation"):
            (folder / f"{split}.jsonl").write_text("", encoding="utf-8")
    digest = artifacts.read_manifest(path).content_hash
    record = Dataset(
        id=name,
        project="support",
        content_hash=digest,
        path=str(path),
        origin="files",
        train_rows=1000,
        validation_rows=100,
        test_rows=ITEMS,
    )
    add_with_parents(ledger, record)
    return record


@pytest.fixture
def dataset(settings: Settings, ledger: Ledger) -> Dataset:
    return add_dataset(settings, ledger, "dataset_1")


def built(settings: Settings, ledger: Ledger, number: int) -> Path:
    """A run in the ledger and its artifact."""
    run = TrainingRun(
        id=f"run_{number}",
        project="support",
        dataset_id="dataset_1",
        base_model="org/base|model",
        method="lora",
        settings={"learning_rate": 0.003, "lora_r": 16},
        settings_hash="abc",
        seed=7,
        path=f"runs/run_{number}",
        metrics=RunMetrics(eval_loss=0.25),
    )
    add_with_parents(ledger, run)
    path = settings.root / "artifacts" / f"run_{number}-w8a8"
    with artifacts.writing(path, {"run_id": run.id, "quantization": "w8a8", "template_hash": "t"}) as folder:
        (folder / "model.safetensors").write_bytes(f"weights {number}".encode())
    return path


def scored(
    settings: Settings,
    dataset: Dataset,
    artifact: Path,
    right: int,
    baseline: float | None = None,
    table: tuple[ParityRow, ...] = TABLE,
    general: dict[str, GeneralTask] | None = None,
    grades: Sequence[float | None] = (),
    criterion: Criterion = "chrf",
) -> Path:
    """A finished evaluation in which the first `right` items are right, or all have grades by a criterion."""
    first_row = int(read_examples(Path(dataset.path) / "test.jsonl")[0].id.removeprefix("row-"))
    digest = artifacts.read_manifest(artifact).content_hash
    items = [
        Prediction(
            id=f"row-{first_row + n}",
            slice="old",
            prompt="q",
            expected="{}",
            answer="{}",
            label="card",
            predicted="card" if n < right else "refund",
            is_correct=n < right,
            latency_seconds=0.1,
            mean_logprob=-0.1,
            grade=grades[n] if grades else float(n < right),
        )
        for n in range(ITEMS)
    ]
    folder = evaluation_folder(settings, dataset, digest)
    with artifacts.writing(folder, {"artifact": digest}) as aside:
        lines = [json.dumps(asdict(item)) + "\n" for item in items]
        (aside / "predictions.jsonl").write_text("".join(lines), encoding="utf-8")
        scores = score(items, "labels", criterion if grades else "right")
        card = replace(scores, dataset_id=dataset.id, parity=table, general=general)
        artifacts.write_json(aside / "scorecard.json", as_json(card))
        artifacts.write_json(aside / "fingerprint.json", {"probes": [{"messages": [], "tokens": [], "logprobs": []}]})
    if baseline is not None:
        place = evaluation_folder(settings, dataset, "baseline", settings.base_model(), settings.model.revision)
        shares = {"plain": 0.0, "few_shot": baseline / 2, "retrieved": baseline}
        kind = {"accuracy": 0.0, "criterion": "chrf"} if grades else {}
        entries = {
            name: {"items": 60, **kind, "grade" if grades else "accuracy": share} for name, share in shares.items()
        }
        with artifacts.writing(place, {}) as aside:
            artifacts.write_json(aside / "baseline.json", entries)
    return folder


def published(
    settings: Settings,
    ledger: Ledger,
    dataset: Dataset,
    number: int,
    right: int,
    general: dict[str, GeneralTask] | None = None,
) -> ModelVersion:
    artifact = built(settings, ledger, number)
    evaluation = scored(settings, dataset, artifact, right, baseline=0.2, general=general)
    verdict = decide_against_live(settings, ledger, evaluation=evaluation, dataset_id=dataset.id)
    return publish(settings, ledger, run_id=f"run_{number}", artifact=artifact, evaluation=evaluation, verdict=verdict)


def test_the_first_version_is_published_with_its_lineage_and_scores(
    settings: Settings, ledger: Ledger, dataset: Dataset
) -> None:
    version = published(settings, ledger, dataset, 1, right=170)
    assert (version.number, version.status, version.quantization) == (1, ModelVersionStatus.PUBLISHED, "w8a8")
    assert "beats the base model's 20.0%" in version.verdict.reason
    assert version.scorecard.accuracy == 0.85
    assert version.scorecard.baseline is not None
    assert version.scorecard.baseline["retrieved"].accuracy == 0.2
    assert len(version.fingerprint.probes) == 1
    known = version.lineage
    assert (known.dataset_hash, known.run_id, known.seed) == (dataset.content_hash, "run_1", 7)
    assert (known.decision_id, known.template_hash) == (None, "t")
    assert {"python", "torch", "transformers"} <= known.libraries.keys()
    assert ledger.get(ModelVersion, version.id) == version


def test_the_card_shows_scores_beside_the_baseline_and_names_as_text(
    settings: Settings, ledger: Ledger, dataset: Dataset
) -> None:
    version = published(settings, ledger, dataset, 1, right=170)
    card = card_path(settings.root, version.id).read_text(encoding="utf-8")
    assert card.startswith("# support v1\n")
    assert "| accuracy | 0.85 [0.794, 0.893] | 0 | 0.1 | 0.2 |" in card
    assert "| served | 200 | 0.85 | quantized |" in card, "the parity table"
    assert "org/base\\|model" in card, "a bar would end the table cell"
    headings = ("## Data", "## Training", "## Gate\n\n**PROMOTE**", "## Limits", "## Lineage")
    for part in (*headings, version.manifest_hash, "run_1", "| lora\\_r | 16 |"):
        assert part in card


def test_publishing_again_returns_the_version_that_there_is(
    settings: Settings, ledger: Ledger, dataset: Dataset
) -> None:
    first = published(settings, ledger, dataset, 1, right=170)
    card_path(settings.root, first.id).unlink()
    again = publish(
        settings,
        ledger,
        run_id="run_1",
        artifact=Path(first.path),
        evaluation=evaluation_folder(settings, dataset, first.manifest_hash),
        verdict=first.verdict,
    )
    assert (again, ledger.count(ModelVersion)) == (first, 1)
    assert card_path(settings.root, first.id).is_file(), "a card lost in a crash is written again"


@pytest.mark.every_database
def test_of_those_who_publish_at_once_each_gets_a_number_of_its_own(
    settings: Settings, ledger: Ledger, dataset: Dataset
) -> None:
    artifacts_of = {number: built(settings, ledger, number) for number in range(8)}
    evaluations = {number: scored(settings, dataset, path, right=170) for number, path in artifacts_of.items()}

    def publish_one(number: int) -> ModelVersion:
        run_id, evaluation = f"run_{number}", evaluations[number]
        return publish(
            settings, ledger, run_id=run_id, artifact=artifacts_of[number], evaluation=evaluation, verdict=PROMOTE
        )

    numbers = [*range(8), *range(8)]  # each of them twice, as by two who do not know of each other
    with ThreadPoolExecutor(len(numbers)) as pool:
        versions = list(pool.map(publish_one, numbers))
    assert sorted(v.number for v in ledger.find(ModelVersion)) == [1, 2, 3, 4, 5, 6, 7, 8]
    assert [v.id for v in versions[:8]] == [v.id for v in versions[8:]]


def test_a_text_task_turns_by_its_grades(settings: Settings, ledger: Ledger, dataset: Dataset) -> None:
    """No answer equals its reference: the first version was REJECTED at 0.0 %, and the next was INCONCLUSIVE."""
    artifact = built(settings, ledger, 1)
    first = scored(settings, dataset, artifact, right=0, baseline=0.3, grades=[0.5, 0.7] * 100)
    verdict = decide_against_live(settings, ledger, evaluation=first, dataset_id=dataset.id)
    assert verdict.verdict == "PROMOTE"
    assert "beats the base model's 30.0 of 100 (chrf): 60.0 of 100 (chrf) on 200 items" in verdict.reason
    v1 = publish(settings, ledger, run_id="run_1", artifact=artifact, evaluation=first, verdict=verdict)
    assert v1.status is ModelVersionStatus.PUBLISHED
    move_alias(ledger, "support", "support", v1.id)
    chance = random.Random(0)
    second = [min(1.0, grade + chance.gauss(0.12, 0.1)) for grade in [0.5, 0.7] * 100]
    better = scored(settings, dataset, built(settings, ledger, 2), right=0, grades=second)
    verdict = decide_against_live(settings, ledger, evaluation=better, dataset_id=dataset.id)
    assert (verdict.verdict, verdict.criterion, verdict.items) == ("PROMOTE", "chrf", 200)
    alike = scored(settings, dataset, built(settings, ledger, 3), right=0, grades=[0.52, 0.69] * 100)
    verdict = decide_against_live(settings, ledger, evaluation=alike, dataset_id=dataset.id)
    assert verdict.verdict == "INCONCLUSIVE"
    assert verdict.items_needed is not None
    assert verdict.detectable_gain is not None


def test_grades_by_two_criteria_are_not_compared(settings: Settings, ledger: Ledger, dataset: Dataset) -> None:
    artifact = built(settings, ledger, 1)
    first = scored(settings, dataset, artifact, right=0, baseline=0.3, grades=[0.6] * 200)
    verdict = decide_against_live(settings, ledger, evaluation=first, dataset_id=dataset.id)
    v1 = publish(settings, ledger, run_id="run_1", artifact=artifact, evaluation=first, verdict=verdict)
    move_alias(ledger, "support", "support", v1.id)
    other = scored(settings, dataset, built(settings, ledger, 2), right=0, grades=[0.9] * 200, criterion="rouge_l")
    with pytest.raises(GateError, match="graded by rouge_l and the live version by chrf"):
        decide_against_live(settings, ledger, evaluation=other, dataset_id=dataset.id)


def test_a_person_may_publish_against_the_verdict_and_that_is_written_down(
    settings: Settings, ledger: Ledger, dataset: Dataset
) -> None:
    why = Override(by="person:ann", at="2026-11-30T06:00:00+00:00", reason="the new tone is worth | two points")
    artifact = built(settings, ledger, 1)
    evaluation = scored(settings, dataset, artifact, right=20, baseline=0.4)
    verdict = decide_against_live(settings, ledger, evaluation=evaluation, dataset_id=dataset.id)
    asked: dict[str, Any] = {"run_id": "run_1", "artifact": artifact, "evaluation": evaluation, "verdict": verdict}
    rejected = publish(settings, ledger, **asked)
    assert rejected.status is ModelVersionStatus.REJECTED
    version = publish(settings, ledger, **asked, override=why)
    assert (version.id, version.status) == (rejected.id, ModelVersionStatus.PUBLISHED)
    kept = ledger.get(ModelVersion, version.id)
    assert (kept.verdict.verdict, kept.verdict.override) == ("REJECT", why)
    text = card_path(settings.root, version.id).read_text("utf-8")
    assert "**REJECT**" in text
    assert "**Overridden** by person:ann at 2026-11-30T06:00:00+00:00: the new tone is worth \\| two points" in text
    assert publish(settings, ledger, **asked) == kept, "once published it stays so"
    other = built(settings, ledger, 2)
    apart = scored(settings, dataset, other, right=20, table=())
    with pytest.raises(GateError, match="without a parity table"):
        publish(settings, ledger, run_id="run_2", artifact=other, evaluation=apart, verdict=verdict, override=why)


def test_a_new_verdict_replaces_one_that_settled_nothing(settings: Settings, ledger: Ledger, dataset: Dataset) -> None:
    """The grader was down, and answers again."""
    artifact = built(settings, ledger, 1)

    def judged(grades: Sequence[float | None]) -> ModelVersion:
        folder = scored(settings, dataset, artifact, right=0, baseline=0.3, grades=grades)
        verdict = decide_against_live(settings, ledger, evaluation=folder, dataset_id=dataset.id)
        return publish(settings, ledger, run_id="run_1", artifact=artifact, evaluation=folder, verdict=verdict)

    first = judged([None] * 200)
    assert (first.status, first.verdict.verdict) == (ModelVersionStatus.REJECTED, "INCONCLUSIVE")
    second = judged([0.8] * 200)
    assert (second.id, second.status, second.verdict.verdict) == (first.id, ModelVersionStatus.PUBLISHED, "PROMOTE")
    assert second.scorecard.grade == pytest.approx(0.8)
    assert judged([0.1] * 200) == second == ledger.get(ModelVersion, first.id), "once published it stays so"


def test_an_override_acts_on_the_stored_verdict_and_is_never_lost(
    settings: Settings, ledger: Ledger, dataset: Dataset
) -> None:
    why = Override(by="person:ann", at="2026-11-30T06:00:00+00:00", reason="the new tone")
    artifact = built(settings, ledger, 1)
    folder = scored(settings, dataset, artifact, right=20, baseline=0.4)
    asked: dict[str, Any] = {"run_id": "run_1", "artifact": artifact, "evaluation": folder}
    rejected = publish(settings, ledger, **asked, verdict=GateVerdict(verdict="REJECT"))
    assert publish(settings, ledger, **asked, verdict=PROMOTE) == rejected, "a settled verdict stays"
    version = publish(settings, ledger, **asked, verdict=PROMOTE, override=why)
    assert (version.status, version.verdict.verdict) == (ModelVersionStatus.PUBLISHED, "REJECT")
    again = replace(why, at="2026-11-30T07:00:00+00:00")
    assert publish(settings, ledger, **asked, verdict=PROMOTE, override=again).verdict.override == why
    with pytest.raises(GateError, match="person:ann published v1"):
        publish(settings, ledger, **asked, verdict=PROMOTE, override=replace(why, by="person:bob"))


def test_a_verdict_that_promotes_needs_no_override(settings: Settings, ledger: Ledger, dataset: Dataset) -> None:
    why = Override(by="person:ann", at="2026-11-30T06:00:00+00:00", reason="to be sure")
    artifact = built(settings, ledger, 1)
    evaluation = scored(settings, dataset, artifact, right=150, baseline=0.4)
    verdict = decide_against_live(settings, ledger, evaluation=evaluation, dataset_id=dataset.id)
    version = publish(
        settings, ledger, run_id="run_1", artifact=artifact, evaluation=evaluation, verdict=verdict, override=why
    )
    assert (version.status, version.verdict.override) == (ModelVersionStatus.PUBLISHED, None)


def test_a_grader_that_was_down_at_the_base_model_leaves_the_first_version_open(
    settings: Settings, ledger: Ledger, dataset: Dataset
) -> None:
    first = scored(settings, dataset, built(settings, ledger, 1), right=0, grades=[0.6] * 200)
    place = evaluation_folder(settings, dataset, "baseline", settings.base_model(), settings.model.revision)
    lacking = {"items": 60, "accuracy": 0.0, "criterion": "chrf", "grade": None, "ungraded": 60}
    with artifacts.writing(place, {}) as aside:
        artifacts.write_json(aside / "baseline.json", {"plain": lacking})
    verdict = decide_against_live(settings, ledger, evaluation=first, dataset_id=dataset.id)
    assert verdict.verdict == "INCONCLUSIVE"
    assert "60 of 60 answers of the base model (plain) have no grade" in verdict.reason


@pytest.mark.parametrize(
    ("right", "verdict", "status"),
    [
        pytest.param(190, "PROMOTE", ModelVersionStatus.PUBLISHED, id="better than the live version"),
        pytest.param(40, "REJECT", ModelVersionStatus.REJECTED, id="worse than the live version"),
        pytest.param(171, "INCONCLUSIVE", ModelVersionStatus.REJECTED, id="hardly any different"),
    ],
)
def test_the_gate_decides_against_the_live_version(
    settings: Settings, ledger: Ledger, dataset: Dataset, right: int, verdict: str, status: ModelVersionStatus
) -> None:
    live = published(settings, ledger, dataset, 1, right=170)
    move_alias(ledger, "support", "support", live.id)
    version = published(settings, ledger, dataset, 2, right=right)
    assert (version.verdict.verdict, version.status, version.number) == (verdict, status, 2)
    assert version.verdict.live_version_id == live.id
    assert version.lineage.judged_against == live.id


def test_a_test_set_is_spent_after_the_allowed_looks(settings: Settings, ledger: Ledger, dataset: Dataset) -> None:
    live = published(settings, ledger, dataset, 1, right=100)
    move_alias(ledger, "support", "support", live.id)
    looks = [published(settings, ledger, dataset, n, right=101) for n in range(2, 7)]
    assert [v.verdict.looks for v in looks] == [1, 2, 3, 4, 5]
    folder = evaluation_folder(settings, dataset, looks[4].manifest_hash)
    again = decide_against_live(settings, ledger, evaluation=folder, dataset_id=dataset.id)
    assert again == looks[4].verdict, "judging the same candidate again is no further look"
    spent = published(settings, ledger, dataset, 7, right=199)
    assert (spent.verdict.verdict, spent.status) == ("INCONCLUSIVE", ModelVersionStatus.REJECTED)
    assert "the test set is spent" in spent.verdict.reason


@pytest.mark.parametrize(
    ("first_row", "looks"),
    [
        pytest.param(0, 2, id="the same rows under another id"),
        pytest.param(80, 2, id="most rows are the same"),
        pytest.param(120, 1, id="most rows are new"),
    ],
)
def test_looks_are_counted_by_rows_and_not_by_the_name_of_the_dataset(
    settings: Settings, ledger: Ledger, dataset: Dataset, first_row: int, looks: int
) -> None:
    live = published(settings, ledger, dataset, 1, right=100)
    move_alias(ledger, "support", "support", live.id)
    published(settings, ledger, dataset, 2, right=101)
    other = add_dataset(settings, ledger, "dataset_2", first_row)
    scored(settings, other, Path(live.path), right=100)
    assert published(settings, ledger, other, 3, right=101).verdict.looks == looks


def test_what_a_version_on_the_way_to_the_live_one_won_binds_the_next(
    settings: Settings, ledger: Ledger, dataset: Dataset
) -> None:
    first = published(settings, ledger, dataset, 1, right=100)
    move_alias(ledger, "support", "support", first.id)
    winner = published(settings, ledger, dataset, 2, right=160)
    assert winner.verdict.fixed == (Won(slice="all", gain=0.3, items=ITEMS),)
    unbound = published(settings, ledger, dataset, 3, right=161).verdict
    assert "fixed" not in {entry.role for entry in unbound.slices}, "it was published and never served"
    move_alias(ledger, "support", "support", winner.id)
    bound = published(settings, ledger, dataset, 4, right=161).verdict
    fixed = next(entry for entry in bound.slices if entry.role == "fixed")
    assert (fixed.against, fixed.items, fixed.live_accuracy) == ("v2", ITEMS, 0.8)
    further = published(settings, ledger, dataset, 6, right=199)
    assert {(won.version, won.gain) for won in what_stays_fixed(ledger, further)} == {(2, 0.3), (5, 0.195)}
    move_alias(ledger, "support", "support", first.id)
    back = published(settings, ledger, dataset, 5, right=161).verdict
    assert "fixed" not in {entry.role for entry in back.slices}, "rolled back, it binds nobody"


def test_an_evaluation_that_is_gone_binds_nobody(settings: Settings, ledger: Ledger, dataset: Dataset) -> None:
    first = published(settings, ledger, dataset, 1, right=100)
    move_alias(ledger, "support", "support", first.id)
    winner = published(settings, ledger, dataset, 2, right=160)
    assert [won.slice for won in what_stays_fixed(ledger, winner)] == ["all"]
    shutil.rmtree(evaluation_folder(settings, dataset, winner.manifest_hash))
    assert what_stays_fixed(ledger, winner) == []


def test_the_card_says_what_decided_and_what_could_have_been_seen(
    settings: Settings, ledger: Ledger, dataset: Dataset
) -> None:
    live = published(settings, ledger, dataset, 1, right=100)
    move_alias(ledger, "support", "support", live.id)
    version = published(settings, ledger, dataset, 2, right=105)
    card = card_path(settings.root, version.id).read_text(encoding="utf-8")
    assert "| all | target | 200 | 0.525 | 0.5 | 0.025 |" in card
    assert version.verdict.detectable_gain is not None
    assert f"the smallest gain that 200 items could show is {100 * version.verdict.detectable_gain:.1f} points" in card
    assert f"About {version.verdict.items_needed} more items would settle it. This was look 1 of 5" in card


def test_the_steps_evaluate_and_gate_find_finished_evaluations(
    settings: Settings, ledger: Ledger, dataset: Dataset
) -> None:
    artifact = built(settings, ledger, 1)
    folder = scored(settings, dataset, artifact, right=170, baseline=0.9)
    known = Progress(run_id="run_1", dataset_id=dataset.id, artifact=str(artifact))
    made = run_steps(Job(settings, ledger), known, "evaluate", "gate")
    assert made.verdict is not None
    assert (made.evaluation, made.verdict.verdict) == (str(folder), "REJECT")
    assert "does not beat the base model's 90.0%" in made.verdict.reason


@pytest.mark.parametrize(
    ("table", "error", "says"),
    [
        pytest.param((), GateError, "without a parity table", id="no table"),
        pytest.param(TABLE[:3], GateError, "without a parity table", id="the endpoint was not compared"),
        pytest.param(
            (TRAINED, MERGED, replace(QUANTIZED, agreeing=160), SERVED),
            ParityError,
            "quantized model .*greedy answers.*160 of 200",
            id="quantizing changed answers",
        ),
        pytest.param(
            (TRAINED, MERGED, QUANTIZED, replace(SERVED, loss_share=None)),
            ParityError,
            "served model .*not numbers",
            id="the endpoint gives no numbers",
        ),
    ],
)
def test_what_is_not_what_was_trained_is_not_published(
    settings: Settings,
    ledger: Ledger,
    dataset: Dataset,
    table: tuple[ParityRow, ...],
    error: type[Exception],
    says: str,
) -> None:
    artifact = built(settings, ledger, 1)
    folder = scored(settings, dataset, artifact, right=170, table=table)
    with pytest.raises(error, match=says):
        publish(settings, ledger, run_id="run_1", artifact=artifact, evaluation=folder, verdict=PROMOTE)
    assert ledger.count(ModelVersion) == 0


def test_what_does_not_belong_together_is_refused(settings: Settings, ledger: Ledger, dataset: Dataset) -> None:
    artifact, other = built(settings, ledger, 1), built(settings, ledger, 2)
    folder = scored(settings, dataset, artifact, right=170)
    add_dataset(settings, ledger, "dataset_2")
    with pytest.raises(GateError, match="not on dataset_2"):
        decide_against_live(settings, ledger, evaluation=folder, dataset_id="dataset_2")
    for run_id, path, says in [("run_2", artifact, "not from run_2"), ("run_2", other, "another artifact")]:
        with pytest.raises(ArtifactError, match=says):
            publish(settings, ledger, run_id=run_id, artifact=path, evaluation=folder, verdict=PROMOTE)
    (artifact / "model.safetensors").write_bytes(b"tampered")
    with pytest.raises(ArtifactError, match="does not match"):
        publish(settings, ledger, run_id="run_1", artifact=artifact, evaluation=folder, verdict=PROMOTE)
    assert ledger.count(ModelVersion) == 0


def test_what_a_version_forgot_of_general_tasks_stands_in_its_verdict_and_card(
    settings: Settings, ledger: Ledger, dataset: Dataset
) -> None:
    live = published(settings, ledger, dataset, 1, right=100, general={"animals": {"items": 50, "acc": (0.9, 0.03)}})
    move_alias(ledger, "support", "support", live.id)
    general: dict[str, GeneralTask] = {
        "animals": {"items": 50, "acc": (0.5, 0.04)},
        "plants": {"items": 9, "acc": (0.75, None)},
    }
    version = published(settings, ledger, dataset, 2, right=105, general=general)
    assert version.verdict.general is not None
    assert version.verdict.general.keys() == {"animals"}
    assert version.verdict.general["animals"] == {"acc": pytest.approx((-0.4, 0.05))}
    card = card_path(settings.root, version.id).read_text(encoding="utf-8")
    assert "| animals | acc | 50 | 0.5 | 0.04 | -0.4 | 0.05 |" in card
    assert "| plants | acc | 9 | 0.75 | - | - | - |" in card
    card = card_path(settings.root, live.id).read_text(encoding="utf-8")
    assert "| animals | acc | 50 | 0.9 | 0.03 | - | - |" in card


def test_a_step_in_a_process_of_its_own_says_what_it_adds(
    settings: Settings, ledger: Ledger, dataset: Dataset, capsys: pytest.CaptureFixture[str]
) -> None:
    artifact = built(settings, ledger, 1)
    folder = scored(settings, dataset, artifact, right=170, baseline=0.2)
    made = Progress(run_id="run_1", dataset_id=dataset.id, artifact=str(artifact), evaluation=str(folder))
    text = json.dumps(as_json(made))
    step.main(Namespace(config=str(settings.path), overrides=[], name="gate", made=text, decision=None))
    added = from_json(capsys.readouterr().out, Progress)
    assert added == Progress(verdict=decide_against_live(settings, ledger, evaluation=folder, dataset_id=dataset.id))
    assert added.verdict is not None
    assert added.verdict.verdict == "PROMOTE"


def test_a_step_without_what_it_needs_says_so(settings: Settings, ledger: Ledger) -> None:
    with pytest.raises(GateError, match="no step has made artifact yet"):
        run_steps(Job(settings, ledger), Progress(run_id="run_1"), "evaluate", "evaluate")
