"""Scores the untuned base model, asked plainly and with fixed and retrieved examples: the scores to beat.

Prompt engineering comes first: a fine-tuned model that does not beat a few-shot prompt is not worth serving.
Retrieved examples are the training rows whose letters in a row are most like the question's.
"""

import random
from collections.abc import Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

from driftwheel.errors import ConfigError, EngineError, NotFoundError
from driftwheel.files import artifacts
from driftwheel.identity import content_hash
from driftwheel.records.json_form import as_json, from_json
from driftwheel.records.nouns import Dataset
from driftwheel.records.predictions import Prediction, read_predictions, write_predictions
from driftwheel.records.scorecard import EarlierBaseline, PromptScore, Scorecard, Task
from driftwheel.settings.data import Base, TemplateSettings
from driftwheel.settings.settings import Settings
from driftwheel.store.ledger import Ledger
from driftwheel.text.conversations import Message, Messages, text_of
from driftwheel.text.grades import Criterion
from train.asking.client import Endpoint
from train.asking.engine_child import engine
from train.base_model import load_base_tokenizer
from train.chat_template import template_hash
from train.data.examples import Example
from train.evaluation.criterion_choice import choose_criterion
from train.evaluation.graded_rows import ask_rows
from train.evaluation.graders import given_again
from train.evaluation.scores import detect_task, score
from train.evaluation.scoring import (
    evaluation_folder,
    learned_answers,
    read_split,
    sample,
    task_of,
)

WAYS = ("plain", "few_shot", "retrieved")
Prompts = dict[str, PromptScore]
"""By the way of prompting: one of `WAYS`."""
Answered = dict[str, list[Prediction]]
"""The answers by the way of prompting; none of one that could not be asked."""


def measure_baseline(settings: Settings, dataset: Dataset, endpoint: Endpoint | None = None) -> Prompts:
    """Score the base model on a dataset's test items, or find the scores; raises EngineError.

    The result has entries `plain`, `few_shot` and `retrieved`; one that could not be asked says why in `note`.
    """
    found, folder = find_baseline(settings, dataset), _folder(settings, dataset)
    lacking = {name for name, e in (found or {}).items() if lacks_grades(e, settings.gate.max_ungraded)}
    if found is not None and not lacking:
        return found
    if found is not None and lacking <= {*_kept(folder)}:
        # A grader that was down is asked again, for what it did not grade; the base model need not answer again.
        known = {name: read_predictions(folder, _file(name)) for name in _kept(folder)}
        items = {name: given_again(settings.evaluate, found[name].criterion, of) for name, of in known.items()}
        entries = found | {name: _score(items[name], found[name].criterion or "right") for name in lacking}
    elif endpoint is not None:
        entries, items = _ask_each(settings, endpoint, dataset)
    else:
        arguments = ["--model", settings.base_model(), *tokenizer_arguments(settings.base, settings.root)]
        with engine(settings, arguments) as own:
            entries, items = _ask_each(settings, own, dataset)
    with artifacts.writing(folder, {"base_model": settings.model.base}) as aside:
        artifacts.write_json(aside / "baseline.json", as_json(entries))
        for name, given in items.items():
            write_predictions(aside, given, _file(name))
    return _read(folder)


def _file(name: str) -> str:
    return f"{name}.jsonl"


def _kept(folder: Path) -> list[str]:
    """Return the ways of prompting whose answers are kept; none where they were measured before answers were."""
    return [name for name in WAYS if (folder / _file(name)).is_file()]


def best_answers(settings: Settings, dataset: Dataset, card: Scorecard) -> dict[str, float | None]:
    """Return how good each of the best prompt's answers is, by item; empty where these are not kept."""
    best, folder = best_outcome(card.baseline, card.criterion), _folder(settings, dataset)
    for name, entry in (card.baseline or {}).items():
        is_best = best is not None and best_outcome({name: entry}, card.criterion) == best
        if is_best and name in _kept(folder):
            given = read_predictions(folder, _file(name))
            return {i.id: float(i.is_correct) if card.criterion is None else i.grade for i in given}
    return {}


def find_baseline(settings: Settings, dataset: Dataset) -> Prompts | None:
    """Return the base model's scores on a dataset if they were measured."""
    folder = _folder(settings, dataset)
    return _read(folder) if artifacts.is_complete(folder) else None


def earlier_baseline(settings: Settings, ledger: Ledger) -> EarlierBaseline | None:
    """Return the newest scores of the base model on any of the project's datasets, with that dataset's id.

    A retrain does not start the base model again; its scorecard shows what prompting reached before.
    """
    for dataset in ledger.find(Dataset, project=settings.project):
        entries = find_baseline(settings, dataset)
        if entries is not None:
            return EarlierBaseline(dataset_id=dataset.id, prompts=entries)
    return None


def _read(folder: Path) -> Prompts:
    return from_json((folder / "baseline.json").read_bytes(), Prompts)


def best_accuracy(entries: Prompts | None) -> float | None:
    """Return the best of the prompts' accuracies; None if none could be asked."""
    known = [entry.accuracy for entry in (entries or {}).values() if entry.accuracy is not None]
    return max(known) if known else None


def best_outcome(entries: Prompts | None, criterion: Criterion | None) -> float | None:
    """Return the best of the prompts' mean grades by a criterion, or accuracies without one; None without any."""
    if criterion is None:
        return best_accuracy(entries)
    found = [entry.grade for entry in (entries or {}).values() if entry.criterion == criterion]
    return max((grade for grade in found if grade is not None), default=None)


def lacks_grades(card: Scorecard | PromptScore, most: float) -> bool:
    """Say whether a larger share of answers than allowed has no grade."""
    return (card.ungraded or 0) > most * card.items


def choose_shots(rows: Sequence[Example], count: int, seed: int) -> list[Example]:
    """Return examples for the prompt, each label once before any label twice."""
    shuffled = random.Random(f"{seed}-shots").sample(rows, len(rows))
    seen: dict[Any, int] = {}
    rounds = []
    for row in shuffled:
        rounds.append(seen.get(row.label, 0))
        seen[row.label] = rounds[-1] + 1
    order = sorted(range(len(shuffled)), key=lambda position: rounds[position])
    return [shuffled[position] for position in order[:count]]


def nearest_shots(known: Sequence[Example], rows: Sequence[Example], count: int) -> list[list[Example]]:
    """Return for each row the known rows whose questions are nearest by TF-IDF, the nearest last."""
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.metrics.pairwise import linear_kernel

    vectorizer = TfidfVectorizer(analyzer="char_wb", ngram_range=(2, 4), sublinear_tf=True)  # no spaces needed
    library = vectorizer.fit_transform([text_of(row.prompt[-1]) for row in known])
    questions = vectorizer.transform([text_of(row.prompt[-1]) for row in rows])
    found = []
    for question in questions:  # one row at a time: all of them at once would not fit in memory for large datasets
        likeness = linear_kernel(question, library)[0]
        order = likeness.argsort(kind="stable")[len(known) - min(count, len(known)) :]
        found.append([known[position] for position in order])
    return found


FIRST = ("system", "developer")
"""Whose turns are instructions, which stand before all others and are not said again with each example."""


def with_shots(shots: Sequence[Example], prompt: Messages) -> list[Message]:
    """Put examples before a prompt as earlier turns; what the system or a developer says stays first and alone."""
    first = [message for message in prompt if message["role"] in FIRST]
    turns = [m for shot in shots for m in (*shot.prompt, *shot.completion) if m["role"] not in FIRST]
    return [*first, *turns, *(message for message in prompt if message["role"] not in FIRST)]


def _folder(settings: Settings, dataset: Dataset) -> Path:
    key: list[object] = [settings.base_model(), settings.model.revision]
    template, file = settings.model.template, settings.base.template.file
    if template != TemplateSettings():  # else the key is what it was before there was this setting
        key += [template.model_dump(), template_hash(file) if file else None]
    return evaluation_folder(settings, dataset, "baseline", *key)


def tokenizer_arguments(base: Base, root: Path) -> list[str]:
    """Return the arguments that let an engine on the base read conversations as a tuned model would."""
    try:
        tokenizer = load_base_tokenizer(base)
    except (ConfigError, NotFoundError):
        return []  # the engine says what is the matter with this base
    key = content_hash([tokenizer.chat_template, tokenizer.eos_token_id, base.source, base.revision])
    folder = root / "tokenizers" / key[:32]
    if not artifacts.is_complete(folder):
        with artifacts.writing(folder, {"base_model": base.name}) as aside:
            tokenizer.save_pretrained(aside)
    return ["--tokenizer", str(folder)]


def _ask_each(settings: Settings, endpoint: Endpoint, dataset: Dataset) -> tuple[Prompts, Answered]:
    seed = settings.dataset.seed
    rows = sample(read_split(dataset, "test"), settings.evaluate.baseline_items, seed)
    # Examples come from training rows alone: a test row in a prompt would answer itself.
    known = read_split(dataset, "train")
    shots = choose_shots(known, settings.evaluate.few_shot, seed)
    near = nearest_shots(known, rows, settings.evaluate.few_shot)
    plain = [list(row.prompt) for row in rows]
    few_shot = [with_shots(shots, row.prompt) for row in rows]
    retrieved = [with_shots(found, row.prompt) for found, row in zip(near, rows, strict=True)]
    criterion = choose_criterion(settings.evaluate, settings.dataset.label_field, learned_answers(known))
    asked = {
        "plain": (plain, "base model, plain"),
        "few_shot": (few_shot, f"base model, {len(shots)} examples"),
        "retrieved": (retrieved, "base model, nearest examples"),
    }
    entries, items = Prompts(), Answered()
    label_field, task = settings.dataset.label_field, task_of(settings.evaluate, rows)
    for name, (conversations, title) in asked.items():
        try:
            items[name] = ask_rows(
                settings.evaluate, settings.serve, label_field, endpoint, criterion, rows, conversations, title
            )
            entries[name] = _score(items[name], criterion, task)
        except EngineError as error:
            entries[name] = PromptScore(note=f"{error} (a base model may lack a chat template)")
    return entries, items


def _score(items: Sequence[Prediction], criterion: Criterion, task: Task | None = None) -> PromptScore:
    task = task or detect_task([item.expected for item in items])
    scores = score(items, task, criterion)
    return PromptScore(**{f.name: getattr(scores, f.name) for f in fields(PromptScore) if f.name != "note"})
