"""A servable artifact and a dataset's test split become predictions, a scorecard and a fingerprint.

    python -m train evaluate --artifact DIR --dataset ID [--baseline] --config driftwheel.yaml

The artifact is scored as it will be served: by vLLM, over HTTP. The folder's name is the hash of what went
in, so finished work is found and not redone.
"""

import argparse
import json
import random
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from driftwheel import artifacts, fingerprint
from driftwheel.command import add_common_arguments, open_ledger, settings_from
from driftwheel.config import Settings
from driftwheel.errors import DataError, EngineError
from driftwheel.ledger import Ledger
from driftwheel.records import Dataset, content_hash
from train.engine_child import engine
from train.metrics import Scored, Task, detect_task, judge_answer, perplexity, score
from train.scoring_client import Answer, Endpoint, Messages, ask_all, reference_logprobs

FORMAT = 1
"""Raise it when a scorecard means something else than before; evaluations of another format are redone."""

PROBES = 8
PERPLEXITY_ITEMS = 64

Row = dict[str, Any]


@dataclass(frozen=True, kw_only=True)
class Evaluation:
    """What one artifact scored on one dataset's test split."""

    folder: Path
    scorecard: dict[str, Any]
    fingerprint: dict[str, Any]
    """Empty where the endpoint was somebody else's."""


def evaluate(
    settings: Settings,
    ledger: Ledger,
    *,
    artifact: Path,
    dataset_id: str,
    with_baseline: bool = False,
    endpoint: Endpoint | None = None,
) -> Evaluation:
    """Score an artifact on a dataset's test split, served by an engine of its own or by a given endpoint.

    `with_baseline` also asks the untuned base model, plain and with examples in the prompt.
    Raises NotFoundError, ArtifactError, DataError, or EngineError if the engine fails.
    """
    dataset = ledger.get(Dataset, dataset_id)
    manifest = artifacts.verify(artifact)
    folder = evaluation_folder(settings, dataset, manifest["content_hash"])
    if not artifacts.is_complete(folder):
        rows = sample(read_split(dataset, "test"), settings.evaluate.max_items, settings.dataset.seed)
        facts = {"artifact": manifest["content_hash"], "dataset_id": dataset_id, "format": FORMAT}
        if endpoint is not None:
            _write(settings, endpoint, rows, folder, facts, is_own=False)
        else:
            with engine(settings, ["--artifact", str(artifact.resolve())]) as own:
                _write(settings, own, rows, folder, facts, is_own=True)
    if with_baseline and settings.evaluate.baseline_items:
        from train.baseline import measure_baseline

        measure_baseline(settings, dataset)
    return load_evaluation(settings, ledger, folder)


def load_evaluation(settings: Settings, ledger: Ledger, folder: Path) -> Evaluation:
    """Read a finished evaluation; its scorecard gets the base model's scores where they were measured.

    Raises ArtifactError if it is unfinished or was changed.
    """
    from train.baseline import find_baseline

    artifacts.verify(folder)
    scorecard = json.loads((folder / "scorecard.json").read_text(encoding="utf-8"))
    scorecard["predictions_path"] = str(folder / "predictions.jsonl")
    scorecard["baseline"] = find_baseline(settings, ledger.get(Dataset, scorecard["dataset_id"]))
    probes = json.loads((folder / "fingerprint.json").read_text(encoding="utf-8"))
    return Evaluation(folder=folder, scorecard=scorecard, fingerprint=probes)


def read_predictions(folder: Path) -> list[Scored]:
    """Return an evaluation's scored items."""
    lines = (folder / "predictions.jsonl").read_text(encoding="utf-8").splitlines()
    return [Scored(**json.loads(line)) for line in lines]


def evaluation_folder(settings: Settings, dataset: Dataset, *asked: Any) -> Path:
    """Return the folder that belongs to what was asked: a model, a dataset, and how they were put together."""
    how = settings.evaluate.model_dump(mode="json")
    name = content_hash([FORMAT, asked, dataset.content_hash, how, settings.dataset.label_field, settings.dataset.seed])
    return settings.root / "evaluations" / name[:32]


def read_split(dataset: Dataset, split: str) -> list[Row]:
    """Return a split's rows; raises ArtifactError if the dataset was changed, DataError if the split is empty."""
    artifacts.verify(Path(dataset.path))
    lines = (Path(dataset.path) / f"{split}.jsonl").read_text(encoding="utf-8").splitlines()
    if not lines:
        raise DataError(f"the {split} split of {dataset.id} is empty; build a dataset with more rows")
    return [json.loads(line) for line in lines]


def sample(rows: Sequence[Row], most: int, seed: int) -> list[Row]:
    """Return at most that many rows, each slice in its proportion, in the order of the file."""
    if len(rows) <= most:
        return list(rows)
    slices: dict[str, list[int]] = {}
    for position, row in enumerate(rows):
        slices.setdefault(row["slice"], []).append(position)
    quotas = {name: most * len(positions) / len(rows) for name, positions in slices.items()}
    counts = {name: int(quota) for name, quota in quotas.items()}
    by_remainder = sorted(quotas, key=lambda name: (counts[name] - quotas[name], name))
    for name in by_remainder[: most - sum(counts.values())]:
        counts[name] += 1
    chosen = [p for name in sorted(slices) for p in random.Random(f"{seed}-{name}").sample(slices[name], counts[name])]
    return [rows[position] for position in sorted(chosen)]


def task_of(settings: Settings, rows: Sequence[Row]) -> Task:
    """Return the task that the settings name, or the one that the expected answers look like."""
    chosen = settings.evaluate.task
    return detect_task([expected_answer(row) for row in rows]) if chosen == "auto" else chosen


def expected_answer(row: Row) -> str:
    """Return a row's reference answer."""
    return str(row["completion"][-1]["content"])


def score_items(settings: Settings, rows: Sequence[Row], answers: Sequence[Answer]) -> list[Scored]:
    """Put each row beside its answer; raises EngineError if the engine refused every one of them."""
    if answers and all(answer.error is not None for answer in answers):
        raise EngineError(f"the engine refused every test item: {answers[0].error}")
    items = []
    for row, answer in zip(rows, answers, strict=True):
        predicted, is_correct = judge_answer(
            expected_answer(row), answer.text, row["label"], settings.dataset.label_field
        )
        items.append(
            Scored(
                id=row["id"],
                slice=row["slice"],
                prompt=str(row["prompt"][-1]["content"]),
                expected=expected_answer(row),
                answer=answer.text,
                label=row["label"],
                predicted=predicted,
                is_correct=is_correct and answer.error is None,
                latency_seconds=answer.latency_seconds,
                mean_logprob=answer.mean_logprob,
                error=answer.error,
            )
        )
    return items


def ask(
    settings: Settings, endpoint: Endpoint, conversations: Sequence[Messages], title: str, most: int | None = None
) -> list[Answer]:
    """Ask conversations with a progress bar on stderr."""
    with progress(title, len(conversations)) as on_done:
        return ask_all(
            endpoint,
            conversations,
            max_tokens=most or settings.evaluate.max_tokens,
            concurrency=settings.evaluate.concurrency,
            timeout_seconds=settings.serve.request_timeout_seconds,
            on_done=on_done,
        )


@contextmanager
def progress(title: str, total: int) -> Iterator[Callable[[], None]]:
    """Draw a progress bar on stderr and give the function that moves it by one."""
    columns = (TextColumn(title), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True)) as bar:
        task = bar.add_task("", total=total)
        yield lambda: bar.advance(task)


def _write(
    settings: Settings, endpoint: Endpoint, rows: Sequence[Row], folder: Path, facts: dict[str, Any], *, is_own: bool
) -> None:
    answers = ask(settings, endpoint, [row["prompt"] for row in rows], "evaluate")
    items = score_items(settings, rows, answers)
    scorecard = {
        **score(items, task_of(settings, rows)),
        "perplexity": _perplexity(settings, endpoint, rows, answers),
        "dataset_id": facts["dataset_id"],
        "engine_start_seconds": endpoint.start_seconds,
    }
    probes = _take_fingerprint(settings, endpoint, rows, answers) if is_own else {}
    with artifacts.writing(folder, facts) as aside:
        lines = [json.dumps(asdict(item), ensure_ascii=False) + "\n" for item in items]
        (aside / "predictions.jsonl").write_text("".join(lines), encoding="utf-8")
        artifacts.write_json(aside / "scorecard.json", scorecard)
        artifacts.write_json(aside / "fingerprint.json", probes)


def _perplexity(settings: Settings, endpoint: Endpoint, rows: Sequence[Row], answers: Sequence[Answer]) -> float | None:
    """Return the perplexity of the reference answers on a subsample; None if the endpoint cannot tell."""
    references = [
        (row["prompt"], expected_answer(row), answer.prompt_tokens)
        for row, answer in zip(rows, answers, strict=True)
        if answer.error is None and answer.prompt_tokens
    ]
    chance = random.Random(f"{settings.dataset.seed}-perplexity")
    chosen = chance.sample(references, min(PERPLEXITY_ITEMS, len(references)))
    with progress("perplexity", len(chosen)) as on_done:
        found = reference_logprobs(
            endpoint,
            chosen,
            concurrency=settings.evaluate.concurrency,
            timeout_seconds=settings.serve.request_timeout_seconds,
            on_done=on_done,
        )
    return None if found is None else perplexity(found)


def _take_fingerprint(
    settings: Settings, endpoint: Endpoint, rows: Sequence[Row], answers: Sequence[Answer]
) -> dict[str, Any]:
    fit = [row["prompt"] for row, answer in zip(rows, answers, strict=True) if answer.error is None]
    probes = random.Random(f"{settings.dataset.seed}-probes").sample(fit, min(PROBES, len(fit)))
    return fingerprint.take(endpoint.url, endpoint.model, probes)


def summary(scorecard: Mapping[str, Any]) -> str:
    """Return a scorecard's single numbers, one to a line."""
    shown = {k: v for k, v in scorecard.items() if isinstance(v, int | float | str)}
    return "\n".join(f"{k:<22} {f'{v:.4g}' if isinstance(v, float) else v}" for k, v in shown.items())


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the verb's arguments."""
    add_common_arguments(parser)
    parser.add_argument("--artifact", type=Path, required=True, metavar="DIR", help="servable folder to score")
    parser.add_argument("--dataset", metavar="ID", help="dataset whose test split is asked (the artifact's own)")
    parser.add_argument("--baseline", action="store_true", help="also score the base model, plain and few-shot")


def main(arguments: argparse.Namespace) -> None:
    """Evaluate an artifact and print its folder and scorecard."""
    settings = settings_from(arguments)
    dataset_id = arguments.dataset or artifacts.read_manifest(arguments.artifact)["dataset_id"]
    done = evaluate(
        settings,
        open_ledger(settings),
        artifact=arguments.artifact,
        dataset_id=dataset_id,
        with_baseline=arguments.baseline,
    )
    if arguments.json:
        facts = {"folder": str(done.folder), "scorecard": done.scorecard}
        sys.stdout.write(json.dumps(facts, ensure_ascii=False) + "\n")
    else:
        sys.stdout.write(f"{'folder':<22} {done.folder}\n{summary(done.scorecard)}\n")
    sys.stdout.flush()
