"""A settings file becomes a loop with every noun in its ledger, and with hostile text wherever users can write."""

import json
from datetime import datetime, timedelta
from pathlib import Path

import msgspec

from driftwheel.files import artifacts
from driftwheel.identity import new_id, utc_now
from driftwheel.records.bookkeeping import Step
from driftwheel.records.check_details import DecisionBasis, SignalDetails
from driftwheel.records.dataset_report import DatasetReport
from driftwheel.records.diagnosis import Change, Diagnosis, Finding, NewCluster, Remedy, WordShift
from driftwheel.records.gate_verdict import GateVerdict
from driftwheel.records.json_form import as_json
from driftwheel.records.lineage import Lineage
from driftwheel.records.nouns import (
    Alias,
    Dataset,
    DecisionStatus,
    DecisionVerdict,
    Deployment,
    DeploymentStage,
    DriftKind,
    DriftSignal,
    DriftVerdict,
    ModelVersion,
    ModelVersionStatus,
    RetrainDecision,
    Traffic,
    TrainingRun,
    TrainingRunStatus,
)
from driftwheel.records.run_metrics import RunMetrics
from driftwheel.records.scorecard import Scorecard
from driftwheel.settings.settings import Settings
from driftwheel.store.ledger import Ledger

HOSTILE = (
    "<script>window.hacked = 1</script><img src=x onerror='window.hacked = 2'> **bold** "
    "[x](javascript:window.hacked=3) :material/home: :red[red] $x^2$"
)
LABELS = ["card_lost", "refund", "delivery", HOSTILE]
REPORT = (
    "<html><body><h1>Evidently says</h1><script>document.title = 'drawn';"
    "try { parent.hacked = 4 } catch (e) {}</script></body></html>"
)


def fill(settings: Settings, ledger: Ledger, now: datetime | None = None) -> dict[str, str]:
    """Write every noun and the files they point at; return the ids that tests ask for."""
    now = now or utc_now()
    dataset = _dataset(settings, now - timedelta(hours=5))
    run = _run(settings, dataset, now - timedelta(hours=4))
    failed = _failed_run(settings, dataset, now - timedelta(hours=3, minutes=30))
    _search(settings, dataset, run)
    versions = [_version(settings, dataset, run, n, now - timedelta(hours=4 - n)) for n in (1, 2, 3)]
    for version in versions:
        _evaluation(settings, version)
    ledger.add(dataset, run, failed, *versions, *_deployments(settings, versions, now))
    ledger.add(
        Alias(
            id=f"{settings.project}/{settings.serve.alias}",
            project=settings.project,
            name=settings.serve.alias,
            version_id=versions[0].id,
            fence=1,
            observed_version_id=versions[0].id,
            observed_fence=1,
            observed_at=now,
        ),
        *(_request(settings, versions[0].id, i, now) for i in range(150)),
    )
    for check in range(6):
        ledger.add(*_signals(settings, versions[0].id, check, now - timedelta(minutes=60 - 10 * check)))
    decisions = _decisions(settings, now)
    ledger.add(*decisions, *_steps(settings, decisions[1].id, now))
    return {
        "v1": versions[0].id,
        "v2": versions[1].id,
        "rejected": versions[2].id,
        "waiting": decisions[0].id,
        "check": "check_5",
        "dataset": dataset.id,
    }


def _dataset(settings: Settings, at: datetime) -> Dataset:
    id = new_id("dataset", 1, at)
    folder = settings.root / "datasets" / id
    folder.mkdir(parents=True)
    for split in ("train", "validation", "test"):
        rows = [
            {
                "id": f"{split}-{i}",
                "prompt": [{"role": "user", "content": f"question {i} {HOSTILE}"}],
                "completion": [{"role": "assistant", "content": json.dumps({"intent": LABELS[i % 4]})}],
                "label": LABELS[i % 4],
                "group": f"g{i}",
                "source": "files",
                "slice": "old",
            }
            for i in range(20)
        ]
        (folder / f"{split}.jsonl").write_text("".join(json.dumps(r) + "\n" for r in rows), encoding="utf-8")
    report = {
        "rows_in": 1312,
        "broken": 2,
        "dropped": {"duplicate": 40, HOSTILE: 3},
        "broken_rows": [{"place": "seed.jsonl:17", "reason": HOSTILE}],
        "labels": {"card_lost": 420, "refund": 380, "delivery": 300, HOSTILE: 120},
        "distinct_labels": 4,
        "sources": {"files": 1220},
        "slices": {"train": {"old": 980}},
        "prompt_characters": {"p50": 61, "p95": 140, "max": 310},
        "prompt_words": {"p50": 11, "p95": 25, "max": 60},
        "answer_characters": {"p50": 40, "p95": 52, "max": 70},
    }
    return Dataset(
        id=id,
        project=settings.project,
        created_at=at,
        content_hash="c" * 64,
        path=str(folder),
        origin="files",
        train_rows=980,
        validation_rows=120,
        test_rows=120,
        report=msgspec.convert(report, DatasetReport),
    )


def _run(settings: Settings, dataset: Dataset, at: datetime) -> TrainingRun:
    id = new_id("run", 1, at)
    folder = settings.root / "runs" / id
    folder.mkdir(parents=True)
    points = [
        {
            "step": 5 * i,
            "epoch": i / 10,
            "loss": 3.2 * 0.93**i + 0.1,
            "learning_rate": 2e-4 * (1 - i / 41),
            "eval_loss": 3.1 * 0.93**i + 0.15 if i % 8 == 0 else None,
            "tokens": 900 * i,
            "tokens_per_second": 1800 + 60 * (i % 5),
            "elapsed_seconds": 0.5 * i,
        }
        for i in range(1, 41)
    ]
    text = "".join(json.dumps(p) + "\n" for p in points) + '{"step": 2'
    (folder / "curves.jsonl").write_text(text, encoding="utf-8")
    return TrainingRun(
        id=id,
        project=settings.project,
        created_at=at,
        status=TrainingRunStatus.SUCCEEDED,
        dataset_id=dataset.id,
        base_model="base",
        method="lora",
        settings={"learning_rate": 2e-4, "lora_r": 16},
        settings_hash="h",
        seed=0,
        path=str(folder),
        metrics=RunMetrics(train_loss=0.31, eval_loss=0.35),
        finished_at=at + timedelta(minutes=1),
    )


def _search(settings: Settings, dataset: Dataset, run: TrainingRun) -> None:
    folder = settings.root / "searches" / "study_0123456789ab"
    folder.mkdir(parents=True)
    trials = [
        {
            "number": n,
            "state": "pruned" if n % 5 == 4 else "complete",
            "eval_loss": 0.5 + 0.1 * ((n * 7) % 10),
            "last_step": 40,
            "values": {"learning_rate": 1e-4 * 1.5**n, "lora_r": 8 << n % 3, "optim": HOSTILE},
            "run_id": run.id,
            "seconds": 12.0,
            "error": None,
        }
        for n in range(10)
    ]
    summary = {
        "id": folder.name,
        "dataset_id": dataset.id,
        "sampler": "tpe",
        "space": {"learning_rate": {"low": 1e-4, "high": 1e-2, "log": True}, "lora_r": [8, 16, 32], "optim": [HOSTILE]},
        "trials": trials,
        "importance": {"learning_rate": 0.8, "lora_r": 0.2},
        "best": {**trials[0], "flags": f"--set train.optim={HOSTILE}"},
    }
    (folder / "search.json").write_text(json.dumps(summary), encoding="utf-8")


def _failed_run(settings: Settings, dataset: Dataset, at: datetime) -> TrainingRun:
    return TrainingRun(
        id=new_id("run", 2, at),
        project=settings.project,
        created_at=at,
        status=TrainingRunStatus.FAILED,
        dataset_id=dataset.id,
        base_model="base",
        method="full",
        settings={},
        settings_hash="h",
        seed=0,
        path=str(settings.root / "runs" / "gone"),
        error=f"the loss is nan {HOSTILE}",
    )


def _version(settings: Settings, dataset: Dataset, run: TrainingRun, number: int, at: datetime) -> ModelVersion:
    id = new_id("version", number, at)
    card = settings.root / "versions" / id / "model_card.md"
    card.parent.mkdir(parents=True)
    card.write_text(f"# v{number}\n\n{HOSTILE}\n", encoding="utf-8")
    accuracy = (0.91, 0.93, 0.41)[number - 1]
    scorecard = {
        "task": "labels",
        "items": 120,
        "accuracy": accuracy,
        "exact_match": accuracy - 0.02,
        "macro_f1": accuracy,
        "precision_macro": accuracy,
        "recall_macro": accuracy,
        "json_validity": 0.99,
        "rouge_l": None,
        "latency_p50_seconds": 0.08,
        "latency_p95_seconds": 0.15,
        "perplexity": 1.2,
        "slices": {"old": {"items": 120, "accuracy": accuracy}},
        "intervals": {"accuracy": [accuracy - 0.05, 0.97]},
        "calibration_error": 0.04,
        "brier": 0.06,
        "reliability": [
            {
                "low": k / 10,
                "high": (k + 1) / 10,
                "items": 10 * k,
                "confidence": k / 10 + 0.05,
                "accuracy": k / 10,
                "interval": [k / 10 - 0.1, k / 10 + 0.1],
            }
            for k in range(4, 10)
        ],
        "labels": {
            label: {
                "items": 30,
                "precision": 0.9,
                "precision_interval": [0.8, 0.95],
                "recall": 0.9,
                "recall_interval": [0.8, 0.95],
                "f1": 0.9,
            }
            for label in LABELS
        },
        "robustness": {
            "typos": {
                "items": 40,
                "accuracy_before": 0.95,
                "accuracy": 0.8,
                "drop": 0.15,
                "drop_interval": [0.04, 0.3],
                "same_answer": 0.8,
                "same_answer_interval": [0.6, 0.9],
            },
            "paraphrase": {"items": 0, "note": HOSTILE},
        },
        "confusion": {"labels": LABELS, "matrix": [[28, 1, 1, 0], [2, 27, 1, 0], [0, 1, 29, 0], [1, 1, 1, 27]]},
    }
    if number == 1:
        scorecard["baseline"] = {"plain": {"items": 120, "accuracy": 0.02}, "few_shot": {"items": 120, "accuracy": 0.2}}
    word = ("PROMOTE", "PROMOTE", "REJECT")[number - 1]
    verdict = {
        "verdict": word,
        "reason": f"as measured {HOSTILE}",
        "difference": accuracy - 0.91,
        "interval": [accuracy - 0.95, accuracy - 0.87],
        "items": 120,
        "items_needed": None,
        "notes": [f"Decided at the level 0.0001 {HOSTILE}"],
        "slices": [
            {
                "slice": "old",
                "items": 120,
                "candidate_accuracy": accuracy,
                "live_accuracy": 0.91,
                "difference": accuracy - 0.91,
                "interval": [accuracy - 0.96, accuracy - 0.86],
                "margin": -0.02,
                "verdict": word,
            }
        ],
    }
    status = ModelVersionStatus.REJECTED if number == 3 else ModelVersionStatus.PUBLISHED
    return ModelVersion(
        id=id,
        project=settings.project,
        created_at=at,
        status=status,
        number=number,
        run_id=run.id,
        dataset_id=dataset.id,
        base_model="base",
        path=str(settings.root / "artifacts" / id),
        manifest_hash=str(number) * 64,
        quantization="w8a8",
        scorecard=msgspec.convert(scorecard, Scorecard),
        verdict=msgspec.convert(verdict, GateVerdict),
        lineage=Lineage(run_id=run.id, seed=0),
    )


def _evaluation(settings: Settings, version: ModelVersion) -> None:
    """Write what a version answered, in hostile words: v1 gets every fourth item wrong, v2 every sixth."""
    wrong_every = {1: 4, 2: 6, 3: 2}[version.number]
    items = []
    for n in range(60):
        label = LABELS[n % 4]
        given = LABELS[(n + 1) % 4] if n % wrong_every == 0 else label
        answer = json.dumps({"intent": given, "note": f"v{version.number} {HOSTILE}" if n % 5 == 0 else ""})
        items.append(
            {
                "id": f"row-{n:02}",
                "slice": "new" if n % 3 else "old",
                "prompt": f"question {n} {HOSTILE}",
                "expected": json.dumps({"intent": label, "note": ""}),
                "answer": answer,
                "label": label,
                "predicted": given,
                "is_correct": given == label,
                "latency_seconds": 0.1,
                "mean_logprob": -0.1,
            }
        )
    facts = {"artifact": version.manifest_hash, "dataset_id": version.dataset_id}
    with artifacts.writing(settings.root / "evaluations" / f"evaluation-{version.number}", facts) as folder:
        (folder / "predictions.jsonl").write_text("".join(json.dumps(i) + "\n" for i in items), encoding="utf-8")
        artifacts.write_json(folder / "scorecard.json", as_json(version.scorecard) | {"baseline": None})


def _deployments(settings: Settings, versions: list[ModelVersion], now: datetime) -> list[Deployment]:
    return [
        Deployment(
            id=new_id("deployment", i, now - timedelta(hours=i)),
            project=settings.project,
            stage=stage,
            created_at=now - timedelta(hours=i),
            alias=settings.serve.alias,
            version_id=versions[0].id,
            share=share,
            fence=1,
            reason=HOSTILE,
        )
        for i, (stage, share) in enumerate(
            ((DeploymentStage.SHADOW, 0.0), (DeploymentStage.LIVE, 1.0), (DeploymentStage.CANARY, 0.1))
        )
    ]


def _request(settings: Settings, version_id: str, i: int, now: datetime) -> Traffic:
    at = now - timedelta(seconds=11 * i)
    is_hostile = i % 10 == 0
    prompt = f"{HOSTILE} number {i}" if is_hostile else f"my card number {i} is lost"
    return Traffic(
        id=new_id("req", i, at),
        project=settings.project,
        created_at=at,
        alias=settings.serve.alias,
        version_id=version_id,
        route="/v1/chat/completions",
        status_code=503 if i % 31 == 30 else 200,
        prompt=prompt,
        answer=HOSTILE if is_hostile else '{"intent": "card_lost"}',
        latency_seconds=0.05 + 0.01 * (i % 7),
        prompt_tokens=12,
        completion_tokens=9,
        key_id="0a1b2c3d",
        error=HOSTILE if i % 31 == 30 else None,
        label=HOSTILE if i % 20 == 0 else None,
        label_source="label" if i % 20 == 0 else None,
        thumb=-1 if i % 20 == 0 else None,
        feedback_at=at if i % 20 == 0 else None,
        is_partial=i == 7,
    )


def _diagnosis() -> Diagnosis:
    examples = ["my Nestora hub blinks red", f"the hub {HOSTILE}", "how do I reset the hub"]
    new = NewCluster(rows=46, share=0.23, words=["hub", "blinks", HOSTILE], examples=examples, nearest_label=HOSTILE)
    return Diagnosis(
        findings=[
            Finding(
                sentence=f"23 % of the requests are about something new: hub, {HOSTILE}.",
                remedy=Remedy.LABEL,
                advice="Label 30 of them, so that a retrain can learn the right answers.",
            ),
            Finding(sentence="The label refund grew from 10 % to 31 %.", remedy=Remedy.RETRAIN),
        ],
        words=[WordShift(word="hub", before=0.0, now=0.23), WordShift(word=HOSTILE, before=0.01, now=0.2)],
        clusters=[new],
        changes=[Change(name="refund", side="output", before=0.1, now=0.31)],
        windows=2,
    )


def _signals(settings: Settings, version_id: str, check: int, at: datetime) -> list[DriftSignal]:
    folder = settings.root / "reports" / f"check_{check}"
    folder.mkdir(parents=True)
    (folder / "report.html").write_text(REPORT, encoding="utf-8")
    verdict = (DriftVerdict.STEADY,) * 3 + (DriftVerdict.SUSPECTED, DriftVerdict.DRIFTED, DriftVerdict.DRIFTED)
    found = []
    for kind in DriftKind:
        for feature in ("all", "prompt_words"):
            is_moving = kind in (DriftKind.INPUT, DriftKind.QUALITY)
            score = (0.2 + 0.15 * check) if is_moving else 0.15 + 0.02 * check
            quality = SignalDetails(accuracy=0.93 - 0.06 * check, baseline=0.91, labelled_rows=100)
            asked = SignalDetails(
                shifted_words=[HOSTILE],
                strangest_prompts=[f"{HOSTILE} is strange"],
                diagnosis=_diagnosis() if feature == "all" and check >= 4 else None,
            )
            details = {DriftKind.INPUT: asked, DriftKind.QUALITY: quality}
            found.append(
                DriftSignal(
                    id=new_id("signal", [check, kind, feature], at),
                    project=settings.project,
                    created_at=at,
                    version_id=version_id,
                    kind=kind,
                    feature=feature,
                    method="mmd",
                    score=score,
                    threshold=0.6,
                    p_value=0.01,
                    reference_rows=600,
                    current_rows=200,
                    check_id=f"check_{check}",
                    verdict=verdict[check] if is_moving else DriftVerdict.STEADY,
                    report_path=str(folder),
                    details=details.get(kind, SignalDetails()),
                )
            )
    return found


def _decisions(settings: Settings, now: datetime) -> list[RetrainDecision]:
    states = (
        (DecisionVerdict.RETRAIN, DecisionStatus.AWAITING_APPROVAL, None),
        (DecisionVerdict.RETRAIN, DecisionStatus.FAILED, HOSTILE),
        (DecisionVerdict.HOLD, DecisionStatus.CLOSED, None),
    )
    return [
        RetrainDecision(
            id=new_id("decision", i, now - timedelta(minutes=9 * i)),
            project=settings.project,
            verdict=verdict,
            created_at=now - timedelta(minutes=9 * i),
            status=status,
            trigger="policy",
            remedy="retrain",
            reasons=["input drift for 2 windows", HOSTILE],
            known=DecisionBasis(fresh_labels=240),
            check_id="check_5",
            error=error,
        )
        for i, (verdict, status, error) in enumerate(states)
    ]


def _steps(settings: Settings, decision_id: str, now: datetime) -> list[Step]:
    start = now - timedelta(minutes=9)
    ends = {"dataset": 1, "finetune": 4, "merge": 5, "evaluate": 7}
    begin, steps = 0, []
    for name, end in ends.items():
        is_last = name == "evaluate"
        steps.append(
            Step(
                id=f"{decision_id}/{name}",
                project=settings.project,
                created_at=start + timedelta(minutes=begin),
                decision_id=decision_id,
                name=name,
                status="failed" if is_last else "done",
                finished_at=start + timedelta(minutes=end),
                error=HOSTILE if is_last else None,
            )
        )
        begin = end
    return steps


def write_settings(folder: Path) -> Path:
    """Write the settings file of a loop named `support` and return its path."""
    path = folder / "driftwheel.yaml"
    path.write_text(
        "project: support\nmodel: {base: base}\ndataset: {sources: [seed.jsonl], label_field: intent}\n"
        "serve: {alias: support, port: 1}\n",
        encoding="utf-8",
    )
    return path
