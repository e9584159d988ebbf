"""An endpoint that speaks the chat completions protocol is scored; vLLM itself is in tests/integration."""

import json
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr

from driftwheel.errors import ArtifactError, EngineError, NotFoundError
from driftwheel.files import artifacts
from driftwheel.records.nouns import Dataset
from driftwheel.records.predictions import read_predictions
from driftwheel.records.probe_answers import Fingerprint
from driftwheel.records.scorecard import EarlierBaseline, Scorecard
from driftwheel.settings.data import Base, TemplateSettings
from driftwheel.settings.settings import Settings
from driftwheel.store.ledger import Ledger
from driftwheel.text.conversations import said
from tests.support.shipped_templates import save_tokenizer
from train.asking.client import Endpoint
from train.asking.engine_child import engine
from train.base_model import load_base_tokenizer, load_tokenizer
from train.data.examples import Example
from train.evaluate import evaluate, summary
from train.evaluation.baseline import (
    best_accuracy,
    best_answers,
    best_outcome,
    choose_shots,
    find_baseline,
    measure_baseline,
    nearest_shots,
    tokenizer_arguments,
    with_shots,
)
from train.evaluation.finished import load_evaluation
from train.evaluation.scoring import sample

PROMPT_TOKENS = 5
ServeJson = Callable[[Callable[[str, Any, Any], tuple[int, Any]]], str]


@dataclass
class Server:
    """A stand-in for an engine: answers by a function and keeps what it was asked."""

    answer: Callable[[list[dict[str, str]]], str | int]
    """The answer's text, or an HTTP status to refuse with."""
    asked: list[dict[str, Any]] = field(default_factory=list)
    url: str = ""

    @property
    def endpoint(self) -> Endpoint:
        return Endpoint(url=self.url, model="tuned", api_key="secret")


@pytest.fixture
def server(serve_json: ServeJson) -> Server:
    state = Server(answer=lambda messages: "{}")

    def reply(path: str, headers: Any, body: Any) -> tuple[int, Any]:
        state.asked.append(body | {"path": path, "key": headers["authorization"]})
        answer = state.answer(body["messages"])
        if isinstance(answer, int):
            return answer, {"error": {"message": "no chat template", "code": answer}}
        content = [{"token": "t", "logprob": -0.5, "bytes": None, "top_logprobs": []}] * 2
        choice = {
            "index": 0,
            "finish_reason": "stop",
            "message": {"role": "assistant", "content": answer},
            "logprobs": {"content": content} if body.get("logprobs") else None,
        }
        usage = {"prompt_tokens": PROMPT_TOKENS, "completion_tokens": 2, "total_tokens": PROMPT_TOKENS + 2}
        value: dict[str, Any] = {
            "id": "1",
            "object": "chat.completion",
            "created": 0,
            "model": "tuned",
            "choices": [choice],
            "usage": usage,
        }
        if "prompt_logprobs" in body:
            token, reference = {"7": {"logprob": -9.0}}, {"7": {"logprob": math.log(0.5)}}
            value["prompt_logprobs"] = [None, *[token] * (PROMPT_TOKENS - 1), reference, reference]
        return 200, value

    state.url = serve_json(reply)
    return state


def row(number: int, label: str, name: str = "old") -> Example:
    return Example(
        id=f"row-{number}",
        prompt=[said("user", f"question {number} about {label}")],
        completion=[said("assistant", json.dumps({"intent": label}))],
        label=label,
        group=str(number),
        slice=name,
        time=f"2026-01-01T00:00:00.{number:06}+00:00",
    )


@pytest.fixture
def dataset(settings: Settings, ledger: Ledger) -> Dataset:
    labels = ["card", "refund", "login"]
    path = settings.root / "datasets" / "dataset_1"
    with artifacts.writing(path, {}) as folder:
        for split, first, count in (("train", 0, 12), ("validation", 100, 3), ("test", 200, 9)):
            rows = [row(n, labels[n % 3], "new" if n % 3 == 0 else "old") for n in range(first, first + count)]
            (folder / f"{split}.jsonl").write_text("".join(json.dumps(r.as_line()) + "\n" for r in rows), "utf-8")
    record = Dataset(
        id="dataset_1",
        project="support",
        content_hash=artifacts.read_manifest(path).content_hash,
        path=str(path),
        origin="files",
        train_rows=12,
        validation_rows=3,
        test_rows=9,
    )
    ledger.add(record)
    return record


@pytest.fixture
def artifact(tmp_path: Path) -> Path:
    path = tmp_path / "artifact"
    with artifacts.writing(path, {"run_id": "run_1", "dataset_id": "dataset_1"}) as folder:
        (folder / "model.safetensors").write_bytes(b"weights")
    return path


def right_but_for_login(messages: list[dict[str, str]]) -> str:
    label = messages[-1]["content"].split()[-1]
    return json.dumps({"intent": "card" if label == "login" else label})


def test_a_scorecard_holds_what_the_endpoint_answered(
    settings: Settings, ledger: Ledger, dataset: Dataset, artifact: Path, server: Server
) -> None:
    server.answer = right_but_for_login
    done = evaluate(settings, ledger, artifact=artifact, dataset_id=dataset.id, endpoint=server.endpoint)
    card = done.scorecard
    assert (card.task, card.items, card.unanswered) == ("json", 9, 0)
    assert card.accuracy == pytest.approx(2 / 3)
    assert {name: s.items for name, s in card.slices.items()} == {
        "new": 3,
        "old": 6,
        "source:files": 9,
        "length:short": 3,
        "length:middle": 3,
        "length:long": 3,
        "age:newest": 3,
        "age:older": 6,
    }
    assert card.slices["age:newest"].accuracy == pytest.approx(2 / 3)
    assert card.confusion is not None
    assert card.confusion.labels == ("card", "login", "refund")
    assert card.confusion.matrix[1] == (3, 0, 0)
    assert card.perplexity == pytest.approx(2), "the reference's tokens have probability 0.5, the prompt's do not"
    assert card.latency_p50_seconds is not None
    assert card.latency_p50_seconds > 0
    assert (card.baseline, done.fingerprint) == (None, Fingerprint())
    first = read_predictions(done.folder)[0]
    assert (first.prompt, first.mean_logprob) == ("question 200 about login", -0.5)
    assert (first.prompt_tokens, first.completion_tokens) == (PROMPT_TOKENS, 2)
    assert first.confidence == pytest.approx(math.exp(-1)), "two tokens of -0.5 nats"
    assert card.completion_tokens_per_second is not None
    assert card.completion_tokens_per_second > 0
    (bin_,) = card.reliability or ()
    assert (bin_.low, bin_.items) == (0.3, 9)
    assert bin_.accuracy == pytest.approx(2 / 3)
    assert (first.label, first.predicted, first.is_correct) == ("login", "card", False)
    assert Path(card.predictions_path or "").is_file()


def test_a_text_is_graded_by_its_references_and_so_are_the_base_models_answers(
    settings: Settings, ledger: Ledger, artifact: Path, server: Server
) -> None:
    """By exact equality all of them were wrong."""

    def text(number: int) -> Example:
        right = f"The house number {number} stands at the old river."
        also = [f"At the old river stands house {number}."]
        return replace(row(number, right), completion=[said("assistant", right)], references=also)

    path = settings.root / "datasets" / "dataset_t"
    with artifacts.writing(path, {}) as folder:
        for split, first, count in (("train", 0, 12), ("validation", 100, 3), ("test", 200, 9)):
            lines = [json.dumps(text(n).as_line()) + "\n" for n in range(first, first + count)]
            (folder / f"{split}.jsonl").write_text("".join(lines), "utf-8")
    facts = {"project": "support", "content_hash": artifacts.read_manifest(path).content_hash, "path": str(path)}
    rows = {"train_rows": 12, "validation_rows": 3, "test_rows": 9}
    record = Dataset(id="dataset_t", origin="files", **facts, **rows)  # type: ignore[arg-type]
    ledger.add(record)
    server.answer = lambda messages: f"At the old river stands the house {messages[-1]['content'].split()[1]}."
    card = evaluate(settings, ledger, artifact=artifact, dataset_id="dataset_t", endpoint=server.endpoint).scorecard
    assert (card.criterion, card.accuracy, card.ungraded) == ("chrf", 0.0, 0)
    assert card.grade is not None
    assert 0.8 < card.grade < 1
    assert card.intervals["grade"] is not None
    items = read_predictions(Path(str(card.predictions_path)).parent)
    assert all(item.grade is not None and 0.8 < item.grade < 1 for item in items)
    assert "grade  " in summary(card)
    server.answer = lambda messages: "I do not know."
    entries = measure_baseline(settings, record, server.endpoint)
    assert best_outcome(entries, "chrf") == max(entry.grade or 0 for entry in entries.values())
    assert best_outcome(entries, "chrf") < card.grade  # type: ignore[operator]


def test_an_answer_may_hold_any_line_separator(
    settings: Settings, ledger: Ledger, dataset: Dataset, artifact: Path, server: Server
) -> None:
    server.answer = lambda messages: "one\u2028two\x85three"
    done = evaluate(settings, ledger, artifact=artifact, dataset_id=dataset.id, endpoint=server.endpoint)
    assert [item.answer for item in read_predictions(done.folder)] == ["one\u2028two\x85three"] * 9


def test_the_same_items_are_asked_again_with_faults(
    settings: Settings, ledger: Ledger, dataset: Dataset, artifact: Path, server: Server
) -> None:
    def small_letters_only(messages: list[dict[str, str]]) -> str:
        return right_but_for_login(messages) if messages[-1]["content"].islower() else "what?"

    server.answer = small_letters_only
    card = evaluate(settings, ledger, artifact=artifact, dataset_id=dataset.id, endpoint=server.endpoint).scorecard
    assert card.robustness is not None
    assert {kind: entry.items for kind, entry in card.robustness.items()} == {
        "typos": 9,
        "casing": 9,
        "word_order": 9,
    }, "no question has punctuation"
    assert card.robustness["casing"].drop == pytest.approx(2 / 3)
    assert card.robustness["casing"].same_answer == 0
    said = dict(line.split(maxsplit=1) for line in summary(card).splitlines())
    assert (said["drop_casing"][:6], said["accuracy"]) == ("0.6667", "0.6667  [0.3542, 0.8794]")
    asked = len(server.asked)
    off = settings.model_copy(update={"evaluate": settings.evaluate.model_copy(update={"robustness_items": 0})})
    done = evaluate(off, ledger, artifact=artifact, dataset_id=dataset.id, endpoint=server.endpoint)
    assert done.scorecard.robustness is None
    assert len(server.asked) - asked == asked - 3 * 9


def test_questions_are_reworded_by_the_judge_and_its_failure_is_said(
    settings: Settings, ledger: Ledger, dataset: Dataset, artifact: Path, server: Server
) -> None:
    def reworded_or_answered(messages: list[dict[str, str]]) -> str:
        words = messages[-1]["content"].split()
        if len(messages) == 1:
            return right_but_for_login(messages)
        return "so what about it" if words[1] == "200" else f"so what about {words[1]}, that is {words[-1]}"

    server.answer = reworded_or_answered
    for url, items in ((f"{server.url}/v1/", 8), ("http://127.0.0.1:9", 0)):
        judged = settings.evaluate.model_copy(update={"judge_url": url, "judge_model": "big", "robustness_items": 9})
        changed = settings.model_copy(update={"evaluate": judged})
        done = evaluate(changed, ledger, artifact=artifact, dataset_id=dataset.id, endpoint=server.endpoint)
        entry = (done.scorecard.robustness or {})["paraphrase"]
        assert entry.items == items
        assert entry.drop == (0 if items else None)
        assert items or "failed while big was scored" in str(entry.note)
    reworded = [body for body in server.asked if body["messages"][-1]["content"].startswith("so what about")]
    assert len(reworded) == 8, "one lost its number"
    assert all(body["model"] == "tuned" for body in reworded), "the engine under test answers, not the judge"


def test_made_up_labels_and_fields_are_counted(
    settings: Settings, ledger: Ledger, dataset: Dataset, artifact: Path, server: Server
) -> None:
    server.answer = lambda m: '{"intent": "parcel", "mood": "good"}' if "card" in m[-1]["content"] else "?"
    card = evaluate(settings, ledger, artifact=artifact, dataset_id=dataset.id, endpoint=server.endpoint).scorecard
    assert (card.outside_label_set, card.outside_schema, card.outside_prompt) == (1, 1, None)
    interval = card.intervals["outside_label_set"]
    assert interval is not None
    assert interval[0] == pytest.approx(9 / (9 + 1.959964**2), abs=1e-4)


def test_the_endpoint_is_asked_greedily_with_its_key(
    settings: Settings, ledger: Ledger, dataset: Dataset, artifact: Path, server: Server
) -> None:
    evaluate(settings, ledger, artifact=artifact, dataset_id=dataset.id, endpoint=server.endpoint)
    question = next(body for body in server.asked if "prompt_logprobs" not in body)
    assert (question["temperature"], question["max_tokens"], question["model"]) == (0, 64, "tuned")
    assert (question["path"], question["key"]) == ("/v1/chat/completions", "Bearer secret")


def test_finished_work_is_found_and_not_redone(
    settings: Settings, ledger: Ledger, dataset: Dataset, artifact: Path, server: Server
) -> None:
    first = evaluate(settings, ledger, artifact=artifact, dataset_id=dataset.id, endpoint=server.endpoint)
    asked = len(server.asked)
    again = evaluate(settings, ledger, artifact=artifact, dataset_id=dataset.id, endpoint=server.endpoint)
    assert (again, len(server.asked)) == (first, asked)
    for section, change in [("evaluate", {"max_tokens": 5}), ("dataset", {"label_field": None})]:
        changed = settings.model_copy(update={section: getattr(settings, section).model_copy(update=change)})
        other = evaluate(changed, ledger, artifact=artifact, dataset_id=dataset.id, endpoint=server.endpoint)
        assert other.folder != first.folder
    (first.folder / "predictions.jsonl").write_text("", encoding="utf-8")
    with pytest.raises(ArtifactError, match=r"predictions\.jsonl"):
        load_evaluation(settings, ledger, first.folder)


def test_an_answer_without_a_grade_is_graded_when_it_is_evaluated_again(
    settings: Settings, ledger: Ledger, dataset: Dataset, artifact: Path, server: Server, serve_json: ServeJson
) -> None:
    replies: Iterator[tuple[int, Any]] = iter([(503, {})])
    graded_items: list[str] = []

    def reply(_path: str, _headers: Any, body: Any) -> tuple[int, Any]:
        graded_items.append(body["prompt"])
        return next(replies, (200, {"grade": 0.5}))

    url = serve_json(reply)
    graded = settings.evaluate.model_copy(update={"criterion": "http", "grader_url": SecretStr(url), "concurrency": 1})
    # Few are missing: the gate alone would let it pass.
    lenient = {"evaluate": graded, "gate": settings.gate.model_copy(update={"max_ungraded": 0.5})}
    asking = settings.model_copy(update=lenient)
    first = evaluate(asking, ledger, artifact=artifact, dataset_id=dataset.id, endpoint=server.endpoint)
    asked = len(server.asked), len(graded_items)
    again = evaluate(asking, ledger, artifact=artifact, dataset_id=dataset.id, endpoint=server.endpoint)
    assert (first.scorecard.ungraded, again.scorecard.ungraded) == (1, 0)
    assert (len(server.asked), len(graded_items)) == (asked[0], asked[1] + 1), "only what is missing is asked for"
    assert graded_items[-1] == graded_items[0]
    assert again.scorecard.grade == 0.5
    assert again.scorecard.accuracy == first.scorecard.accuracy


def test_only_the_base_models_missing_grades_are_asked_for_again(
    settings: Settings, dataset: Dataset, server: Server, serve_json: ServeJson
) -> None:
    replies: Iterator[tuple[int, Any]] = iter([(503, {})] * 3)
    graded_items: list[str] = []

    def reply(_path: str, _headers: Any, body: Any) -> tuple[int, Any]:
        graded_items.append(body["prompt"])
        return next(replies, (200, {"grade": 0.5}))

    changes = {"criterion": "http", "grader_url": SecretStr(serve_json(reply)), "concurrency": 1}
    asking = settings.model_copy(update={"evaluate": settings.evaluate.model_copy(update=changes)})
    first = measure_baseline(asking, dataset, server.endpoint)
    asked = len(server.asked), len(graded_items)
    again = measure_baseline(asking, dataset, server.endpoint)
    assert (first["plain"].ungraded, again["plain"].ungraded) == (3, 0)
    assert (len(server.asked), len(graded_items)) == (asked[0], asked[1] + 3)
    assert {name: entry.grade for name, entry in again.items()} == dict.fromkeys(again, 0.5)


def test_the_best_prompts_answers_are_kept_for_a_comparison_item_by_item(
    settings: Settings, dataset: Dataset, server: Server
) -> None:
    server.answer = lambda m: right_but_for_login(m) if len(m) > 1 else "what?"
    card = Scorecard(baseline=measure_baseline(settings, dataset, server.endpoint))
    found = best_answers(settings, dataset, card)
    assert (len(found), sum(value or 0 for value in found.values())) == (9, 6)


def test_an_item_that_the_engine_refuses_counts_as_wrong(
    settings: Settings, ledger: Ledger, dataset: Dataset, artifact: Path, server: Server
) -> None:
    server.answer = lambda m: 400 if m[0]["content"].endswith("card") else right_but_for_login(m)
    card = evaluate(settings, ledger, artifact=artifact, dataset_id=dataset.id, endpoint=server.endpoint).scorecard
    assert card.unanswered == 3
    assert card.accuracy == pytest.approx(1 / 3)


@pytest.mark.parametrize(
    ("status", "says"), [(400, "refused every test item.*no chat template"), (404, "failed while tuned was scored")]
)
def test_an_engine_that_answers_nothing_leaves_nothing_behind(
    settings: Settings, ledger: Ledger, dataset: Dataset, artifact: Path, server: Server, status: int, says: str
) -> None:
    server.answer = lambda messages: status
    with pytest.raises(EngineError, match=says):
        evaluate(settings, ledger, artifact=artifact, dataset_id=dataset.id, endpoint=server.endpoint)
    assert not (settings.root / "evaluations").exists()


def test_a_changed_artifact_is_not_scored(
    settings: Settings, ledger: Ledger, dataset: Dataset, artifact: Path, server: Server
) -> None:
    (artifact / "model.safetensors").write_bytes(b"weightz")
    with pytest.raises(ArtifactError, match="does not match"):
        evaluate(settings, ledger, artifact=artifact, dataset_id=dataset.id, endpoint=server.endpoint)
    with pytest.raises(NotFoundError):
        evaluate(settings, ledger, artifact=artifact, dataset_id="dataset_9", endpoint=server.endpoint)
    assert server.asked == []


def test_an_engine_that_does_not_start_says_why(settings: Settings) -> None:
    with pytest.raises(EngineError, match=r"did not start: .+see .+logs"), engine(settings, ["--artifact", "nowhere"]):
        pass


def test_the_baseline_is_measured_once_plain_and_with_examples(
    settings: Settings, ledger: Ledger, dataset: Dataset, server: Server
) -> None:
    server.answer = lambda m: right_but_for_login(m) if len(m) > 1 else "what?"
    entries = measure_baseline(settings, dataset, server.endpoint)
    assert entries["plain"].accuracy == 0
    assert entries["few_shot"].accuracy == pytest.approx(2 / 3)
    assert best_accuracy(entries) == pytest.approx(2 / 3)
    asked = len(server.asked)
    assert asked == 3 * 9
    assert measure_baseline(settings, dataset, server.endpoint) == entries
    assert len(server.asked) == asked
    shots = next(body["messages"] for body in server.asked if len(body["messages"]) > 1)
    assert [m["role"] for m in shots] == ["user", "assistant"] * settings.evaluate.few_shot + ["user"]
    tests = {f"question {n}" for n in range(200, 209)}
    assert not any(m["content"].rsplit(" about", 1)[0] in tests for m in shots[:-1]), "a test item among the examples"


def test_a_scorecard_shows_what_prompting_reached_on_an_earlier_dataset(
    settings: Settings, ledger: Ledger, dataset: Dataset, artifact: Path, server: Server
) -> None:
    server.answer = right_but_for_login
    ledger.add(replace(dataset, id="dataset_2", content_hash="other"))
    entries = measure_baseline(settings, dataset, server.endpoint)
    card = evaluate(settings, ledger, artifact=artifact, dataset_id="dataset_2", endpoint=server.endpoint).scorecard
    assert (card.baseline, card.earlier_baseline) == (
        None,
        EarlierBaseline(dataset_id="dataset_1", prompts=entries),
    )
    card = evaluate(settings, ledger, artifact=artifact, dataset_id="dataset_1", endpoint=server.endpoint).scorecard
    assert (card.baseline, card.earlier_baseline) == (entries, None)


def test_a_base_model_without_a_chat_template_is_said_and_not_fatal(
    settings: Settings, dataset: Dataset, server: Server
) -> None:
    server.answer = lambda messages: 400
    entries = measure_baseline(settings, dataset, server.endpoint)
    assert "no chat template" in str(entries["plain"].note)
    assert (entries["few_shot"].items, best_accuracy(entries)) == (0, None)


def test_examples_show_every_label_before_any_twice_and_follow_the_system_message() -> None:
    rows = [row(n, "card") for n in range(50)] + [row(60, "refund"), row(61, "login")]
    shots = choose_shots(rows, 4, seed=0)
    assert sorted(str(shot.label) for shot in shots) == ["card", "card", "login", "refund"]
    assert shots == choose_shots(rows, 4, seed=0)
    prompt = [said("system", "be brief"), said("user", "well?")]
    turns = with_shots(shots[:1], prompt)
    assert [m["role"] for m in turns] == ["system", "user", "assistant", "user"]


def test_the_nearest_rows_are_shown_the_nearest_last() -> None:
    known = [row(1, "card"), row(2, "refund"), row(3, "login")]
    known[2].prompt[-1]["content"] = "I forgot my password and cannot log in"
    asked = row(9, "login")
    asked.prompt[-1]["content"] = "my password is forgotten"
    (shots,) = nearest_shots(known, [asked], 2)
    assert shots[-1] == known[2]
    assert len(shots) == 2
    assert nearest_shots(known, [asked], 0) == [[]]
    assert len(nearest_shots(known, [asked], 9)[0]) == 3


def test_a_sample_keeps_the_slices_in_proportion_and_is_the_same_each_time() -> None:
    rows = [row(n, "card", "new" if n % 4 == 0 else "old") for n in range(100)]
    chosen = sample(rows, 30, seed=3)
    assert len(chosen) == 30
    assert sum(r.slice == "new" for r in chosen) in (7, 8)
    assert chosen == sample(rows, 30, seed=3)
    assert chosen != sample(rows, 30, seed=4)
    assert sample(rows, 100, seed=3) == rows


def test_the_base_is_asked_by_the_template_that_a_tuned_model_learns(settings: Settings, tmp_path: Path) -> None:
    base = Base(name="base", source=str(save_tokenizer(tmp_path / "base", "qwen3")))
    flag, folder = tokenizer_arguments(base, settings.root)
    assert flag == "--tokenizer"
    asked = load_tokenizer(folder)
    assert asked.chat_template == load_base_tokenizer(base).chat_template
    assert asked.eos_token == "<|im_end|>"
    assert tokenizer_arguments(base, settings.root) == [flag, folder]
    assert tokenizer_arguments(Base(name="gone", source=str(tmp_path / "gone")), settings.root) == []


def test_scores_of_the_base_by_another_template_are_others(
    settings: Settings, dataset: Dataset, server: Server
) -> None:
    server.answer = right_but_for_login
    measure_baseline(settings, dataset, server.endpoint)
    template = TemplateSettings(file="trl:qwen3")
    other = settings.model_copy(update={"model": settings.model.model_copy(update={"template": template})})
    assert find_baseline(settings, dataset) is not None
    assert find_baseline(other, dataset) is None
