"""Reads lists of messages in the ways of OpenAI, ShareGPT and others as one form, and finds the turn to learn."""

from typing import Any

from driftwheel.text.conversations import Message, Role, is_learned, said
from train.reading.raw_rows import RawRow
from train.shapes.columns import Columns, is_empty, json_cell, refuse_keys, text_of_cell
from train.shapes.tool_calls import Calls

CALLS: Role = "assistant"
NAMES: dict[Role, str] = {
    "system": "system",
    "developer": "developer",
    "user": "user human prompter",
    "assistant": "assistant gpt bot model chatgpt chatbot ai bard bing claude",
    "tool": "tool observation function function_response function_result tool_response tool_result ipython",
}
ROLES: dict[str, Role] = {name: role for role, names in NAMES.items() for name in names.split()}
CALLING = ("function_call", "tool_call", "tool_calls")
"""Roles, and in other data sets columns, that hold a call instead of a text."""
LEARNED = ("weight", "loss", "train", "training", "trainable", "learn")
NOT_LEARNED = ("masked",)
"""Keys that say whether a turn is learned, as 0 and 1 or as truth values: OpenAI's, and those of other trainers."""
UNSAYABLE = ("reasoning_content", "reasoning", "thinking", "refusal", "prefix")
"""What a message may say beside its text, and has no place in a row."""
READ = {"role", "from", "content", "value", "name", "tool_call_id", *CALLING, *LEARNED, *NOT_LEARNED}


def turns_of(row: Columns, value: Any, name: str) -> list[Message]:
    """Return a conversation given as messages; a CSV file has them as JSON text. Raises TypeError or ValueError."""
    value = json_cell(value, name)
    if not isinstance(value, list):
        raise TypeError(f"{name} is a {type(value).__name__}, not a list of messages")
    calls = Calls()
    turns = [_message(row, calls, message, f"{name}[{number}]") for number, message in enumerate(value)]
    # A system turn that says nothing is how some files write that there is none.
    return [turn for turn in turns if turn["role"] != "system" or turn["content"]]


def chat_of(row: Columns, value: Any, name: str) -> list[Message]:
    """Return a prompt given as text or as messages; a cell of a table has these as JSON."""
    if isinstance(value, str) and value.lstrip().startswith("[{") and ('"role"' in value or '"from"' in value):
        value = json_cell(value, name)
    return turns_of(row, value, name) if isinstance(value, list) else [said("user", text_of_cell(value, name))]


def with_system(row: Columns, turns: list[Message]) -> list[Message]:
    """Return turns with the text of the column `system` before them; raises ValueError where both have one."""
    if not row.holds("system"):
        return turns
    told = said("system", text_of_cell(row.get("system"), "system"))
    if turns and turns[0]["role"] in ("system", "developer"):
        if turns[0]["content"] == told["content"]:
            return turns
        raise ValueError("system is a column, and the conversation begins with another system turn")
    return [told, *turns]


def split_turns(turns: list[Message]) -> tuple[list[Message], Message]:
    """Return the last turn that may be learned, and what stands before it; raises ValueError if there is none."""
    learned = [number for number, turn in enumerate(turns) if is_learned(turn)]
    if learned:
        return turns[: learned[-1]], turns[learned[-1]]
    if any(turn["role"] == "assistant" for turn in turns):
        raise ValueError("has no turn to learn: every turn of the assistant has weight 0")
    raise ValueError("holds no user turn followed by an assistant turn")


def _message(row: Columns, calls: Calls, value: Any, name: str) -> Message:
    if not isinstance(value, dict):
        raise TypeError(f"{name} is a {type(value).__name__}, not a message")
    refuse_keys(value, f"{name}.")
    said_beside = next((key for key in UNSAYABLE if not is_empty(value.get(key)) and value[key] is not False), None)
    if said_beside:
        raise ValueError(f"{name}.{said_beside} has no place in a row; put it into the content, or leave it out")
    row.unused_within.update(f"{name.split('[')[0]}[].{k}" for k in value if k not in READ and not is_empty(value[k]))
    role = value.get("role", value.get("from"))
    known = role.strip().lower() if isinstance(role, str) else ""
    if known in CALLING:
        made = calls.made(_first(value, "content", "value"), f"{name}'s content")
        message: Message = {"role": CALLS, "content": None, "tool_calls": made}
    elif known in ROLES:
        message = _said(calls, ROLES[known], value, name)
    else:
        raise ValueError(f"{name} has the unknown role {role!r}")
    return _weighed(message, value, name)


def _said(calls: Calls, role: Role, value: RawRow, name: str) -> Message:
    message: Message = {"role": role, "content": None}
    calling = next((key for key in CALLING if not is_empty(value.get(key))), None)
    if calling:
        if role != "assistant":
            raise ValueError(f"{name}.{calling} stands in the turn of a {role}")
        message["tool_calls"] = calls.made(value[calling], f"{name}.{calling}")
    content = _content(_first(value, "content", "value"), f"{name}'s content")
    if not calling and role == "system" and is_empty(content):
        return said(role, "")
    if not (calling and is_empty(content)) and not (role == "tool" and content == ""):
        message["content"] = text_of_cell(content, f"{name}'s content")
    if role == "tool":
        message["content"] = message["content"] or ""
        message["tool_call_id"] = calls.answered(value.get("tool_call_id"), name)
    if not is_empty(value.get("name")):
        message["name"] = text_of_cell(value["name"], f"{name}.name")
    return message


def _first(value: RawRow, *names: str) -> Any:
    return next((value[name] for name in names if value.get(name) is not None), None)


def _content(value: Any, name: str) -> Any:
    """Return the text of content that is given in parts, joined as vLLM joins them; raises ValueError for others."""
    if not isinstance(value, list):
        return value
    for number, part in enumerate(value):
        kind = part.get("type") if isinstance(part, dict) else type(part).__name__
        if kind != "text":
            raise ValueError(f"{name}[{number}] is of the type {kind!r}; only text can be learned")
    return "\n".join(text_of_cell(part.get("text"), f"{name}[{number}]") for number, part in enumerate(value))


def _weighed(message: Message, value: RawRow, name: str) -> Message:
    """Return a message with what the file says about learning it; raises ValueError for what cannot be obeyed."""
    for key in (*LEARNED, *NOT_LEARNED):
        if is_empty(value.get(key)):
            continue
        if not isinstance(value[key], bool | int | float) or value[key] not in (0, 1):
            raise ValueError(f"{name}.{key} is {value[key]!r}; a turn is learned (1) or not (0)")
        is_to_learn = bool(value[key]) != (key in NOT_LEARNED)
        if message["role"] == "assistant":
            message["weight"] = 1 if is_to_learn and message.get("weight", 1) else 0
        elif is_to_learn and key not in NOT_LEARNED:
            raise ValueError(f"{name}.{key} wants the turn of a {message['role']} learned; only an assistant's can be")
    return message
