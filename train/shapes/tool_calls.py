"""Reads tools and their calls in the ways of OpenAI (also its older `functions`), ShareGPT and LLaMA-Factory."""

import json
from typing import Any

from driftwheel.text.conversations import Tool, ToolCall
from train.shapes.columns import Columns, check_text, is_empty, json_cell


def tools_of(row: Columns) -> list[Tool]:
    """Return the tools that a row offers; raises TypeError or ValueError."""
    name = "functions" if row.holds("functions") and not row.holds("tools") else "tools"
    value = row.get(name)
    if is_empty(value):
        return []
    value = json_cell(value, name)
    if not isinstance(value, list):
        raise TypeError(f"{name} is a {type(value).__name__}, not a list of tools")
    return [_tool(tool, f"{name}[{number}]") for number, tool in enumerate(value)]


def _tool(value: Any, name: str) -> Tool:
    value = json_cell(value, name)
    if not isinstance(value, dict):
        raise TypeError(f"{name} is a {type(value).__name__}, not a tool")
    function = value if is_empty(value.get("function")) else value["function"]
    if value.get("type", "function") not in ("function", None) and function is not value:
        raise ValueError(f"{name} has the type {value['type']!r}; only functions can be learned")
    if not isinstance(function, dict) or not isinstance(function.get("name"), str) or not function["name"]:
        raise ValueError(f"{name} has no function with a name")
    check_text(json.dumps(value, ensure_ascii=False), name)
    schema = json_cell(function.get("parameters"), f"{name}.parameters")
    described = {key: part for key, part in function.items() if part is not None and key != "type"}
    return {"type": "function", "function": {**described, **({"parameters": schema} if schema is not None else {})}}


class Calls:
    """The calls of one conversation: each gets an id, and each result the id of the call that it answers."""

    def __init__(self) -> None:
        self._made = 0
        self._open: list[str] = []

    def made(self, value: Any, name: str) -> list[ToolCall]:
        """Return the calls of one turn; one call may stand without a list. Raises TypeError or ValueError."""
        value = json_cell(value, name)
        values = value if isinstance(value, list) else [value]
        return [self._call(call, f"{name}[{number}]") for number, call in enumerate(values)]

    def answered(self, call_id: Any, name: str) -> str:
        """Return the id of the call that a result answers; without one it is the first that has no result yet."""
        if isinstance(call_id, str) and call_id:
            if call_id not in self._open:
                raise ValueError(f"{name} answers the call {call_id!r}, which no turn before it makes")
            self._open.remove(call_id)
            return call_id
        if not self._open:
            raise ValueError(f"{name} is the result of a tool that no turn before it calls")
        return self._open.pop(0)

    def _call(self, value: Any, name: str) -> ToolCall:
        if not isinstance(value, dict):
            raise TypeError(f"{name} is a {type(value).__name__}, not a call")
        function = value if is_empty(value.get("function")) else value["function"]
        if not isinstance(function, dict) or not isinstance(function.get("name"), str) or not function["name"]:
            raise ValueError(f"{name} names no function")
        given = value.get("id")
        call_id: str = given if isinstance(given, str) and given else f"call_{self._made}"
        self._made += 1
        self._open.append(call_id)
        arguments = _arguments(function.get("arguments", function.get("parameters")), f"{name}.arguments")
        check_text(function["name"] + arguments, name)
        return {"id": call_id, "type": "function", "function": {"name": function["name"], "arguments": arguments}}


def _arguments(value: Any, name: str) -> str:
    """Return arguments as the text that clients and engines send: a JSON object."""
    if is_empty(value) and not isinstance(value, str):
        return "{}"
    parsed = json_cell(value, name)
    if not isinstance(parsed, dict):
        raise ValueError(f"{name} is no JSON object")
    try:
        written = json.dumps(parsed, ensure_ascii=False, allow_nan=False)
    except ValueError as error:
        raise ValueError(f"{name} holds NaN or an infinite number, which no JSON has") from error
    check_text(written, name)
    return value if isinstance(value, str) else written
