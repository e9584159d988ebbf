"""Reads a logged request as the conversation that the model was asked, or says what in it is none.

Chat completions and responses become the very messages that vLLM hands to the chat template: texts of one turn are
joined by line breaks, instructions are a system message, and a turn's text and its tool calls are one message. What
a text model cannot learn, or what the body alone does not hold, is refused by its name and never left out.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import cast, get_args

from driftwheel.errors import DataError
from driftwheel.text.conversations import Message, Role, Tool, ToolCall, said

Fields = Mapping[str, object]
"""A JSON object from outside."""

PARTS = {
    "image_url": "an image",
    "input_image": "an image",
    "input_audio": "audio",
    "audio_url": "audio",
    "video_url": "a video",
    "file": "a file",
    "input_file": "a file",
}
TEXT_PARTS = ("text", "input_text", "output_text")
"""What vLLM reads as text."""
CHAT_EXTRAS = {
    "functions": "functions, which tools have replaced",
    "chat_template": "a chat template of its own",
    "documents": "documents beside its messages",
    "continue_final_message": "an answer begun by the client",
}
RESPONSE_EXTRAS = {
    "previous_response_id": "an earlier response, of which it holds only the id",
    "conversation": "a stored conversation, of which it holds only the id",
    "prompt": "a stored prompt, of which it holds only the id",
}
"""Fields that put more into the prompt than the messages say."""
ITEMS = {"reasoning": "reasoning of an earlier turn", "item_reference": "an item of which it holds only the id"}


CALL_ID = "call"
"""Begins the ids of calls that a log holds without theirs; with five digits it has the length that Mistral's wants."""


class UnreadableRequestError(DataError):
    """A request is no conversation of texts and tool calls; the message is what it has instead, without its words."""


@dataclass(frozen=True, kw_only=True)
class Asked:
    """What a model was asked."""

    messages: list[Message]
    tools: list[Tool] = field(default_factory=list)


def read_asked(body: str, route: str = "") -> Asked:
    """Return the conversation that a request's body asks about; raises UnreadableRequestError."""
    if route.endswith("/embeddings"):
        raise UnreadableRequestError("a text to embed, which nothing answers")
    try:
        body.encode()
        fields = json.loads(body)
        json.dumps(fields, ensure_ascii=False).encode()
    except UnicodeEncodeError as error:
        raise UnreadableRequestError("text that is no Unicode") from error
    except (ValueError, RecursionError) as error:
        raise UnreadableRequestError("a body that is no JSON") from error
    if not isinstance(fields, dict):
        raise UnreadableRequestError("a body that is no JSON object")
    if "messages" in fields:
        asked = _of_chat(fields)
    elif "input" in fields or "instructions" in fields:
        asked = _of_response(fields)
    else:
        raise UnreadableRequestError("a text to complete, which has no turns" if "prompt" in fields else "no messages")
    if not asked.messages:
        raise UnreadableRequestError("no messages")
    if asked.messages[-1]["role"] == "assistant":
        raise UnreadableRequestError("an assistant's turn at its end")
    return asked


def read_answer(text: str, tools: Sequence[Tool]) -> Message:
    """Return an answer, as the log or a correction has it, as the turn that it is.

    Where the request has tools, a last line such as `[{"name": "weather", "arguments": {"city": "Ulm"}}]` is its calls.
    """
    names = {cast(Fields, tool["function"]).get("name") for tool in tools}
    before, _, last = text.rpartition("\n")
    calls = _read_calls(last, names) if names else []
    if not calls:
        return said("assistant", text)
    return {"role": "assistant", "content": before or None, "tool_calls": calls}


def _read_calls(line: str, names: set[object]) -> list[ToolCall]:
    """Return the calls that a line writes down; none if it is anything else."""
    try:
        values = json.loads(line)
    except (ValueError, RecursionError):
        return []
    calls = []
    for number, value in enumerate(values if isinstance(values, list) else []):
        if not isinstance(value, dict) or value.keys() != {"name", "arguments"} or value["name"] not in names:
            return []
        given = value["arguments"]
        arguments = given if isinstance(given, str) else json.dumps(given, ensure_ascii=False)
        try:
            calls.append(tool_call(f"{CALL_ID}{number:05}", value["name"], arguments))
        except UnreadableRequestError:
            return []
    return calls


def _of_chat(fields: Fields) -> Asked:
    _refuse(fields, CHAT_EXTRAS)
    messages = [_turn(_object(value, "a message")) for value in _list(fields["messages"], "messages")]
    return Asked(messages=messages, tools=[read_tool(tool) for tool in _list(fields.get("tools") or [], "tools")])


def _turn(turn: Fields) -> Message:
    """Return a turn of a chat completion."""
    role = turn.get("role")
    if role not in get_args(Role):
        raise UnreadableRequestError("a function's turn" if role == "function" else "a turn of an unknown role")
    message = said(cast(Role, role), _text(turn.get("content")))
    if turn.get("name") is not None:
        message["name"] = _string(turn["name"], "a name")
    if role == "assistant":
        _read_assistant(turn, message)
    if role == "tool" and turn.get("tool_call_id") is not None:
        message["tool_call_id"] = _string(turn["tool_call_id"], "a tool call's id")
    return message


def _read_assistant(turn: Fields, message: Message) -> None:
    """Read what only an assistant's turn has."""
    extras = {
        "audio": "an earlier answer in audio",
        "function_call": "a function_call, which tool_calls have replaced",
        "refusal": "a refusal of an earlier turn",
        "reasoning": "reasoning of an earlier turn",
        "reasoning_content": "reasoning of an earlier turn",
    }
    _refuse(turn, extras)
    calls = _list(turn.get("tool_calls") or [], "tool_calls")
    if calls:
        message["tool_calls"] = [_call(_object(value, "a tool call")) for value in calls]
        message["content"] = message["content"] or None


def _call(call: Fields) -> ToolCall:
    if call.get("type", "function") != "function":
        raise UnreadableRequestError("a tool call that is no function's")
    function = _object(call.get("function"), "a tool call's function")
    return tool_call(_string(call.get("id"), "a tool call's id"), function.get("name"), function.get("arguments"))


def tool_call(call_id: str, name: object, arguments: object) -> ToolCall:
    """Return a checked tool call; without arguments it has an empty object. Raises UnreadableRequestError."""
    text = "{}" if arguments in (None, "") else _string(arguments, "a tool call's arguments")
    try:
        value = json.loads(text)
        json.dumps(value, allow_nan=False)
    except (ValueError, RecursionError):
        value = None
    if not isinstance(value, dict):
        raise UnreadableRequestError("a tool call whose arguments are no JSON object")
    function = {"name": _string(name, "a tool's name"), "arguments": text}
    return cast(ToolCall, {"id": call_id, "type": "function", "function": function})


def read_tool(value: object) -> Tool:
    """Return a checked tool of a chat completion or of a row; raises UnreadableRequestError."""
    tool = _object(value, "a tool")
    if tool.get("type", "function") != "function":
        raise UnreadableRequestError("a tool that is no function")
    function = dict(_object(tool.get("function"), "a tool's function"))
    _string(function.get("name"), "a tool's name")
    return {"type": "function", "function": function}


def _of_response(fields: Fields) -> Asked:
    _refuse(fields, RESPONSE_EXTRAS)
    messages: list[Message] = []
    if fields.get("instructions"):
        messages.append(said("system", _string(fields["instructions"], "instructions")))
    given = fields.get("input")
    if isinstance(given, str):
        messages.append(said("user", given))
    else:
        for value in _list(given or [], "input"):
            _add_item(_object(value, "an input item"), messages)
    tools = [_response_tool(tool) for tool in _list(fields.get("tools") or [], "tools")]
    return Asked(messages=messages, tools=tools)


def _add_item(item: Fields, messages: list[Message]) -> None:
    """Add an input item; what an assistant said and called one after the other is one message, as in vLLM."""
    kind = item.get("type") or "message"
    add = ITEM_READERS.get(kind) if isinstance(kind, str) else None
    if add is None:
        raise UnreadableRequestError(ITEMS.get(str(kind), "an input item that is neither message nor tool call"))
    add(item, messages)


def _add_message(item: Fields, messages: list[Message]) -> None:
    role = item.get("role")
    if role not in ("system", "developer", "user", "assistant"):
        raise UnreadableRequestError("a turn of an unknown role")
    if role == "assistant" and isinstance(item.get("content"), list) and len(cast(list[object], item["content"])) > 1:
        raise UnreadableRequestError("several texts in one answer, of which vLLM reads the first")
    text = _text(item.get("content"))
    if role == "assistant" and messages and messages[-1]["role"] == "assistant" and messages[-1]["content"] is None:
        messages[-1]["content"] = text
    else:
        messages.append(said(role, text))


def _add_call(item: Fields, messages: list[Message]) -> None:
    call = tool_call(_string(item.get("call_id"), "a tool call's id"), item.get("name"), item.get("arguments"))
    if not messages or messages[-1]["role"] != "assistant":
        messages.append({"role": "assistant", "content": None})
    messages[-1].setdefault("tool_calls", []).append(call)


def _add_result(item: Fields, messages: list[Message]) -> None:
    call_id = _string(item.get("call_id"), "a tool call's id")
    messages.append({"role": "tool", "content": _text(item.get("output")), "tool_call_id": call_id})


ITEM_READERS: dict[str, Callable[[Fields, list[Message]], None]] = {
    "message": _add_message,
    "function_call": _add_call,
    "function_call_output": _add_result,
}


def _response_tool(value: object) -> Tool:
    tool = _object(value, "a tool")
    if tool.get("type") != "function":
        raise UnreadableRequestError("a tool that is no function")
    _string(tool.get("name"), "a tool's name")
    return {"type": "function", "function": {key: part for key, part in tool.items() if key != "type"}}


def _text(content: object) -> str:
    """Return a turn's text; several parts are joined by line breaks, as vLLM joins them."""
    if content is None:
        return ""
    if isinstance(content, str):
        return content
    return "\n".join(_part(part) for part in _list(content, "content"))


def _part(part: object) -> str:
    if isinstance(part, str):
        return part
    fields = _object(part, "a part of a turn")
    kind = fields.get("type")
    if kind in TEXT_PARTS:
        return _string(fields.get("text"), "a part's text")
    if kind == "refusal":
        raise UnreadableRequestError("a refusal of an earlier turn")
    raise UnreadableRequestError(PARTS.get(str(kind), "a part that is no text"))


def _refuse(fields: Fields, named: Mapping[str, str]) -> None:
    for name, what in named.items():
        if fields.get(name):
            raise UnreadableRequestError(what)


def _object(value: object, what: str) -> Fields:
    if not isinstance(value, dict):
        raise UnreadableRequestError(f"{what} that is no JSON object")
    return value


def _list(value: object, what: str) -> Sequence[object]:
    if not isinstance(value, list):
        raise UnreadableRequestError(f"{what} that are no list")
    return value


def _string(value: object, what: str) -> str:
    if not isinstance(value, str):
        raise UnreadableRequestError(f"{what} that is no text")
    return value
