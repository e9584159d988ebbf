"""Measures robustness: the loss of accuracy when test questions have typos and other faults.

The engine that just answered the questions answers them again with typos, other casing, no punctuation and
swapped words, and reworded where a model for that is configured.
"""

import random
import unicodedata
from collections.abc import Callable, Sequence
from dataclasses import replace

from driftwheel.errors import EngineError
from driftwheel.evidence.intervals import paired_interval, share_interval
from driftwheel.records.predictions import Prediction
from driftwheel.records.scorecard import FaultScore
from driftwheel.settings.artifact import EvaluateSettings
from driftwheel.settings.serving import ServeSettings
from driftwheel.settings.settings import Settings
from driftwheel.text.conversations import text_of, with_text
from train.asking.client import Endpoint
from train.data.examples import Example
from train.data.splitting.rewording import flaw, request, reword
from train.evaluation.graders import judge_endpoint
from train.evaluation.scoring import ask, sample, score_items

FAULTY_SHARE = 0.2
"""Share of the words that get a typo, and of the neighbors that change places."""
SHORTEST_WORD = 4


def add_typos(text: str, chance: random.Random) -> str:
    """Swap, drop or double a letter in one long word of five, at least in one."""
    words = text.split(" ")
    long = [position for position, word in enumerate(words) if len(word) >= SHORTEST_WORD]
    for position in chance.sample(long, min(len(long), max(1, round(FAULTY_SHARE * len(words))))):
        word = words[position]
        at = chance.randrange(len(word) - 1)
        faults = (word[at + 1] + word[at], word[at + 1], word[at] + word[at] + word[at + 1])
        words[position] = word[:at] + chance.choice(faults) + word[at + 2 :]
    return " ".join(words)


def change_casing(text: str, chance: random.Random) -> str:
    """Write everything small, or in capitals what was small already."""
    return text.lower() if text != text.lower() else text.upper()


def drop_punctuation(text: str, chance: random.Random) -> str:
    """Leave out every punctuation mark of any script."""
    return "".join(letter for letter in text if not unicodedata.category(letter).startswith("P"))


def swap_words(text: str, chance: random.Random) -> str:
    """Let one pair of neighbors in five change places, at least one."""
    words = text.split(" ")
    if len(words) < 2:
        return text
    for at in chance.sample(range(len(words) - 1), max(1, round(FAULTY_SHARE * (len(words) - 1)))):
        words[at], words[at + 1] = words[at + 1], words[at]
    return " ".join(words)


FAULTS: dict[str, Callable[[str, random.Random], str]] = {
    "typos": add_typos,
    "casing": change_casing,
    "punctuation": drop_punctuation,
    "word_order": swap_words,
}


def measure_robustness(
    settings: Settings, endpoint: Endpoint, rows: Sequence[Example], items: Sequence[Prediction]
) -> dict[str, FaultScore] | None:
    """Ask a sample of the rows again with faults; return an entry per kind, or None where it is switched off.

    `items` are the answers to the rows as they are. A kind leaves out the questions that it does not change.
    Raises EngineError if the endpoint fails; a failing rewording model is said in the entry's `note`.
    """
    if not settings.evaluate.robustness_items:
        return None
    asked_by_users = [row for row in rows if row.prompt[-1]["role"] == "user"]
    chosen = sample(asked_by_users, settings.evaluate.robustness_items, settings.dataset.seed)
    asked = {kind: _changed(chosen, [_faulty(row, kind, settings.dataset.seed) for row in chosen]) for kind in FAULTS}
    notes: dict[str, FaultScore] = {}
    if settings.evaluate.judge_url:
        try:
            reworded = _reworded(settings.evaluate, settings.serve, [_question(row) for row in chosen])
            asked["paraphrase"] = _changed(chosen, reworded)
        except EngineError as error:
            notes["paraphrase"] = FaultScore(items=0, note=str(error))
    # One call for all kinds keeps the engine's queue full until the last.
    every = [row for faulty in asked.values() for row in faulty]
    prompts = [row.prompt for row in every]
    answers = ask(
        settings.evaluate, settings.serve, endpoint, prompts, "robustness", tools=[row.tools for row in every]
    )
    found = iter(score_items(every, answers, label_field=settings.dataset.label_field))
    before = {item.id: item for item in items}
    scored = {kind: [next(found) for _ in faulty] for kind, faulty in asked.items()}
    return {kind: _entry([(before[i.id], i) for i in after]) for kind, after in scored.items() if after} | notes


def _faulty(row: Example, kind: str, seed: int) -> str:
    return FAULTS[kind](_question(row), random.Random(f"{seed}-{kind}-{row.id}"))


def _question(row: Example) -> str:
    return text_of(row.prompt[-1])


def _changed(rows: Sequence[Example], questions: Sequence[str]) -> list[Example]:
    """Return the rows with their new questions, without those that stayed as they were or lost everything."""
    return [
        replace(row, prompt=[*row.prompt[:-1], with_text(row.prompt[-1], question)])
        for row, question in zip(rows, questions, strict=True)
        if question.strip() and question != _question(row)
    ]


def _reworded(settings: EvaluateSettings, serve: ServeSettings, questions: Sequence[str]) -> list[str]:
    """Return the questions in other words, empty where the words cannot stand for the question."""
    requests = [request(question) for question in questions]
    found = reword(settings, serve, judge_endpoint(settings), requests)
    return [
        said if said and flaw(question, said) is None else "" for question, said in zip(questions, found, strict=True)
    ]


def _entry(pairs: Sequence[tuple[Prediction, Prediction]]) -> FaultScore:
    """Return one kind's numbers; what was right before and is not after is lost."""
    items = len(pairs)
    lost = sum(one.is_correct and not other.is_correct for one, other in pairs)
    gained = sum(other.is_correct and not one.is_correct for one, other in pairs)
    before, after = sum(one.is_correct for one, _ in pairs), sum(other.is_correct for _, other in pairs)
    same = sum(one.answer == other.answer for one, other in pairs)
    return FaultScore(
        items=items,
        drop=(lost - gained) / items,
        drop_interval=paired_interval(lost, gained, items),
        accuracy_before=before / items,
        accuracy_before_interval=share_interval(before, items),
        accuracy=after / items,
        accuracy_interval=share_interval(after, items),
        same_answer=same / items,
        same_answer_interval=share_interval(same, items),
    )
