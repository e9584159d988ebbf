"""The messages of a conversation, in the form of OpenAI's chat completions: who said what, which tools were called.

A row of a data file, a logged request, a row of a Dataset and what an endpoint is asked are all made of them.
"""

import json
from collections.abc import Sequence
from typing import Literal, Required, TypedDict, cast

Role = Literal["system", "developer", "user", "assistant", "tool"]

Tool = dict[str, object]
"""A tool that a model may call: `type` is `function`, `function` has a name, a description and a JSON schema."""


class FunctionCall(TypedDict):
    """Which function is called with what."""

    name: str
    arguments: str
    """A JSON object as text, as clients and engines send it."""


class ToolCall(TypedDict):
    """An assistant's wish that a tool is called."""

    id: str
    type: Literal["function"]
    function: FunctionCall


class Message(TypedDict, total=False):
    """One turn of a conversation."""

    role: Required[Role]
    content: Required[str | None]
    """None only where an assistant calls tools and says nothing."""
    name: str
    """Which of several speakers of a role it is; of a tool's result, the tool."""
    tool_calls: list[ToolCall]
    tool_call_id: str
    """Of a tool's result: the call that it answers."""
    weight: Literal[0, 1]
    """Of an assistant's turn: 0 says that it is read and never learned."""


Messages = Sequence[Message]


def said(role: Role, content: str) -> Message:
    """Return a message of nothing but text."""
    return {"role": role, "content": content}


def with_text(message: Message, content: str) -> Message:
    """Return a message that says something else."""
    changed = message.copy()
    changed["content"] = content
    return changed


def text_of(message: Message) -> str:
    """Return what a message says: its text, and its tool calls as a line of JSON after it."""
    texts = [message["content"]] if message["content"] else []
    calls = message.get("tool_calls")
    return "\n".join([*texts, calls_as_text(calls)] if calls else texts)


def calls_as_text(calls: Sequence[ToolCall]) -> str:
    """Return tool calls as a line of JSON, a list of names and arguments; their ids are chance and are left out."""
    made = [{"name": call["function"]["name"], "arguments": _arguments(call)} for call in calls]
    return json.dumps(made, ensure_ascii=False, sort_keys=True)


def calls_in(text: str) -> list[dict[str, object]]:
    """Return the calls of a text's last line, as `calls_as_text` writes them; none if it is anything else."""
    try:
        made = json.loads(text.rpartition("\n")[2])
    except (ValueError, RecursionError):
        return []
    calls = made if isinstance(made, list) else []
    is_written = all(isinstance(call, dict) and call.keys() == {"name", "arguments"} for call in calls)
    return calls if is_written else []


def last_text(messages: Messages, role: Role = "user") -> str:
    """Return what a role said last; empty if it said nothing."""
    return next((text_of(m) for m in reversed(messages) if m["role"] == role), "")


def is_learned(message: Message) -> bool:
    """Say whether a turn may be learned: it is the assistant's, and not marked with weight 0."""
    return message["role"] == "assistant" and message.get("weight", 1) != 0


def to_send(messages: Messages) -> list[Message]:
    """Return messages as an endpoint takes them: without the weights, which only a trainer reads."""
    sent = [message.copy() for message in messages]
    for message in sent:
        message.pop("weight", None)
    return sent


def to_render(messages: Messages) -> list[dict[str, object]]:
    """Return messages as chat templates take them and vLLM gives them to one.

    A turn that says nothing has an empty text, and a call's arguments are an object: a text would come out as a JSON
    string within JSON. Weights are the trainer's alone.
    """
    return [_rendered(message) for message in messages]


def tools_to_render(tools: Sequence[Tool]) -> list[Tool] | None:
    """Return tools as vLLM gives them to a template: a function's name, description and parameters first, or None."""
    shown: list[Tool] = []
    for tool in tools:
        function = cast(Tool, tool["function"])
        first = {name: function.get(name) for name in ("name", "description", "parameters")}
        shown.append({"type": "function", "function": {**first, **function}})
    return shown or None


def _rendered(message: Message) -> dict[str, object]:
    shown: dict[str, object] = {key: value for key, value in message.items() if key != "weight"}
    shown["content"] = message["content"] or ""
    if calls := message.get("tool_calls"):
        functions = [{"name": call["function"]["name"], "arguments": _arguments(call)} for call in calls]
        shown["tool_calls"] = [{**call, "function": f} for call, f in zip(calls, functions, strict=True)]
    return shown


def _arguments(call: ToolCall) -> object:
    try:
        return json.loads(call["function"]["arguments"])
    except (ValueError, RecursionError):
        return call["function"]["arguments"]
