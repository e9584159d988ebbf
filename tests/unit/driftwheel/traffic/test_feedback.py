"""A correction in another form than the task's answers is refused, and what was said before stays."""

import json
from dataclasses import replace
from typing import Any

import pytest

from driftwheel.errors import DataError
from driftwheel.records.by_whom import Trust
from driftwheel.records.dataset_report import DatasetReport
from driftwheel.records.nouns import Dataset, Traffic
from driftwheel.settings.settings import Settings
from driftwheel.store.answer_form import label_field_of
from driftwheel.store.ledger import Ledger
from driftwheel.text.answers import AnswerForm
from driftwheel.traffic.feedback import Author, WrongFormError, give_feedback
from serve.feedback_route import read_feedback, store_feedback
from serve.refusals import RequestRefused
from tests.support.versions import add_with_parents, answered_request, dataset_stub, published_version

TRUSTED = Author(id="support/ops", trust=Trust.TRUSTED)
TOOLS = [{"type": "function", "function": {"name": "weather"}}]
ROW = answered_request(
    "req_1", request=json.dumps({"messages": [{"role": "user", "content": "where is my card"}], "tools": TOOLS})
)


def served(ledger: Ledger, form: AnswerForm | None) -> None:
    dataset: Dataset = replace(dataset_stub("dataset"), report=DatasetReport(answer_form=form))
    add_with_parents(ledger, dataset, published_version("v1"), ROW)


def correct(settings: Settings, ledger: Ledger, correction: str) -> Traffic:
    return give_feedback(
        settings.traffic, ledger, settings.project, "req_1", author=TRUSTED, correction=correction, label_field="intent"
    )


@pytest.mark.parametrize(
    ("form", "correction", "expected"),
    [
        ("object", "card_lost", "a JSON object with the field 'intent'"),
        ("object", '{"mood": "good"}', "a JSON object with the field 'intent'"),
        ("text", '{"intent": "card_lost"}', "plain text"),
    ],
)
def test_a_correction_in_another_form_is_refused_and_not_kept(
    settings: Settings, ledger: Ledger, form: AnswerForm, correction: str, expected: str
) -> None:
    served(ledger, form)
    with pytest.raises(WrongFormError, match=expected):
        correct(settings, ledger, correction)
    assert ledger.get(Traffic, "req_1").label is None


@pytest.mark.parametrize(
    ("form", "correction"),
    [
        ("object", '{"intent": "card_lost"}'),
        ("object", '{"intent": 7}'),
        ("object", '[{"name": "weather", "arguments": {}}]'),
        ("text", "card_lost"),
        ("mixed", "card_lost"),
        (None, "card_lost"),
    ],
    ids=["object", "a number", "a call of the request's tool", "text", "both forms", "an older Dataset"],
)
def test_a_correction_in_the_tasks_form_is_kept(
    settings: Settings, ledger: Ledger, form: AnswerForm | None, correction: str
) -> None:
    served(ledger, form)
    assert correct(settings, ledger, correction).label == correction


def test_the_gateway_answers_422_with_the_form(settings: Settings, ledger: Ledger) -> None:
    served(ledger, "object")
    feedback = read_feedback(b'{"request_id": "req_1", "correction": "card_lost"}')
    with pytest.raises(RequestRefused, match="JSON object with the field 'intent'") as caught:
        store_feedback(settings.traffic, ledger, settings.project, feedback, author=TRUSTED, label_field="intent")
    assert (caught.value.status, caught.value.code, caught.value.param) == (422, "wrong_form", "correction")


@pytest.mark.parametrize(("label", "text"), [(5, "5"), (4.5, "4.5"), (True, "true"), ("card", "card")])
def test_a_label_may_be_a_number_or_a_truth_value(label: Any, text: str) -> None:
    assert read_feedback(json.dumps({"request_id": "r", "label": label}).encode()).label == text
    with pytest.raises(DataError, match="label must be"):
        read_feedback(json.dumps({"request_id": "r", "label": [label]}).encode())


def test_a_version_that_answers_in_texts_has_its_labels_in_no_field(settings: Settings, ledger: Ledger) -> None:
    served(ledger, "text")
    named = settings.dataset.model_copy(update={"label_field": "intent"})
    assert (label_field_of(named, ledger, "v1"), label_field_of(named, ledger, "v9")) == (None, "intent")


def test_a_word_that_is_too_long_is_refused() -> None:
    with pytest.raises(RequestRefused, match="at most 262144 bytes") as caught:
        read_feedback(json.dumps({"request_id": "r", "comment": "x" * 262_144}).encode())
    assert caught.value.status == 413
