"""What a retrain learns is what was asked: the same messages up to the template, or a reason in the report."""

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from driftwheel.records.by_whom import Trust
from driftwheel.records.nouns import Traffic
from driftwheel.settings.data import DatasetSettings
from driftwheel.store.ledger import Ledger
from driftwheel.text.asked import UnreadableRequestError, read_asked
from tests.support.said import words_of
from train.base_model import load_tokenizer
from train.data.examples import Example, read_examples
from train.data.live.traffic_rows import labelled_rows, one_sided_authors, within_cap
from train.data.splitting.clean_rows import clean
from train.data.splitting.tally import Tally
from train.data.tokens.rendering import as_text

SETTINGS = DatasetSettings(sources=["x"])
TOOLS = [{"type": "function", "function": {"name": "weather", "parameters": {"type": "object"}}}]
AS_JSON = "{% for message in messages %}{{ message | tojson }}\n{% endfor %}{{ tools | tojson }}"
IMAGE = {"type": "image_url", "image_url": {"url": "data:image/png;base64,iVBORw0KGgo="}}


def asked(number: int, messages: Any, **changes: Any) -> Traffic:
    body = messages if isinstance(messages, dict) else {"messages": messages}
    values: dict[str, Any] = {
        "id": f"req_{number:03d}",
        "project": "support",
        "created_at": datetime(2026, 1, 2, tzinfo=UTC),
        "alias": "support",
        "version_id": "version_1",
        "route": "/v1/chat/completions",
        "status_code": 200,
        "prompt": "the last text alone",
        "request": json.dumps({"model": "support", **body}),
        "answer": "wrong",
        "latency_seconds": 0.1,
        "label": f"answer {number}",
        "label_source": "correction",
    }
    return Traffic(**{**values, **changes})


def learned(ledger: Ledger, *traffic: Traffic) -> tuple[list[Example], Tally]:
    ledger.add(*traffic)
    tally = Tally()
    since = datetime(2026, 1, 1, tzinfo=UTC)
    rows = labelled_rows(SETTINGS, ledger, "support", "support", since=since, tally=tally)
    return clean(SETTINGS, [found.row for found in rows], tally), tally


def test_corrected_requests_in_content_parts_are_as_many_rows(ledger: Ledger) -> None:
    def turns(number: int) -> list[dict[str, Any]]:
        content = [{"type": "text", "text": "where is"}, {"type": "text", "text": f"card {number}"}]
        return [{"role": "system", "content": "You triage."}, {"role": "user", "content": content}]

    rows, tally = learned(ledger, *(asked(n, turns(n)) for n in range(30)))
    assert {(row.conversation, row.answer) for row in rows} == {
        (f"where is\ncard {n}", f"answer {n}") for n in range(30)
    }
    assert not tally.dropped


def test_requests_that_cannot_be_learned_are_counted_by_what_they_hold(ledger: Ledger) -> None:
    image = [{"role": "user", "content": [{"type": "text", "text": "what is this"}, IMAGE]}]
    rows, tally = learned(
        ledger,
        asked(0, image),
        asked(1, image),
        asked(2, {"prompt": "Once"}, route="/v1/completions"),
        asked(3, [{"role": "user", "content": "hi"}]),
    )
    assert [row.text for row in rows] == ["hi"]
    assert dict(tally.dropped) == {
        "requests with an image": 2,
        "requests with a text to complete, which has no turns": 1,
    }


def test_an_accepted_tool_call_is_learned_as_a_call_and_not_as_text(ledger: Ledger) -> None:
    logged = '[{"name": "weather", "arguments": "{\\"city\\": \\"Ulm\\"}"}]'
    body = {"messages": [{"role": "user", "content": "Rain?"}], "tools": TOOLS}
    (row,), _ = learned(ledger, asked(0, body, answer=logged, label=logged, label_source="accepted"))
    function = {"name": "weather", "arguments": '{"city": "Ulm"}'}
    assert row.completion == [
        {
            "role": "assistant",
            "content": None,
            "tool_calls": [{"id": "call00000", "type": "function", "function": function}],
        }
    ]
    assert row.tools == TOOLS


TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
TEXT_PARTS = st.builds(lambda text: {"type": "text", "text": text}, TEXTS)
OTHER_PARTS = st.sampled_from(
    [
        IMAGE,
        {"type": "input_audio", "input_audio": {"data": "", "format": "wav"}},
        {"type": "file", "file": {"file_id": "f"}},
    ]
)
CONTENT = TEXTS | st.lists(TEXT_PARTS, min_size=1, max_size=3)
ODD_CONTENT = CONTENT | st.lists(TEXT_PARTS | OTHER_PARTS, min_size=1, max_size=3)
ARGUMENTS = st.dictionaries(TEXTS, TEXTS | st.integers(-9, 9) | st.booleans(), max_size=2).map(json.dumps)
CALLS = st.builds(
    lambda call_id, name, arguments: {
        "id": call_id,
        "type": "function",
        "function": {"name": name, "arguments": arguments},
    },
    TEXTS,
    st.sampled_from(["weather", "time"]),
    ARGUMENTS,
)


def turn(
    role: str, content: st.SearchStrategy[Any], **more: st.SearchStrategy[Any]
) -> st.SearchStrategy[dict[str, Any]]:
    return st.fixed_dictionaries({"role": st.just(role), "content": content}, optional=more)


TURNS = st.one_of(
    turn("system", CONTENT, name=TEXTS),
    turn("developer", CONTENT, name=TEXTS),
    turn("user", ODD_CONTENT, name=TEXTS),
    turn("assistant", CONTENT, refusal=st.none() | st.just("no"), name=TEXTS),
    turn("assistant", CONTENT | st.none(), tool_calls=st.lists(CALLS, min_size=1, max_size=2)),
    st.fixed_dictionaries({"role": st.just("tool"), "content": CONTENT, "tool_call_id": TEXTS}),
    st.fixed_dictionaries({"role": st.just("function"), "content": TEXTS, "name": TEXTS}),
)
CONVERSATIONS = st.fixed_dictionaries(
    {"messages": st.lists(TURNS, min_size=1, max_size=5)}, optional={"tools": st.just(TOOLS)}
)


def text_of_parts(content: Any) -> str:
    return content if isinstance(content, str) else "\n".join(part["text"] for part in content or [])


def as_the_template_should_see(message: dict[str, Any]) -> dict[str, Any]:
    """Say by OpenAI's schema what a turn says, without asking the code under test."""
    shown = {key: value for key, value in message.items() if key != "refusal"}
    shown["content"] = text_of_parts(message["content"])
    for call in shown.get("tool_calls", []):
        call["function"]["arguments"] = json.loads(call["function"]["arguments"])
    return shown


def cannot_be_learned(turns: list[dict[str, Any]]) -> bool:
    """Say whether a conversation holds what the property's second half is about."""
    parts = [part for turn in turns if isinstance(turn["content"], list) for part in turn["content"]]
    odd = any(part["type"] != "text" for part in parts) or any(turn["role"] == "function" for turn in turns)
    return odd or any(turn.get("refusal") for turn in turns) or turns[-1]["role"] == "assistant"


@hypothesis_settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(body=CONVERSATIONS)
def test_from_request_to_template_every_conversation_stays_as_it_is_or_is_refused(
    tmp_path: Path, tiny_base: Path, body: dict[str, Any]
) -> None:
    sent = json.dumps(body)
    if cannot_be_learned(body["messages"]):
        with pytest.raises(UnreadableRequestError, match=r"\w"):
            read_asked(sent)
        return
    found = read_asked(sent)
    answer = [{"role": "assistant", "content": "ok"}]
    row = Example("a", found.messages, answer, None, "g", tools=found.tools)  # type: ignore[arg-type]
    path = tmp_path / "train.jsonl"
    path.write_text(json.dumps(row.as_line(), ensure_ascii=False) + "\n", encoding="utf-8")
    (read,) = read_examples(path)
    assert read == row
    tokenizer = json_tokenizer(tiny_base)
    *lines, tools = as_text(tokenizer, read.prompt, read.tools).split("\n")
    assert [json.loads(line) for line in lines] == [as_the_template_should_see(m) for m in body["messages"]]
    if "tools" in body:
        (tool,) = json.loads(tools)
        assert tool == {"type": "function", "function": {**TOOLS[0]["function"], "description": None}}  # type: ignore[dict-item]


TOKENIZERS: dict[Path, Any] = {}


def json_tokenizer(base: Path) -> Any:
    """Return a tokenizer whose template shows what it was given."""
    if base not in TOKENIZERS:
        TOKENIZERS[base] = load_tokenizer(str(base))
        TOKENIZERS[base].chat_template = AS_JSON + "{# 'developer' #}"
    return TOKENIZERS[base]


def test_a_template_without_developers_gets_one_system_message_as_from_vllm(tiny_base: Path) -> None:
    tokenizer = load_tokenizer(str(tiny_base))
    tokenizer.chat_template = AS_JSON
    turns = [{"role": r, "content": c} for r, c in (("system", "A"), ("user", "u"), ("developer", "B"))]
    first, second, _ = as_text(tokenizer, turns).split("\n")  # type: ignore[arg-type]
    assert (json.loads(first), json.loads(second)) == (
        {"role": "system", "content": "A\n\nB"},
        {"role": "user", "content": "u"},
    )


def test_corrections_in_another_form_are_counted_and_not_learned(ledger: Ledger) -> None:
    ledger.add(*(asked(n, [{"role": "user", "content": f"q {n}"}], label=label) for n, label in enumerate(["{}", "x"])))
    tally, since = Tally(), datetime(2026, 1, 1, tzinfo=UTC)
    rows = labelled_rows(SETTINGS, ledger, "support", "support", since=since, tally=tally, form="object")
    assert [found.row.answer for found in rows] == ["{}"]
    assert dict(tally.dropped) == {"labelled with an answer in another form than the others'": 1}


def test_thumbs_of_an_untrusted_key_use_up_no_room_of_trusted_ones(ledger: Ledger) -> None:
    accepted = {"label": "wrong", "label_source": "accepted", "thumb": 1}
    desk = [asked(n, [{"role": "user", "content": f"q {n}"}], **(accepted if n % 2 else {})) for n in range(8)]
    newer = {"created_at": datetime(2026, 1, 3, tzinfo=UTC), **accepted}
    app = [asked(n, [{"role": "user", "content": f"q {n}"}], **newer) for n in range(10, 16)]
    ledger.add(*desk, *app, *words_of(desk), *words_of(app, author="support/app", trust=Trust.NONE))
    capped, tally = SETTINGS.model_copy(update={"max_accepted_rows": 5}), Tally()
    rows = labelled_rows(capped, ledger, "support", "support", since=datetime(2026, 1, 1, tzinfo=UTC), tally=tally)
    assert one_sided_authors(capped, rows) == []
    kept = within_cap(capped, rows, tally)
    assert [row.row.place for row in kept] == [
        "req_015",
        *(f"req_{n:03d}" for n in range(7, -1, -1)),
    ]
    assert dict(tally.dropped) == {"over dataset.max_accepted_rows": 5}
