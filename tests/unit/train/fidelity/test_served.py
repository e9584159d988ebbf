"""An endpoint that reads or answers otherwise than the files do is named; vLLM itself is asked in the loop's test."""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from driftwheel.errors import ParityError
from driftwheel.records.scorecard import ParityRow
from driftwheel.settings.settings import Settings
from driftwheel.text.conversations import said
from train.asking.client import Endpoint
from train.base_model import load_tokenizer
from train.data.examples import Example
from train.fidelity.parity_table import Parity
from train.fidelity.probing import Probe, Reading, make_probes
from train.fidelity.served import measure_served, prompt_key

LOGPROB = -0.25
ServeJson = Callable[[Callable[[str, Any, Any], tuple[int, Any]]], str]
PROBES = 30


@dataclass
class Engine:
    """A stand-in for vLLM that knows the right tokens, and what it does to them."""

    probes: list[Probe]
    url: str = ""
    prompt_ids: Callable[[list[int]], list[int]] = lambda ids: ids
    answer_ids: Callable[[list[int]], list[int]] = lambda ids: ids
    logprob: float = LOGPROB
    asked: list[str] = field(default_factory=list)

    def reply(self, path: str, body: dict[str, Any]) -> dict[str, Any]:
        common = {"id": "1", "created": 0, "model": "tuned"}
        if path.endswith("/chat/completions"):
            assert body["return_token_ids"] is True
            probe = next(p for p in self.probes if p.messages == body["messages"])
            self.asked.append(probe.id)
            choice = {
                "index": 0,
                "finish_reason": "stop",
                "message": {"role": "assistant", "content": probe.expected},
                "token_ids": self.answer_ids(probe.reference_ids),
            }
            return {
                **common,
                "object": "chat.completion",
                "choices": [choice],
                "prompt_token_ids": self.prompt_ids(probe.prompt_ids),
            }
        entries = [None, *({str(token): {"logprob": self.logprob}} for token in body["prompt"][1:])]
        choice = {"index": 0, "finish_reason": "length", "text": "x", "prompt_logprobs": entries}
        return {**common, "object": "text_completion", "choices": [choice]}


@pytest.fixture
def parity(tmp_path: Path, tiny_base: Path) -> Parity:
    """What the trained, the merged and the quantized form made of the probes: all the same, and all right."""
    rows = [
        Example(f"row-{n}", [said("user", f"question {n}")], [said("assistant", '{"intent": "card"}')], "card", str(n))
        for n in range(PROBES)
    ]
    probes = make_probes(load_tokenizer(str(tiny_base)), rows, 64)
    right = [
        Reading(answer_ids=p.reference_ids, logprobs=[LOGPROB] * len(p.reference_ids), is_correct=True) for p in probes
    ]
    chain = [(name, right) for name in ("trained", "merged", "quantized")]
    return Parity(
        artifact=tiny_base, folder=tmp_path, probes=probes, chain=chain, rows=[], max_tokens=64, digest="digest"
    )


@pytest.fixture
def engine(parity: Parity, serve_json: ServeJson) -> Engine:
    state = Engine(parity.probes)
    state.url = serve_json(lambda path, _, body: (200, state.reply(path, body)))
    return state


def measured(settings: Settings, engine: Engine, parity: Parity, known: dict[str, Any] | None = None) -> ParityRow:
    chosen = settings.model_copy(update={"dataset": settings.dataset.model_copy(update={"label_field": "intent"})})
    return measure_served(chosen, Endpoint(url=engine.url, model="tuned"), parity, known or {})[-1]


def test_an_endpoint_that_serves_the_files_is_the_tables_last_row(
    settings: Settings, engine: Engine, parity: Parity
) -> None:
    row = measured(settings, engine, parity)
    assert row.first is not None
    assert (row.hop, row.against, row.first.against) == ("served", "quantized", "trained")
    assert (row.items, row.agreeing, row.accuracy, row.mean_logprob_difference) == (PROBES, PROBES, 1, 0)


def test_what_evaluation_asked_already_is_not_asked_again(settings: Settings, engine: Engine, parity: Parity) -> None:
    from train.evaluation.scoring import ask

    endpoint = Endpoint(url=engine.url, model="tuned")
    asked = [parity.probes[0].messages]
    (answer,) = ask(settings.evaluate, settings.serve, endpoint, asked, "evaluate", with_ids=True)
    measured(settings, engine, parity, {prompt_key(parity.probes[0].messages): answer})
    assert sorted(engine.asked) == sorted(probe.id for probe in parity.probes)


@pytest.mark.parametrize(
    ("change", "check"),
    [
        pytest.param({"prompt_ids": lambda ids: [1, *ids]}, "prompt tokens", id="a start token is added"),
        pytest.param({"prompt_ids": lambda ids: ids[:-1]}, "prompt tokens", id="the template ends earlier"),
        pytest.param({"answer_ids": lambda ids: ids[:-1]}, "greedy answers", id="answers lack their end token"),
        pytest.param({"logprob": -0.3}, "log-probabilities", id="a fifth more loss"),
    ],
)
def test_an_endpoint_that_serves_something_else_is_named(
    settings: Settings, engine: Engine, parity: Parity, change: dict[str, Any], check: str
) -> None:
    for name, value in change.items():
        setattr(engine, name, value)
    with pytest.raises(ParityError) as caught:
        measured(settings, engine, parity)
    assert (caught.value.hop, caught.value.check) == ("served", check)
