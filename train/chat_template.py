"""Decides on the chat template of a base model: its own or a given one, its variables, and where a turn ends.

What is decided is written into the tokenizer, and so into each form of the model that is saved with it. Whoever reads
such a folder, the trainer, the parity or an engine here or elsewhere, renders alike without being told anything.
"""

import hashlib
import importlib.util
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import jinja2

from driftwheel.errors import ConfigError
from driftwheel.settings.data import SHIPPED, TemplateSettings, Variable
from train.template_screen import screen_template

RENDER_ERRORS = (jinja2.TemplateError, TypeError, ValueError, LookupError, AttributeError)
"""What a template raises: its own refusal, or the error of an expression that meets what its author did not expect."""
THOUGHTS = ("enable_thinking", "thinking")
"""Variables by which hybrid templates are told whether to think (Qwen, GLM, Nemotron; DeepSeek, Granite)."""
ANSWER = "It is on."
ASKED, ANSWERED = [{"role": "user", "content": "Is it on?"}], [{"role": "assistant", "content": ANSWER}]
"""A conversation that every template for text can render."""


def set_template(tokenizer: Any, settings: TemplateSettings) -> None:
    """Write a template and its variables into a base model's tokenizer; without a template it stays without.

    Raises ConfigError for a file that cannot be read, a variable that the template does not know, or a template that
    does what no honest one needs.
    """
    text = _read(settings.file) if settings.file else _own(tokenizer.chat_template)
    if not text:
        return
    screen_template(text)
    if unknown := [name for name in settings.kwargs or {} if name not in text]:
        raise ConfigError(f"model.template.kwargs sets {unknown[0]}, which the chat template does not know; remove it")
    tokenizer.chat_template = text
    tokenizer.chat_template = with_variables(text, chosen_variables(tokenizer, settings))


def chosen_variables(tokenizer: Any, settings: TemplateSettings) -> Mapping[str, Variable]:
    """Return the variables of the settings, or those without which a template puts thoughts before each answer.

    A model that learns an empty block of thoughts before its answers says it to its users, too: vLLM takes it for a
    part of the answer.
    """
    if settings.kwargs is not None:
        return settings.kwargs
    if answers_at_once(tokenizer, {}):
        return {}
    quiet = [{name: False} for name in THOUGHTS if name in tokenizer.chat_template]
    return next((variables for variables in quiet if answers_at_once(tokenizer, variables)), {})


def answers_at_once(tokenizer: Any, variables: Mapping[str, Variable]) -> bool:
    """Say whether an answer follows the prompt without anything in between."""
    try:
        given = tokenizer.apply_chat_template(ASKED, tokenize=False, add_generation_prompt=True, **variables)
        whole = tokenizer.apply_chat_template([*ASKED, *ANSWERED], tokenize=False, **variables)
    except RENDER_ERRORS:
        return False  # what it refuses is said of the rows, by their names
    return bool(whole.startswith(given) and whole[len(given) :].lstrip().startswith(ANSWER))


def with_variables(template: str, variables: Mapping[str, Variable]) -> str:
    """Return a template that sets variables which its caller does not give, as a default of an engine would.

    `+%}` keeps a newline with which the template begins; a template that begins so already is returned as it is.
    """
    head = "".join(
        f"{{% if {name} is not defined %}}{{% set {name} = {json.dumps(value, ensure_ascii=False)} %}}{{% endif +%}}"
        for name, value in sorted(variables.items())
    )
    return template if template.startswith(head) else head + template


def shipped(name: str) -> Path:
    """Return the file of a template that ships inside TRL; raises ConfigError."""
    path = _shipped_folder() / f"{name}.jinja"
    if not path.is_file():
        known = ", ".join(sorted(other.stem for other in path.parent.glob("*.jinja")))
        raise ConfigError(f"TRL ships no chat template {name!r}; model.template.file may name one of: {known}")
    return path


def _shipped_folder() -> Path:
    # Looked for and not imported: TRL takes seconds, and its templates are files.
    found = importlib.util.find_spec("trl")
    folders = list(found.submodule_search_locations or []) if found else []
    return Path(folders[0] if folders else ".") / "chat_templates"


def alternatives(template: str) -> Iterator[tuple[str, str]]:
    """Give settings that make another template of a base's own, each with what it makes."""
    for name in THOUGHTS:
        for value in (False, True) if name in template else ():
            yield f"model.template.kwargs to {{{name}: {str(value).lower()}}}", with_variables(template, {name: value})
    for path in sorted(_shipped_folder().glob("*_training.jinja")):
        plain = path.with_stem(path.stem.removesuffix("_training"))
        text = plain.read_text(encoding="utf-8") if plain.is_file() else None
        if text and template.endswith(text):
            variant = template.removesuffix(text) + path.read_text(encoding="utf-8")
            yield f"model.template.file to {SHIPPED}{path.stem}", variant


def template_hash(file: str) -> str:
    """Return the sha256 of the template that `model.template.file` names; raises ConfigError."""
    return hashlib.sha256(_read(file).encode()).hexdigest()


def _read(file: str) -> str:
    path = shipped(file.removeprefix(SHIPPED)) if file.startswith(SHIPPED) else Path(file)
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"cannot read model.template.file {path}: {error}; name a Jinja file") from error


def _own(template: str | Mapping[str, str] | None) -> str | None:
    """Return the base's own template; of several that have names, the one for a plain conversation."""
    return template.get("default") if isinstance(template, Mapping) else template


def name_end(tokenizer: Any, ends: frozenset[int]) -> None:
    """Make the token that ends an answer the tokenizer's end, where generation stops at none of the answer's tokens.

    A base that was never tuned on conversations stops at `<|endoftext|>` alone, and would talk on after each answer.
    """
    own = turn_end(tokenizer)
    if own and ends.isdisjoint(own):
        tokenizer.eos_token = tokenizer.convert_ids_to_tokens(own[0])


def turn_end(tokenizer: Any) -> list[int]:
    """Return the ids of the special tokens that the template writes after an answer; none without a template."""
    if not tokenizer.chat_template:
        return []
    try:
        whole = tokenizer.apply_chat_template([*ASKED, *ANSWERED], tokenize=False)
    except RENDER_ERRORS:
        return []
    rest = tokenizer(whole[whole.rfind(ANSWER) + len(ANSWER) :], add_special_tokens=False)["input_ids"]
    return [number for number in rest if number in tokenizer.added_tokens_decoder]
