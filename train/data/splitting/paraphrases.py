"""Adds paraphrases of training rows, written by a model at an endpoint.

Each keeps its original's label, group and answer, and names its original and the model. What was answered once is
kept by the hash of what was asked, so that the same build is free, identical, and goes on where it was interrupted.
"""

import json
import os
import random
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import structlog

from driftwheel.errors import EngineError, StorageError
from driftwheel.identity import content_hash
from driftwheel.records.dataset_report import ParaphraseCount
from driftwheel.settings.artifact import EvaluateSettings
from driftwheel.settings.data import DatasetSettings
from driftwheel.settings.serving import ServeSettings
from driftwheel.settings.settings import Settings
from driftwheel.text.conversations import Messages, text_of, with_text
from train.asking.client import Endpoint
from train.data.examples import Example
from train.data.near_duplicates.duplicates import text_hash
from train.data.splitting.rewording import REWORDED_TOKENS, flaw, request, reword
from train.data.splitting.tally import Tally
from train.step_progress import progress

KEY_VARIABLE = "DRIFTWHEEL_PARAPHRASE_API_KEY"
SOURCE = "paraphrase"
KEPT_AT_ONCE = 256
"""Answers that an interruption can lose at most."""

log = structlog.get_logger()


def paraphrases(
    settings: Settings, rows: Sequence[Example], tally: Tally, environ: Mapping[str, str] = os.environ
) -> list[Example]:
    """Return rewordings of rows, at most `dataset.paraphrase_share` of rows and rewordings together.

    Raises EngineError if the endpoint fails; with `dataset.on_paraphrase_failure: skip` there are none then, and the
    report says so.
    """
    endpoint = _endpoint(settings.dataset, environ)
    chosen = _chosen(settings.dataset, rows)
    asked = [request(text_of(row.prompt[-1]), manner) for row, manner in chosen]
    tally.paraphrases = ParaphraseCount(model=endpoint.model, asked=len(asked))
    try:
        said = _answers(settings.evaluate, settings.serve, settings.root / "paraphrases.jsonl", endpoint, asked)
    except EngineError as error:
        message = (
            f"no paraphrases: {error}; mend dataset.paraphrase_url, or set dataset.on_paraphrase_failure to `skip`"
        )
        if settings.dataset.on_paraphrase_failure == "stop":
            raise EngineError(message) from error
        tally.paraphrases = replace(tally.paraphrases, failed=str(error))
        log.warning("the Dataset is built without paraphrases", reason=str(error))
        return []
    made = [_paraphrase(row, manner, text, endpoint.model) for (row, manner), text in zip(chosen, said, strict=True)]
    return _sound(made, {row.id: row for row, _ in chosen}, {text_hash(row.conversation) for row in rows}, tally)


def _endpoint(settings: DatasetSettings, environ: Mapping[str, str]) -> Endpoint:
    url = str(settings.paraphrase_url).rstrip("/").removesuffix("/v1")
    return Endpoint(url=url, model=str(settings.paraphrase_model), api_key=environ.get(KEY_VARIABLE, "none"))


def _chosen(settings: DatasetSettings, rows: Sequence[Example]) -> list[tuple[Example, int]]:
    """Return which rows are reworded in which manners: every row once before any is twice."""
    share = settings.paraphrase_share
    originals = list({row.id: row for row in rows if row.original is None and row.ends_with_user}.values())
    random.Random(f"{settings.seed}-paraphrases").shuffle(originals)
    every = [(row, manner) for manner in range(settings.paraphrase_copies) for row in originals]
    return every[: int(len(rows) * share / (1 - share))]


def _answers(
    settings: EvaluateSettings, serve: ServeSettings, path: Path, endpoint: Endpoint, asked: Sequence[Messages]
) -> list[str]:
    """Return the answers; those that the file at `path` keeps are not asked for again."""
    keys = [content_hash([endpoint.model, REWORDED_TOKENS, messages]) for messages in asked]
    kept = _read_kept(path)
    missing = {key: messages for key, messages in zip(keys, asked, strict=True) if key not in kept}
    with progress("paraphrase", len(missing)) as on_done:
        for start in range(0, len(missing), KEPT_AT_ONCE):
            part = list(missing)[start : start + KEPT_AT_ONCE]
            requests = [missing[key] for key in part]
            texts = reword(settings, serve, endpoint, requests, on_done)
            answers = {key: text for key, text in zip(part, texts, strict=True) if text is not None}
            _keep(path, answers, endpoint.model)
            kept |= answers
    return [kept.get(key, "") for key in keys]


def _read_kept(path: Path) -> dict[str, str]:
    kept: dict[str, str] = {}
    if path.exists():
        with path.open(encoding="utf-8") as file:
            for line in file:
                try:
                    entry = json.loads(line)
                except json.JSONDecodeError:
                    continue  # the line that a killed build was writing
                kept.setdefault(entry["key"], entry["text"])
    return kept


def _keep(path: Path, answers: Mapping[str, str], model: str) -> None:
    lines = [json.dumps({"key": key, "model": model, "text": text}) + "\n" for key, text in answers.items()]
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("a", encoding="utf-8") as file:
            file.write("\n" + "".join(lines) if _is_torn(path) else "".join(lines))
    except OSError as error:
        raise StorageError(f"cannot write {path}: {error.strerror}; free some space and build again") from error


def _is_torn(path: Path) -> bool:
    """Ask whether the last line was not written to its end."""
    with path.open("rb") as file:
        size = file.seek(0, os.SEEK_END)
        return size > 0 and file.seek(size - 1) >= 0 and file.read(1) != b"\n"


def _paraphrase(row: Example, manner: int, text: str, model: str) -> Example:
    said = with_text(row.prompt[-1], text)
    return replace(
        row, id=f"{row.id}-p{manner}", prompt=[*row.prompt[:-1], said], source=SOURCE, original=row.id, model=model
    )


def _sound(made: Sequence[Example], originals: Mapping[str, Example], seen: set[str], tally: Tally) -> list[Example]:
    """Return the rewordings that can stand for their originals and repeat no row; the report counts the others."""
    kept = []
    for row in made:
        why = flaw(text_of(originals[str(row.original)].prompt[-1]), text_of(row.prompt[-1]))
        key = text_hash(row.conversation)
        if why is None and key in seen:
            why = "the same as another training row"
        if why is None:
            seen.add(key)
            kept.append(row)
        else:
            tally.dropped[f"paraphrase: {why}"] += 1
    return kept
