"""Asks an endpoint a Dataset's test rows and scores the answers; shared by evaluation and baseline."""

import random
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any

from driftwheel.errors import DataError, EngineError
from driftwheel.files import artifacts
from driftwheel.identity import content_hash
from driftwheel.records.nouns import Dataset
from driftwheel.records.predictions import Prediction
from driftwheel.records.scorecard import Task
from driftwheel.settings.artifact import EvaluateSettings
from driftwheel.settings.secret import REVEALED
from driftwheel.settings.serving import ServeSettings
from driftwheel.settings.settings import Settings
from driftwheel.text.answers import field_for, form_of
from driftwheel.text.conversations import Message, Messages, Tool, text_of
from train.asking.client import Answer, Endpoint, ask_all
from train.data.examples import Example, read_examples
from train.evaluation.confidence import confidence
from train.evaluation.scores import detect_task, grade_answer
from train.step_progress import progress

FORMAT = 4
"""Raise it when a scorecard means something else than before; evaluations of another format are redone."""


def evaluation_folder(settings: Settings, dataset: Dataset, *asked: Any) -> Path:
    """Return the folder that belongs to what was asked: a model, a dataset, and how they were put together."""
    # The whole section counts, `concurrency` too: the latencies are part of the scorecard.
    how = settings.evaluate.model_dump(mode="json", context=REVEALED)  # another grader is another evaluation
    name = content_hash([FORMAT, asked, dataset.content_hash, how, settings.dataset.label_field, settings.dataset.seed])
    return settings.root / "evaluations" / name[:32]


def read_split(dataset: Dataset, split: str) -> list[Example]:
    """Return a split's rows; raises ArtifactError if the dataset was changed, DataError if the split is empty."""
    artifacts.verify(Path(dataset.path))
    rows = read_examples(Path(dataset.path) / f"{split}.jsonl")
    if not rows:
        raise DataError(f"the {split} split of {dataset.id} is empty; build a dataset with more rows")
    return rows


def sample(rows: Sequence[Example], most: int, seed: int) -> list[Example]:
    """Return at most that many rows, each slice in its proportion, in the order of the file."""
    if len(rows) <= most:
        return list(rows)
    slices: dict[str, list[int]] = {}
    for position, row in enumerate(rows):
        slices.setdefault(row.slice, []).append(position)
    quotas = {name: most * len(positions) / len(rows) for name, positions in slices.items()}
    counts = {name: int(quota) for name, quota in quotas.items()}
    # The slices with the largest remainders get the rows that rounding down left over.
    by_remainder = sorted(quotas, key=lambda name: (counts[name] - quotas[name], name))
    for name in by_remainder[: most - sum(counts.values())]:
        counts[name] += 1
    chosen = [p for name in sorted(slices) for p in random.Random(f"{seed}-{name}").sample(slices[name], counts[name])]
    return [rows[position] for position in sorted(chosen)]


def task_of(settings: EvaluateSettings, rows: Sequence[Example]) -> Task:
    """Return the task that the settings name, or the one that the expected answers look like."""
    chosen = settings.task
    if chosen == "auto" and any("tool_calls" in row.completion[-1] for row in rows):
        return "tools"
    return detect_task([row.answer for row in rows]) if chosen == "auto" else chosen


def learned_answers(rows: Sequence[Example]) -> list[str]:
    """Return the right answers of training rows, each row's once, however often it is learned."""
    return list({row.id: row.answer for row in rows if row.original is None}.values())


def score_items(
    rows: Sequence[Example],
    answers: Sequence[Answer],
    slices: Mapping[str, Sequence[str]] = MappingProxyType({}),
    *,
    label_field: str | None,
) -> list[Prediction]:
    """Put each row beside its answer, and its slices by id; raises EngineError if the engine refused every one."""
    if answers and all(answer.error is not None for answer in answers):
        raise EngineError(
            f"the engine refused every test item: {answers[0].error}; its log in the storage folder says more"
        )
    items = []
    for row, answer in zip(rows, answers, strict=True):
        expected = row.answer
        predicted, is_correct = grade_answer(expected, answer.text, row.label, label_field, row.references)
        own_field = field_for(form_of([expected]), label_field)
        items.append(
            Prediction(
                id=row.id,
                slice=row.slice,
                prompt=text_of(row.prompt[-1]),
                before=_transcript(row.prompt[:-1]),
                expected=expected,
                answer=answer.text,
                label=row.label,
                predicted=predicted,
                is_correct=is_correct and answer.error is None,
                latency_seconds=answer.latency_seconds,
                mean_logprob=answer.mean_logprob,
                error=answer.error,
                confidence=confidence(answer.text, answer.tokens, predicted, own_field),
                prompt_tokens=answer.prompt_tokens,
                completion_tokens=answer.completion_tokens,
                slices=tuple(slices.get(row.id, ())),
                references=tuple(row.references),
            )
        )
    return items


def _transcript(turns: Sequence[Message]) -> str:
    """Return what was said in some turns, each after its speaker; calls of tools as JSON."""
    return "\n".join(f"{turn['role']}: {text_of(turn)}" for turn in turns)


def ask(
    settings: EvaluateSettings,
    serve: ServeSettings,
    endpoint: Endpoint,
    conversations: Sequence[Messages],
    title: str,
    *,
    with_ids: bool = False,
    tools: Sequence[Sequence[Tool]] = (),
) -> list[Answer]:
    """Ask conversations with a progress bar on stderr; `with_ids` asks vLLM for token ids too.

    `tools` are each conversation's; empty, none has any.
    """
    if not conversations:
        return []
    with progress(title, len(conversations)) as on_done:
        return ask_all(
            endpoint,
            conversations,
            max_tokens=settings.max_tokens,
            concurrency=settings.concurrency,
            timeout_seconds=serve.request_timeout_seconds,
            on_done=on_done,
            with_ids=with_ids,
            tools=tools,
        )
