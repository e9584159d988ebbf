"""Chooses the criterion by which a task's answers are graded, and refuses one that cannot grade them."""

from collections.abc import Callable, Sequence

from driftwheel.errors import ConfigError
from driftwheel.records.scorecard import Task
from driftwheel.settings.artifact import EvaluateSettings
from driftwheel.text.answers import OBJECTS_SHARE, parse_object, right_label
from driftwheel.text.conversations import calls_in
from driftwheel.text.grades import Criterion
from driftwheel.text.words import is_one_term

PROMPTINGS = 3
"""Ways in which the base model is asked: plainly, with fixed and with retrieved examples."""
BY_TASK: dict[Task, Criterion] = {
    "labels": "right",
    "json": "fields",
    "tools": "calls",
    "text": "chrf",
    "extractive": "token_f1",
}


def choose_criterion(settings: EvaluateSettings, label_field: str | None, answers: Sequence[str]) -> Criterion:
    """Return the criterion that the settings name, or the one that fits a task's right answers.

    The answers are those of the training rows: of few test items each label may stand there once, as texts do. One
    word is right or wrong, however rarely it comes. A few answers of another kind do not decide.
    """
    if settings.criterion != "auto":
        return settings.criterion
    if settings.task in ("labels", "text", "extractive", "tools"):
        return BY_TASK[settings.task]
    few = 1 - OBJECTS_SHARE
    if _share(answers, lambda answer: bool(calls_in(answer))) > few:
        return BY_TASK["tools"]
    is_repeated = 2 * len({answer.strip() for answer in answers}) <= len(answers)
    objects = _share(answers, is_object)
    if answers and objects <= few:
        is_one_word = _share(answers, is_one_term)
        return BY_TASK["labels" if is_repeated or is_one_word >= 0.5 else "text"]
    # A label field says what is right of an object; without one an object that comes again and again is a label.
    labelled = (
        0.0 if label_field is None else _share(answers, lambda answer: right_label(answer, label_field) is not None)
    )
    is_json = objects >= OBJECTS_SHARE and labelled < OBJECTS_SHARE and not is_repeated
    return BY_TASK["json" if is_json else "labels"]


def is_object(answer: str) -> bool:
    """Say whether an answer is a JSON object."""
    return parse_object(answer) is not None


def _share(answers: Sequence[str], fits: Callable[[str], bool]) -> float:
    return sum(map(fits, answers)) / len(answers) if answers else 0.0


def refuse_misfit(settings: EvaluateSettings, label_field: str | None, answers: Sequence[str], tested: int) -> None:
    """Raise ConfigError if the chosen criterion cannot grade such answers, or would cost more than is allowed."""
    criterion = choose_criterion(settings, label_field, answers)
    fits = {"fields": is_object, "calls": lambda text: bool(calls_in(text))}
    graded = sum(map(fits[criterion], answers)) if criterion in fits else len(answers)
    # A tool task has rows whose right answer is to call none.
    if not graded or (criterion == "fields" and graded < OBJECTS_SHARE * len(answers)):
        wanted = {"fields": "are no JSON objects", "calls": "hold no call of a tool"}[criterion] if answers else "lack"
        raise ConfigError(
            f"evaluate.criterion {criterion} cannot grade this task: {len(answers) - graded} of {len(answers)} right "
            f"answers {wanted}; set evaluate.criterion to auto, or to chrf for texts"
        )
    refuse_costs(settings, criterion, tested, with_baseline=True)


def refuse_costs(settings: EvaluateSettings, criterion: Criterion, tested: int, *, with_baseline: bool) -> None:
    """Raise ConfigError if a judge or grader would be asked more often than `evaluate.judge_max_calls`."""
    calls = asked_calls(settings, criterion, tested, with_baseline=with_baseline)
    if calls > settings.judge_max_calls:
        raise ConfigError(
            f"the {criterion} would be asked {calls} times to grade one version, and evaluate.judge_max_calls is "
            f"{settings.judge_max_calls}; raise it, or lower evaluate.max_items or evaluate.baseline_items"
        )


def asked_calls(settings: EvaluateSettings, criterion: Criterion, tested: int, *, with_baseline: bool) -> int:
    """Return how often a judge or grader is asked for one version's grades; nobody is asked by other criteria."""
    if criterion not in ("judge", "http"):
        return 0
    items = min(tested, settings.max_items)
    return items + (PROMPTINGS * min(items, settings.baseline_items) if with_baseline else 0)
