"""A loop with a long past, made in seconds: checked requests with their windows, signals and decisions."""

import json
import random
from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from driftwheel.identity import utc_now
from driftwheel.records.bookkeeping import Window
from driftwheel.records.by_whom import Feedback, FeedbackKind, Trust
from driftwheel.records.json_form import as_json
from driftwheel.records.nouns import (
    Alias,
    Dataset,
    DecisionStatus,
    DecisionVerdict,
    DriftKind,
    DriftSignal,
    DriftVerdict,
    ModelVersion,
    ModelVersionStatus,
    RetrainDecision,
    Traffic,
)
from driftwheel.records.predictions import Prediction
from driftwheel.records.scorecard import Scorecard
from driftwheel.settings.settings import Settings
from driftwheel.store.alias import alias_id
from driftwheel.store.ledger import Ledger
from driftwheel.store.tables import TABLES, row_of
from examples.support.world import answer, messages
from tests.support.versions import add_with_parents

BATCH_ROWS = 20_000
LABELLED_EVERY = 100
FEATURES = ("all", "prompt_words", "prompt_characters", "prompt_embedding")


def fill(settings: Settings, ledger: Ledger, rows: int, *, waiting: int, is_told: bool = False) -> None:
    """Write a live version that answered `rows` requests, one a second, all but the last `waiting` of them checked.

    With `is_told` the ledger also says who labelled what, as that of a real loop does.
    """
    now = utc_now()
    born_at = now - timedelta(seconds=rows + 1)
    _add_version(settings, ledger, born_at)
    checked, window_rows = rows - waiting, settings.monitor.window_rows
    _insert(ledger, Traffic, _requests(settings, born_at, rows, checked))
    if is_told:
        _insert(ledger, Feedback, _words(settings, born_at, rows))
    numbers = range(1, checked // window_rows + 1)
    at = {number: born_at + timedelta(seconds=number * window_rows) for number in numbers}
    _insert(ledger, Window, (_window(settings, number, at[number]) for number in numbers))
    _insert(ledger, DriftSignal, (s for number in numbers for s in _signals(settings, number, at[number])))
    _insert(ledger, RetrainDecision, (_decision(settings, number, at[number]) for number in numbers))


def _insert(ledger: Ledger, record_type: type, records: Iterator[Any]) -> None:
    batch: list[dict[str, Any]] = []
    for record in records:
        batch.append(row_of(record))
        if len(batch) == BATCH_ROWS:
            _write(ledger, record_type, batch)
            batch = []
    if batch:
        _write(ledger, record_type, batch)


def _write(ledger: Ledger, record_type: type, batch: list[dict[str, Any]]) -> None:
    with ledger.write() as connection:
        connection.execute(TABLES[record_type].insert(), batch)


def _add_version(settings: Settings, ledger: Ledger, at: datetime) -> None:
    path, learned = settings.root / "predictions.jsonl", settings.root / "dataset_1"
    _write_predictions(path)
    _write_learned(learned)
    dataset = Dataset(
        id="dataset_1",
        project=settings.project,
        created_at=at,
        content_hash="h",
        path=str(learned),
        origin="files",
        train_rows=1,
        validation_rows=1,
        test_rows=1,
    )
    version = ModelVersion(
        id="version_1",
        project=settings.project,
        created_at=at,
        status=ModelVersionStatus.PUBLISHED,
        number=1,
        run_id="run",
        dataset_id="dataset_1",
        base_model="b",
        path="p",
        manifest_hash="h",
        quantization="w8a8",
        scorecard=Scorecard(accuracy=0.95, items=400, predictions_path=str(path)),
    )
    alias = Alias(
        id=alias_id(settings.project, settings.serve.alias),
        project=settings.project,
        name=settings.serve.alias,
        version_id="version_1",
        fence=1,
        updated_at=at,
    )
    add_with_parents(ledger, dataset, version, alias)


def _write_predictions(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", encoding="utf-8") as file:
        for number, example in enumerate(messages(1000, 1, "steady")):
            item = Prediction(
                id=str(number),
                slice="old",
                prompt=example.text,
                expected=answer(example),
                answer=answer(example),
                label=example.intent,
                predicted=example.intent,
                is_correct=True,
                latency_seconds=0.1,
                mean_logprob=None,
            )
            file.write(json.dumps(as_json(item)) + "\n")


def _write_learned(folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "train.jsonl").open("w", encoding="utf-8") as file:
        for example in messages(1000, 77, "steady"):
            prompt = {"role": "user", "content": example.text}
            said = {"role": "assistant", "content": answer(example)}
            file.write(json.dumps({"prompt": [prompt], "completion": [said], "label": example.intent}) + "\n")


def _requests(settings: Settings, born_at: datetime, rows: int, checked: int) -> Iterator[Traffic]:
    said = [(example.text, answer(example)) for example in messages(2000, 2, "steady")]
    # No two windows are the same, or what was computed of one would be found again for the other.
    window_rows, chance = settings.monitor.window_rows, random.Random(2)
    for number in range(rows):
        prompt, text = chance.choice(said)
        at = born_at + timedelta(seconds=number + 1)
        is_labelled = number % LABELLED_EVERY == 0
        yield Traffic(
            id=f"req_{number:08d}",
            project=settings.project,
            created_at=at,
            alias=settings.serve.alias,
            version_id="version_1",
            route="/v1/chat/completions",
            status_code=200,
            prompt=prompt,
            answer=text,
            latency_seconds=0.1,
            label=text if is_labelled else None,
            label_source="correction" if is_labelled else None,
            feedback_at=at if is_labelled else None,
            check_id=f"check_{number // window_rows + 1}" if number < checked else None,
        )


def _words(settings: Settings, born_at: datetime, rows: int) -> Iterator[Feedback]:
    """Return who corrected what, as each correction of a real loop has it."""
    for number in range(0, rows, LABELLED_EVERY):
        at = born_at + timedelta(seconds=number + 1)
        yield Feedback(
            id=f"feedback_{number:08d}",
            project=settings.project,
            created_at=at,
            request_id=f"req_{number:08d}",
            author="support/desk",
            trust=Trust.TRUSTED,
            kind=FeedbackKind.CORRECTION,
            value="right",
        )


def _window(settings: Settings, number: int, at: datetime) -> Window:
    return Window(
        id=f"check_{number}",
        project=settings.project,
        created_at=at,
        version_id="version_1",
        number=number,
        rows=settings.monitor.window_rows,
        started_at=at - timedelta(seconds=settings.monitor.window_rows - 1),
        ended_at=at,
        over_in_a_row={kind.value: 0 for kind in DriftKind},
    )


def _signals(settings: Settings, number: int, at: datetime) -> Iterator[DriftSignal]:
    for kind in DriftKind:
        for feature in FEATURES if kind is DriftKind.INPUT else FEATURES[:1]:
            yield DriftSignal(
                id=f"signal_{number}_{kind}_{feature}",
                project=settings.project,
                created_at=at,
                version_id="version_1",
                kind=kind,
                feature=feature,
                method="m",
                score=0.1,
                threshold=1.0,
                reference_rows=400,
                current_rows=settings.monitor.window_rows,
                verdict=DriftVerdict.STEADY,
                check_id=f"check_{number}",
            )


def _decision(settings: Settings, number: int, at: datetime) -> RetrainDecision:
    return RetrainDecision(
        id=f"decision_{number}",
        project=settings.project,
        created_at=at,
        verdict=DecisionVerdict.HOLD,
        status=DecisionStatus.CLOSED,
        trigger="policy",
        remedy="none",
        reasons=["no alarm"],
        check_id=f"check_{number}",
    )
