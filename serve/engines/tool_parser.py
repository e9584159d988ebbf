"""Chooses vLLM's parser of tool calls by what a model's chat template writes around them.

An engine without the parser of its model's family gives calls back as text, or refuses `tool_choice: auto`.
"""

import json
from collections.abc import Sequence
from pathlib import Path

from driftwheel.settings.serving import ServeSettings

PARSERS: tuple[tuple[str, tuple[str, ...]], ...] = (
    ("openai", ("<|channel|>commentary",)),
    ("glm45", ("<arg_key>",)),
    ("qwen3_coder", ("<tool_call>", "<function=")),
    ("hermes", ("<tool_call>", '"arguments"')),
    ("deepseek_v31", ("<｜tool▁calls▁begin｜>", "<｜tool▁sep｜>", "thinking")),
    ("deepseek_v3", ("<｜tool▁calls▁begin｜>",)),
    ("kimi_k2", ("<|tool_calls_section_begin|>",)),
    ("mistral", ("[TOOL_CALLS]",)),
    ("lfm2", ("<|tool_call_start|>",)),
    ("gemma4", ("<|tool_call>",)),
    ("functiongemma", ("<start_function_call>",)),
    ("granite", ("<|tool_call|>",)),
    ("llama3_json", ("Environment: ipython", '"parameters"')),
    ("phi4_mini_json", ("<|tool|>",)),
)
"""vLLM's names of the parsers (vLLM 0.32) with what their templates hold; the first whose marks are all there is it."""


def tool_arguments(serve: ServeSettings, model: str) -> list[str]:
    """Return the arguments of an engine that reads tool calls; none where the template writes no calls."""
    if "--tool-call-parser" in serve.engine_args or serve.tool_call_parser == "none":
        return []
    name = serve.tool_call_parser
    if name == "auto":
        name = parser_for(template_of(_tokenizer(serve.engine_args) or model)) or ""
    return ["--enable-auto-tool-choice", "--tool-call-parser", name] if name else []


def parser_for(template: str) -> str | None:
    """Return vLLM's name of the parser for a chat template; None if it takes no tools, or is of no known family."""
    if "tools" not in template:
        return None
    # Templates write quotation marks within JSON with and without escapes.
    plain = template.replace('\\"', '"')
    return next((name for name, marks in PARSERS if all(mark in plain for mark in marks)), None)


def template_of(folder: str) -> str:
    """Return the chat template of a model's folder; empty for a hub's name, or where there is none."""
    path = Path(folder)
    if (path / "chat_template.jinja").is_file():
        return (path / "chat_template.jinja").read_text(encoding="utf-8")
    try:
        template = json.loads((path / "tokenizer_config.json").read_text(encoding="utf-8")).get("chat_template")
    except (OSError, ValueError):
        return ""
    if isinstance(template, list):  # older tokenizers name a template for tools beside the default one
        named = {entry.get("name"): entry.get("template") for entry in template if isinstance(entry, dict)}
        template = named.get("tool_use") or named.get("default")
    return template if isinstance(template, str) else ""


def _tokenizer(engine_args: Sequence[str]) -> str | None:
    """Return the tokenizer that an engine is told to use beside its model, such as an adapter's."""
    return engine_args[engine_args.index("--tokenizer") + 1] if "--tokenizer" in engine_args[:-1] else None
