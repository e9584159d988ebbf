"""Asks an endpoint rows of a Dataset, whatever stands before each conversation, and grades its answers."""

from collections.abc import Sequence

from driftwheel.records.predictions import Prediction
from driftwheel.settings.artifact import EvaluateSettings
from driftwheel.settings.serving import ServeSettings
from driftwheel.text.conversations import Messages
from driftwheel.text.grades import Criterion
from train.asking.client import Endpoint
from train.data.examples import Example
from train.evaluation.graders import with_grades
from train.evaluation.scoring import ask, score_items


def ask_rows(
    settings: EvaluateSettings,
    serve: ServeSettings,
    label_field: str | None,
    endpoint: Endpoint,
    criterion: Criterion,
    rows: Sequence[Example],
    conversations: Sequence[Messages],
    title: str,
) -> list[Prediction]:
    """Return each row with the answer to its conversation and the grade of it.

    Raises EngineError if the endpoint refused every one.
    """
    answers = ask(settings, serve, endpoint, conversations, title, tools=[row.tools for row in rows])
    return with_grades(settings, criterion, score_items(rows, answers, label_field=label_field))
