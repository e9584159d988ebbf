"""Evaluates a servable artifact on a Dataset's test split: predictions, scorecard and fingerprint.

    python -m train evaluate --artifact DIR --dataset ID [--baseline] --config driftwheel.yaml

The artifact is scored as it will be served: by vLLM, over HTTP. The folder's name is the hash of what went
in, so finished work is found and not redone.
"""

import random
import sys
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from driftwheel.evidence import fingerprint
from driftwheel.files import artifacts
from driftwheel.foreign_json import read_json
from driftwheel.records.json_form import as_json, from_json
from driftwheel.records.nouns import Dataset, TrainingRun
from driftwheel.records.predictions import PREDICTIONS, Prediction, read_predictions, write_predictions
from driftwheel.records.probe_answers import Fingerprint
from driftwheel.records.scorecard import Interval, Scorecard
from driftwheel.settings.artifact import EvaluateSettings
from driftwheel.settings.data import DatasetSettings
from driftwheel.settings.serving import ServeSettings
from driftwheel.settings.settings import Settings
from driftwheel.store.ledger import Ledger
from driftwheel.text.conversations import to_send
from driftwheel.text.grades import Criterion
from train.asking.client import Answer, Endpoint, reference_logprobs
from train.asking.engine_child import engine
from train.data.examples import Example, read_examples
from train.data.splitting.leaks import leaks_into_judge
from train.evaluation.baseline import measure_baseline
from train.evaluation.criterion_choice import choose_criterion, refuse_costs
from train.evaluation.finished import Evaluation, load_evaluation
from train.evaluation.general_tasks import measure_general, metrics_of
from train.evaluation.graders import given_again, with_grades
from train.evaluation.hallucination import Shown, made_up_flags, prompt_overlap, shown_by
from train.evaluation.robustness import measure_robustness
from train.evaluation.scores import perplexity, score, share_intervals, shares
from train.evaluation.scoring import (
    FORMAT,
    ask,
    evaluation_folder,
    learned_answers,
    read_split,
    sample,
    score_items,
    task_of,
)
from train.fidelity.parity_table import Parity
from train.fidelity.served import measure_served, prompt_key
from train.step_progress import progress
from train.verdict.slices import name_slices

PROBES = 8
PERPLEXITY_ITEMS = 64


def evaluate(
    settings: Settings,
    ledger: Ledger,
    *,
    artifact: Path,
    dataset_id: str,
    with_baseline: bool = False,
    endpoint: Endpoint | None = None,
    parity: Parity | None = None,
) -> Evaluation:
    """Score an artifact on a dataset's test split, served by an engine of its own or by a given endpoint.

    `with_baseline` also asks the untuned base model, plain and with examples in the prompt; `parity` is what the
    artifact's forms before the endpoint make of the probes, which the engine then answers too.
    Raises NotFoundError, ArtifactError, DataError, EngineError if the engine fails, or ParityError if it does not
    answer as the artifact's files do.
    """
    dataset = ledger.get(Dataset, dataset_id)
    manifest = artifacts.verify(artifact)
    folder = evaluation_folder(settings, dataset, manifest.content_hash)
    if _lacks_only_grades(folder, parity):
        _grade_again(settings.evaluate, folder)
    elif not _is_done(folder, parity):
        rows = sample(read_split(dataset, "test"), settings.evaluate.max_items, settings.dataset.seed)
        learned = read_split(dataset, "train")
        criterion = choose_criterion(settings.evaluate, settings.dataset.label_field, learned_answers(learned))
        refuse_costs(settings.evaluate, criterion, len(rows), with_baseline=with_baseline)
        facts = {"artifact": manifest.content_hash, "dataset_id": dataset_id, "format": FORMAT}
        if endpoint is not None:
            _write(settings, endpoint, dataset, artifact, rows, folder, facts, criterion, is_own=False)
        else:
            with engine(settings, ["--artifact", str(artifact.resolve())]) as own:
                # A new engine's first answers wait for kernels to be built; they are no latency that users see.
                first = [row.prompt for row in rows[: settings.evaluate.concurrency]]
                ask(
                    settings.evaluate,
                    settings.serve,
                    own,
                    first,
                    "warm up",
                    tools=[row.tools for row in rows[: len(first)]],
                )
                _write(settings, own, dataset, artifact, rows, folder, facts, criterion, is_own=True, parity=parity)
    if with_baseline and settings.evaluate.baseline_items:
        measure_baseline(settings, dataset)
    return load_evaluation(settings, ledger, folder)


def _is_done(folder: Path, parity: Parity | None) -> bool:
    """Say whether an evaluation is finished and holds the parity table that is wanted."""
    if not artifacts.is_complete(folder):
        return False
    return parity is None or artifacts.read_manifest(folder).parity == parity.digest


def _lacks_only_grades(folder: Path, parity: Parity | None) -> bool:
    """Say whether all that a finished evaluation lacks are grades, which a judge or grader did not give.

    Few are missing here and few at the other version, but together they may be too many for any verdict.
    """
    if not _is_done(folder, parity):
        return False
    card = from_json((folder / "scorecard.json").read_bytes(), Scorecard)
    return bool(card.ungraded) and card.criterion in ("judge", "http")


def _grade_again(settings: EvaluateSettings, folder: Path) -> None:
    """Ask for the grades that are missing, and nothing else: the engine has answered, and the others are graded."""
    card = from_json((folder / "scorecard.json").read_bytes(), Scorecard)
    items = given_again(settings, card.criterion, read_predictions(folder))
    scores = score(items, card.task or "text", card.criterion or "right")
    better = replace(
        card,
        grade=scores.grade,
        ungraded=scores.ungraded,
        slices=scores.slices,
        intervals=card.intervals | {"grade": scores.intervals.get("grade")},
    )
    facts = read_json((folder / artifacts.MANIFEST).read_bytes())
    kept = {name: value for name, value in facts.items() if name not in ("files", "content_hash")}
    others = {path.name: path.read_bytes() for path in folder.iterdir() if path.name not in _REGRADED}
    with artifacts.writing(folder, kept) as aside:
        write_predictions(aside, items)
        artifacts.write_json(aside / "scorecard.json", as_json(better))
        for name, content in others.items():
            (aside / name).write_bytes(content)


_REGRADED = (artifacts.MANIFEST, PREDICTIONS, "scorecard.json")


def _write(
    settings: Settings,
    endpoint: Endpoint,
    dataset: Dataset,
    artifact: Path,
    rows: Sequence[Example],
    folder: Path,
    facts: dict[str, object],
    criterion: Criterion,
    *,
    is_own: bool,
    parity: Parity | None = None,
) -> None:
    # The clock is around these answers alone: what follows asks the same engine other things.
    started_at = time.monotonic()
    prompts = [row.prompt for row in rows]
    answers = ask(
        settings.evaluate,
        settings.serve,
        endpoint,
        prompts,
        "evaluate",
        with_ids=is_own,
        tools=[row.tools for row in rows],
    )
    seconds = time.monotonic() - started_at
    slices = name_slices(read_examples(Path(dataset.path) / "test.jsonl"))
    items = score_items(rows, answers, slices, label_field=settings.dataset.label_field)
    items = with_grades(settings.evaluate, criterion, items)
    scorecard = replace(
        _scores(settings.evaluate, rows, items, criterion, shown_by(read_split(dataset, "train"))),
        completion_tokens_per_second=sum(answer.completion_tokens for answer in answers) / seconds,
        robustness=measure_robustness(settings, endpoint, rows, items),
        general=measure_general(settings, endpoint, artifact),
        perplexity=_perplexity(settings.evaluate, settings.serve, endpoint, rows, answers, seed=settings.dataset.seed),
        dataset_id=dataset.id,
        engine_start_seconds=endpoint.start_seconds,
    )
    if parity is not None:
        keys = [prompt_key(row.prompt, row.tools) for row in rows]
        known = dict(zip(keys, answers, strict=True))
        scorecard = replace(scorecard, parity=tuple(measure_served(settings, endpoint, parity, known)))
        facts["parity"] = parity.digest
    probes = _take_fingerprint(endpoint, rows, answers, seed=settings.dataset.seed) if is_own else Fingerprint()
    with artifacts.writing(folder, facts) as aside:
        write_predictions(aside, items)
        artifacts.write_json(aside / "scorecard.json", as_json(scorecard))
        artifacts.write_json(aside / "fingerprint.json", as_json(probes))


def _scores(
    settings: EvaluateSettings, rows: Sequence[Example], items: Sequence[Prediction], criterion: Criterion, shown: Shown
) -> Scorecard:
    """Return what the answers alone decide, and how many of them are made up."""
    task = task_of(settings, rows)
    scores, flags = score(items, task, criterion), made_up_flags(rows, items, task, shown)
    overlap = prompt_overlap(rows, items) if task == "extractive" else None
    intervals = scores.intervals | share_intervals(flags)
    return replace(scores, **shares(flags), intervals=intervals, prompt_overlap=overlap)


def _perplexity(
    settings: EvaluateSettings,
    serve: ServeSettings,
    endpoint: Endpoint,
    rows: Sequence[Example],
    answers: Sequence[Answer],
    *,
    seed: int,
) -> float | None:
    """Return the perplexity of the reference answers on a subsample; None if the endpoint cannot tell."""
    references = [
        (row.prompt, row.answer, answer.prompt_tokens)
        for row, answer in zip(rows, answers, strict=True)
        # A prompt with tools has other tokens than the messages alone, which are all that is sent here.
        if answer.error is None and answer.prompt_tokens and not row.tools
    ]
    chance = random.Random(f"{seed}-perplexity")
    chosen = chance.sample(references, min(PERPLEXITY_ITEMS, len(references)))
    with progress("perplexity", len(chosen)) as on_done:
        found = reference_logprobs(
            endpoint,
            chosen,
            concurrency=settings.concurrency,
            timeout_seconds=serve.request_timeout_seconds,
            on_done=on_done,
        )
    return None if found is None else perplexity(found)


def _take_fingerprint(
    endpoint: Endpoint, rows: Sequence[Example], answers: Sequence[Answer], *, seed: int
) -> Fingerprint:
    fit = [to_send(row.prompt) for row, answer in zip(rows, answers, strict=True) if answer.error is None]
    probes = random.Random(f"{seed}-probes").sample(fit, min(PROBES, len(fit)))
    taken = fingerprint.take(endpoint.url, endpoint.model, probes)
    if endpoint.base_model is not None:
        taken = replace(taken, base_probes=fingerprint.take(endpoint.url, endpoint.base_model, probes).probes)
    return taken


def summary(scorecard: Scorecard) -> str:
    """Return a scorecard's single numbers, one to a line, shares with their 95 % intervals."""
    lines = [
        _line(name, value, scorecard.intervals.get(name))
        for name, value in vars(scorecard).items()
        if isinstance(value, int | float | str)
    ]
    for kind, found in (scorecard.robustness or {}).items():
        lines.append(_line(f"drop_{kind}", found.note if found.drop is None else found.drop, found.drop_interval))
    for task, metrics in (scorecard.general or {}).items():
        for metric, (value, error) in metrics_of(metrics).items():
            reach = None if error is None else (value - 1.96 * error, value + 1.96 * error)
            lines.append(_line(f"{task} {metric}", value, reach))
    return "\n".join(lines)


def _line(name: str, value: float | str | None, interval: Interval | None) -> str:
    reach = f"  [{interval[0]:.4g}, {interval[1]:.4g}]" if interval else ""
    return f"{name:<28} {f'{value:.4g}' if isinstance(value, float) else value}{reach}"


def warn_of_learned(settings: DatasetSettings, ledger: Ledger, run_id: str | None, dataset_id: str) -> None:
    """Say on stderr if the scores will flatter, because the run learned rows that it is asked."""
    for run in ledger.find(TrainingRun, id=run_id) if run_id else []:
        if leaks := leaks_into_judge(settings, ledger, run, ledger.get(Dataset, dataset_id)):
            sys.stderr.write(f"{run.id} learned {len(leaks)} rows that leak into this test split: {leaks[0]}\n")
