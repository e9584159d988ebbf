"""Rewordings of training rows keep label, group and provenance, cost nothing twice, and never judge."""

import json
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest

from driftwheel.errors import ConfigError, EngineError
from driftwheel.records.dataset_report import ParaphraseCount
from driftwheel.records.nouns import Dataset
from driftwheel.settings.load import load_settings
from driftwheel.settings.settings import Settings
from driftwheel.store.ledger import Ledger
from driftwheel.text.conversations import said
from examples.support.world import answer, messages
from train.data.examples import Example
from train.data.splitting.dataset_files import read_splits
from train.data.splitting.leaks import HeldOut
from train.data.splitting.mixing import mix
from train.data.splitting.paraphrases import paraphrases
from train.data.splitting.splits import TimedSplits, group_numbers
from train.data.splitting.tally import Tally
from train.dataset import build_dataset
from train.tuning.folds import make_folds

ServeJson = Callable[[Callable[[str, Any, Any], tuple[int, Any]]], str]


def backwards(text: str) -> str:
    return f"kindly tell me: {' '.join(reversed(text.split()))}"


@dataclass
class Rewording:
    """A small endpoint that rewords by a function, and keeps what it was asked."""

    say: Callable[[str], str | int] = lambda text: backwards(text)
    finish: str = "stop"
    asked: list[dict[str, Any]] = field(default_factory=list)
    url: str = ""

    @property
    def texts(self) -> list[str]:
        return [body["messages"][-1]["content"] for body in self.asked]


@pytest.fixture
def server(serve_json: ServeJson) -> Rewording:
    state = Rewording()

    def reply(path: str, headers: Any, body: Any) -> tuple[int, Any]:
        state.asked.append(body | {"path": path, "key": headers["authorization"]})
        said = state.say(body["messages"][-1]["content"])
        if isinstance(said, int):
            return said, {"error": {"message": "cannot", "code": said}}
        choice = {"index": 0, "finish_reason": state.finish, "message": {"role": "assistant", "content": said}}
        return 200, {"id": "1", "object": "chat.completion", "created": 0, "model": "m", "choices": [choice]}

    state.url = serve_json(reply)
    return state


def with_endpoint(settings: Settings, url: str, **changes: object) -> Settings:
    chosen = {"paraphrase_url": f"{url}/v1", "paraphrase_model": "writer", **changes}
    return settings.model_copy(update={"dataset": settings.dataset.model_copy(update=chosen)})


def write_rows(settings: Settings, count: int = 200) -> None:
    rows = [{"prompt": e.text, "completion": answer(e)} for e in messages(count, 1, "steady")]
    settings.resolve("seed.jsonl").write_text("".join(json.dumps(r) + "\n" for r in rows), encoding="utf-8")


def row(name: str, text: str, group: str | None = None) -> Example:
    return Example(name, [said("user", text)], [said("assistant", "x")], "x", group or name)


ROWS = [row("a", "where is parcel 17"), row("b", "cancel my plan"), row("c", "the screen is cracked")]


def test_a_build_adds_rewordings_of_training_rows_and_nothing_else(
    settings: Settings, ledger: Ledger, server: Rewording
) -> None:
    write_rows(settings)
    plain = read_splits(build_dataset(settings, ledger))
    chosen = with_endpoint(settings, server.url, paraphrase_share=0.25)
    dataset = build_dataset(chosen, ledger)
    splits = read_splits(dataset)
    assert splits["test"] == plain["test"]
    assert splits["validation"] == plain["validation"]
    originals = {e.id: e for e in splits["train"] if e.original is None}
    assert list(originals.values()) == plain["train"]
    made = [e for e in splits["train"] if e.original]
    assert 0.2 < len(made) / len(splits["train"]) <= 0.25
    for e in made:
        origin = originals[str(e.original)]
        assert (e.source, e.model, e.label, e.group) == ("paraphrase", "writer", origin.label, origin.group)
        assert e.completion == origin.completion
        assert e.text == backwards(origin.text)
    groups = group_numbers(splits["train"], chosen.dataset.near_duplicate_similarity)
    by_id = {e.id: group for e, group in zip(splits["train"], groups, strict=True)}
    assert all(by_id[e.id] == by_id[str(e.original)] for e in made)
    assert HeldOut([*splits["test"], *splits["validation"]], 0.9).leaks(made) == []
    assert dataset.report.mixed["made in other words"] == dataset.report.sources["paraphrase"] == len(made)
    assert dataset.report.paraphrases == ParaphraseCount(model="writer", asked=len(server.asked))
    assert {e.text for e in splits["test"] + splits["validation"]}.isdisjoint(server.texts), "what judges is not sent"


def test_the_same_build_again_asks_nothing_and_is_the_same(
    settings: Settings, ledger: Ledger, server: Rewording
) -> None:
    write_rows(settings)
    chosen = with_endpoint(settings, server.url)
    dataset = build_dataset(chosen, ledger)
    asked = len(server.asked)
    server.say = lambda text: "something else altogether"
    assert build_dataset(chosen, ledger) == dataset
    assert len(server.asked) == asked > 50
    more = build_dataset(with_endpoint(settings, server.url, paraphrase_share=0.4), ledger)
    assert len(server.asked) - asked == more.report.paraphrases.asked - asked, "only what is new is asked"


def test_a_torn_line_of_a_killed_build_costs_that_row_only(settings: Settings, server: Rewording) -> None:
    chosen = with_endpoint(settings, server.url, paraphrase_share=0.5)
    first = paraphrases(chosen, ROWS, Tally())
    path = settings.root / "paraphrases.jsonl"
    path.write_text(path.read_text(encoding="utf-8")[:-20], encoding="utf-8")
    assert paraphrases(chosen, ROWS, Tally()) == first
    assert len(server.asked) == 4
    assert paraphrases(chosen, ROWS, Tally()) == first
    assert len(server.asked) == 4, "the row that was asked again is kept"


def test_every_row_is_reworded_once_before_any_is_twice(settings: Settings, server: Rewording) -> None:
    server.say = lambda text: f"{backwards(text)} {'now ' * len(server.asked)}"
    rows = [*ROWS, *ROWS, replace(ROWS[0], id="typo", original="a")]
    made = paraphrases(with_endpoint(settings, server.url, paraphrase_share=0.42, paraphrase_copies=5), rows, Tally())
    assert sorted(Counter(e.original for e in made).values()) == [1, 2, 2]
    assert len({e.id for e in made}) == 5
    manners = [body["messages"][0]["content"] for body in server.asked]
    assert sorted(Counter(manners).values()) == [2, 3], "each manner is asked for in its own words"


@pytest.mark.parametrize(
    ("said", "reason"),
    [
        ("Where is PARCEL 17?", "the same words"),
        ("where did parcel 71 go", "other numbers"),
        ("", "refused, empty or cut off"),
        ("where is parcel 17 " + "please " * 30, "much longer"),
        ("<think>they want parcel 17", "refused, empty or cut off"),
        ("my parcel 17 never came", "the same as another training row"),
    ],
    ids=["case", "number", "empty", "loops", "still thinking", "repeats a row"],
)
def test_a_rewording_that_cannot_stand_for_its_row_is_dropped_and_counted(
    settings: Settings, server: Rewording, said: str, reason: str
) -> None:
    server.say = lambda text: (
        said if "17" in text and "never" not in text else f"i say {text[::-1]}".replace("71", "17")
    )
    report = Tally()
    rows = [*ROWS, row("d", "my parcel 17 never came")]
    made = paraphrases(with_endpoint(settings, server.url, paraphrase_share=0.5), rows, report)
    assert {e.original for e in made} == {"b", "c", "d"}
    assert report.dropped == {f"paraphrase: {reason}": 1}


def test_an_answer_that_was_cut_off_is_none(settings: Settings, server: Rewording) -> None:
    server.finish, report = "length", Tally()
    assert paraphrases(with_endpoint(settings, server.url), ROWS, report) == []
    assert report.dropped == {"paraphrase: refused, empty or cut off": 1}


def test_thoughts_and_quotation_marks_are_no_part_of_a_message(settings: Settings, server: Rewording) -> None:
    server.say = lambda text: '<think>what "is" it?</think>\n\n"I want to end my plan."'
    (made,) = paraphrases(with_endpoint(settings, server.url, paraphrase_share=0.5), ROWS[1:2], Tally())
    assert made.text == "I want to end my plan."


def test_a_rewording_like_a_judging_row_is_dropped_and_counted(settings: Settings, server: Rewording) -> None:
    judged = {"near": "please end my contract at once", "quarantined": "the glass is broken now"}
    server.say = lambda text: {
        "cancel my plan": "please end my contrct at once",
        "the screen is cracked": "The glass is broken, now!",
    }.get(text, f"17 is the parcel that i want, {text[:5]}")
    timed = TimedSplits({"train": ROWS, "validation": [], "test": [row("t", judged["near"])]})
    report = Tally()
    chosen = with_endpoint(settings, server.url, paraphrase_share=0.5)
    mixed = mix(chosen, timed, [row("q", judged["quarantined"])], report)
    assert [e.original for e in mixed["train"] if e.source == "paraphrase"] == ["a"]
    assert report.dropped["paraphrase: like a judging row"] == 2
    assert mixed["test"] == timed.splits["test"]


@pytest.mark.parametrize("answered", [401, 400], ids=["wrong key", "refuses every row"])
def test_a_failing_endpoint_stops_the_build_or_is_left_out_and_named(
    settings: Settings, ledger: Ledger, server: Rewording, answered: int
) -> None:
    write_rows(settings)
    server.say = lambda text: answered
    with pytest.raises(EngineError, match=r"^no paraphrases: .*writer.*on_paraphrase_failure"):
        build_dataset(with_endpoint(settings, server.url), ledger)
    assert ledger.count(Dataset) == 0
    dataset = build_dataset(with_endpoint(settings, server.url, on_paraphrase_failure="skip"), ledger)
    assert "paraphrase" not in dataset.report.sources
    assert "writer" in str(dataset.report.paraphrases.failed)


def test_the_key_comes_from_the_environment_and_log_probabilities_are_not_asked_for(
    settings: Settings, server: Rewording
) -> None:
    paraphrases(with_endpoint(settings, server.url), ROWS, Tally(), environ={"DRIFTWHEEL_PARAPHRASE_API_KEY": "secret"})
    (body,) = server.asked
    assert (body["path"], body["key"], body["model"]) == ("/v1/chat/completions", "Bearer secret", "writer")
    assert "logprobs" not in body
    assert body["temperature"] == 0


def test_url_and_model_belong_together(settings: Settings) -> None:
    with pytest.raises(ConfigError, match="paraphrase_url and paraphrase_model belong together"):
        load_settings(settings.path, overrides=["dataset.paraphrase_model=x"], environ={})


def test_a_rewording_judges_in_no_fold_and_stays_with_its_original(
    settings: Settings, ledger: Ledger, server: Rewording
) -> None:
    write_rows(settings)
    dataset = build_dataset(with_endpoint(settings, server.url), ledger)
    for fold in make_folds(settings.dataset, settings.root, dataset, 3):
        held_out, learned = (
            [json.loads(line) for line in (Path(fold.path) / f"{name}.jsonl").read_text("utf-8").splitlines()]
            for name in ("validation", "train")
        )
        assert {e["source"] for e in held_out} == {"files"}
        assert {e["original"] for e in learned}.isdisjoint(e["id"] for e in held_out)
