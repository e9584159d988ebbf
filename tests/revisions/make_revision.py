"""A few records of every type become the small databases of a released revision that the tests keep.

    git archive TAG driftwheel | tar x -C OLD
    PYTHONPATH=OLD python tests/revisions/make_revision.py tests/revisions/revision_1 --postgres-url URL

It is run once for a revision, in its last form of that time and with the code of that time, on an empty PostgreSQL
database; the folder is then kept for ever. The records are the same at every run.
"""

import argparse
import importlib
import importlib.util
import sqlite3
import subprocess
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any


def _classes() -> SimpleNamespace:
    """Return the classes of records in the tree that is used, whichever of its modules holds them."""
    found: dict[str, Any] = {}
    for name in ("driftwheel.records.bookkeeping", "driftwheel.records.nouns"):
        if importlib.util.find_spec(name):
            found |= vars(importlib.import_module(name))
    return SimpleNamespace(**found)


records = _classes()
STAGES = getattr(records, "DeploymentStage", None) or records.Stage
"""The stages of a Deployment, by either of the names that they have had."""
START = datetime(2026, 1, 2, 3, 4, 5, 678901, UTC)
ROOT = "/srv/loop/.driftwheel"
"""Where the storage folder was when the records were written."""
TEXT = "naïve \"quoted\" 'text' 日本 🚗\nsecond line; DROP TABLE req; --"
SCORECARD = {
    "task": "labels",
    "items": 120,
    "accuracy": 0.91,
    "exact_match": 0.9,
    "macro_f1": 0.91,
    "precision_macro": 0.91,
    "recall_macro": 0.91,
    "json_validity": 0.99,
    "rouge_l": None,
    "latency_p50_seconds": 0.08,
    "latency_p95_seconds": 0.15,
    "perplexity": 1.2,
    "slices": {"old": {"items": 120, "accuracy": 0.91}},
    "intervals": {"accuracy": [0.86, 0.97]},
    "calibration_error": 0.04,
    "brier": 0.06,
}
VERDICT = {
    "verdict": "PROMOTE",
    "reason": TEXT,
    "difference": 0.02,
    "interval": [-0.01, 0.05],
    "items": 120,
    "items_needed": None,
    "notes": ["Decided at the level 0.05"],
    "slices": [],
}
REPORT = {
    "rows_in": 1312,
    "broken": 0,
    "dropped": {"duplicate": 40},
    "broken_rows": [],
    "labels": {"card_lost": 420},
    "distinct_labels": 1,
    "sources": {"files": 1220},
    "slices": {"train": {"old": 980}},
    "prompt_characters": {"p50": 61, "p95": 140, "max": 310},
    "prompt_words": {"p50": 11, "p95": 25, "max": 60},
    "answer_characters": {"p50": 40, "p95": 52, "max": 70},
}


def rows_of(project: str, n: int) -> list[Any]:
    """Return one record of every type; the first loop's have every field, the second's only what they must."""
    at, is_full = START + timedelta(days=n, microseconds=n), n == 0
    common: dict[str, Any] = {"project": project, "created_at": at}

    def only_if_full(**values: Any) -> dict[str, Any]:
        return values if is_full else {}

    return [
        records.Dataset(
            id=f"dataset_{n}",
            **common,
            content_hash="c" * 64,
            path=f"{ROOT}/datasets/dataset_{n}",
            origin="files",
            train_rows=980,
            validation_rows=120,
            test_rows=120,
            **only_if_full(report=REPORT),
        ),
        records.TrainingRun(
            id=f"run_{n}",
            **common,
            dataset_id=f"dataset_{n}",
            base_model="/models/base",
            method="lora",
            settings={"learning_rate": 2e-4},
            settings_hash="h",
            seed=7,
            path=f"{ROOT}/runs/run_{n}",
            status=records.TrainingRunStatus.SUCCEEDED,
            **only_if_full(metrics={"train_loss": 0.31}, finished_at=at + timedelta(hours=1), error=TEXT),
        ),
        records.ModelVersion(
            id=f"version_{n}",
            **common,
            number=1,
            run_id=f"run_{n}",
            dataset_id=f"dataset_{n}",
            base_model="/models/base",
            path=f"{ROOT}/artifacts/version_{n}",
            manifest_hash="m" * 64,
            quantization="w8a8",
            status=records.ModelVersionStatus.PUBLISHED,
            **only_if_full(scorecard=SCORECARD, verdict=VERDICT, lineage={"run_id": "run_0", "seed": 7}),
        ),
        records.Deployment(
            id=f"deployment_{n}",
            **common,
            alias=project,
            version_id=f"version_{n}",
            stage=STAGES.LIVE,
            share=1.0,
            fence=3,
            reason=TEXT,
            updated_at=at,
        ),
        *_requests(project, n, common, is_full),
        records.DriftSignal(
            id=f"signal_{n}",
            **common,
            version_id=f"version_{n}",
            kind=records.DriftKind.ENGINE,
            feature="all",
            method="ks",
            score=0.25,
            threshold=0.5,
            reference_rows=1000,
            current_rows=200,
            verdict=records.DriftVerdict.STEADY,
            check_id=f"check_{n}",
            **only_if_full(
                p_value=1e-12,
                window_started_at=at,
                window_ended_at=at,
                report_path=f"{ROOT}/reports/check_{n}",
                details={"request_ids": [f"req_{n}_0"], "errors": 0},
            ),
        ),
        *_windows(n, common, is_full),
        *_events(n, common, is_full),
        records.RetrainDecision(
            id=f"decision_{n}",
            **common,
            verdict=records.DecisionVerdict.RETRAIN,
            status=records.DecisionStatus.PROMOTED,
            trigger="policy",
            remedy="retrain",
            reasons=[TEXT, "quality fell"],
            updated_at=at,
            **only_if_full(
                known={"rows": 3},
                check_id="check_0",
                dataset_id="dataset_0",
                run_id="run_0",
                version_id="version_0",
                error=TEXT,
            ),
        ),
        records.Alias(
            id=f"{project}/{project}",
            **common,
            name=project,
            version_id=f"version_{n}",
            fence=3,
            updated_at=at,
            **only_if_full(
                previous_version_id="version_gone",
                observed_version_id="version_0",
                observed_fence=3,
                observed_at=at,
                observed_error=TEXT,
                leader="host:1234",
                heartbeats=99,
            ),
        ),
        records.Step(
            id=f"decision_{n}/train",
            **common,
            decision_id=f"decision_{n}",
            name="train",
            status="done",
            **only_if_full(attempt=2, finished_at=at, output={"run_id": "run_0"}, error=TEXT),
        ),
        records.Switch(id=f"{project}/paused", **common, value="yes" if is_full else "", updated_at=at),
        records.Judgement(
            id=f"judgement_{n}",
            **common,
            first_version_id=f"version_{n}",
            second_version_id=f"version_{n}",
            dataset_id=f"dataset_{n}",
            item_id="test-1",
            judge="Ann",
            preference=records.Preference.FIRST,
            **only_if_full(first_was_left=True),
        ),
        records.ApiKey(
            id=f"{project}/web",
            **common,
            scopes=[records.Scope.ASK],
            digest="d" * 64,
            updated_at=at,
            **only_if_full(
                fence=2,
                previous_digest="e" * 64,
                previous_ends_at=at,
                expires_at=at,
                requests_per_minute=60,
                tokens_per_minute=2**40,
                max_concurrency=4,
            ),
        ),
    ]


def _windows(n: int, common: dict[str, Any], is_full: bool) -> list[Any]:
    """Return a window, where there are such records: since revision 4."""
    if not hasattr(records, "Window"):
        return []
    filled: dict[str, Any] = {"started_at": START, "ended_at": START, "over_in_a_row": {"engine": 2}} if is_full else {}
    return [records.Window(id=f"check_{n}", **common, version_id=f"version_{n}", number=1, rows=200, **filled)]


def _events(n: int, common: dict[str, Any], is_full: bool) -> list[Any]:
    """Return an event, where there are such records: since revision 8."""
    if not hasattr(records, "Event"):
        return []
    filled: dict[str, Any] = {"before": {"fence": 2}, "after": {"fence": 3}, "reason": TEXT} if is_full else {}
    return [records.Event(id=f"event_{n}", **common, actor="person:Ann", action="promote", object_id="a", **filled)]


def _requests(project: str, n: int, common: dict[str, Any], is_full: bool) -> list[Any]:
    return [
        records.Traffic(
            id=f"req_{n}_{i}",
            **common | {"created_at": common["created_at"] + timedelta(milliseconds=i)},
            alias=project,
            version_id=f"version_{n}",
            route="chat",
            status_code=200 if i else 503,
            prompt=TEXT,
            answer=f"answer {i}",
            latency_seconds=0.125 + i,
            **(
                {
                    "request": '{"model": "x"}',
                    "finish_reason": "stop",
                    "prompt_tokens": 5,
                    "completion_tokens": 7,
                    "mean_logprob": -0.1,
                    "time_to_first_token_seconds": 0.01,
                    "key_id": "web",
                    "user_id": "u",
                    "conversation_id": "c",
                    "error": TEXT,
                    "thumb": -1,
                    "label": "card_lost",
                    "label_source": "label",
                    "feedback_at": common["created_at"],
                    "response": '{"answer": "é"}',
                    "is_stream": True,
                    "is_partial": True,
                }
                if is_full
                else {}
            ),
        )
        for i in range(3)
    ]


def ledger_class() -> Any:
    """Return the Ledger of the code that makes the revision; it has lived in two places."""
    try:
        return importlib.import_module("driftwheel.ledger").Ledger
    except ModuleNotFoundError:
        return importlib.import_module("driftwheel.store.ledger").Ledger


def fill(url: str) -> None:
    """Write the records into an empty database."""
    ledger = ledger_class()(url)
    for n, project in enumerate(("support", "billing")):
        for record in rows_of(project, n):  # one by one: a record comes after those that it names
            ledger.add(record)
    ledger.close()


def main() -> None:
    """Write the two databases."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--postgres-url", required=True, metavar="URL", help="of an empty database")
    parsed = parser.parse_args()
    parsed.folder.mkdir(parents=True)
    file = parsed.folder / "ledger.db"
    fill(f"sqlite:///{file}")
    with sqlite3.connect(file) as connection:
        connection.execute("PRAGMA journal_mode=DELETE")  # one file, without the side files of a WAL
        connection.execute("PRAGMA page_size=512")  # most tables hold two rows
        connection.execute("VACUUM")
    connection.close()
    fill(parsed.postgres_url)
    argv = ["pg_dump", "--inserts", "--no-owner", "--no-privileges", "--restrict-key=0", parsed.postgres_url]
    if "--restrict-key" not in subprocess.run(["pg_dump", "--help"], capture_output=True, text=True).stdout:
        argv.remove("--restrict-key=0")
    dump = subprocess.run(argv, check=True, capture_output=True, text=True).stdout
    lines = [line for line in dump.splitlines() if line and not line.startswith(("--", "SET ", "\\"))]
    (parsed.folder / "ledger.sql").write_text("\n".join(lines) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
