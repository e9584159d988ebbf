"""The parser of tool calls is chosen by what the chat template writes, and a setting goes before it."""

import importlib.util
import json
from pathlib import Path

import pytest

from driftwheel.settings.serving import ServeSettings
from serve.engines.tool_parser import PARSERS, parser_for, template_of, tool_arguments
from serve.engines.vllm_command import vllm_command
from train.chat_template import shipped

QWEN = shipped("qwen2_5").read_text("utf-8")
HERMES = ["--enable-auto-tool-choice", "--tool-call-parser", "hermes"]


@pytest.mark.parametrize(
    ("template", "parser"),
    [
        ("qwen2_5", "hermes"),
        ("qwen3", "hermes"),
        ("qwen3_6", "qwen3_coder"),
        ("llama3_1", "llama3_json"),
        ("llama3_2", "llama3_json"),
        ("glm4moe", "glm45"),
        ("lfm2_v2", "lfm2"),
        ("gemma4", "gemma4"),
        ("gptoss", "openai"),
        ("nemotron_3_nano", "qwen3_coder"),
        ("llama3", None),
        ("gemma", None),
        ("phi3", None),
    ],
)
def test_a_template_names_its_familys_parser(template: str, parser: str | None) -> None:
    assert parser_for(shipped(template).read_text("utf-8")) == parser


def test_vllm_knows_every_parser_by_its_name() -> None:
    spec = importlib.util.find_spec("vllm")
    assert spec is not None
    assert spec.origin is not None
    known = (Path(spec.origin).parent / "tool_parsers" / "__init__.py").read_text("utf-8")
    assert [name for name, _ in PARSERS if f'"{name}": (' not in known] == []


def test_the_template_is_read_from_either_file(tmp_path: Path) -> None:
    assert (template_of(str(tmp_path)), template_of("hub/name")) == ("", "")
    config = tmp_path / "tokenizer_config.json"
    config.write_text(json.dumps({"chat_template": [{"name": "default", "template": "a"}]}), encoding="utf-8")
    assert template_of(str(tmp_path)) == "a"
    config.write_text(json.dumps({"chat_template": "b"}), encoding="utf-8")
    assert template_of(str(tmp_path)) == "b"
    (tmp_path / "chat_template.jinja").write_text("c", encoding="utf-8")
    assert template_of(str(tmp_path)) == "c"


def test_settings_and_arguments_go_before_the_template(tmp_path: Path) -> None:
    (tmp_path / "chat_template.jinja").write_text(QWEN, encoding="utf-8")
    model = str(tmp_path)
    assert tool_arguments(ServeSettings(), model) == HERMES
    assert tool_arguments(ServeSettings(engine_args=["--tokenizer", model]), "hub/base") == HERMES
    assert tool_arguments(ServeSettings(tool_call_parser="none"), model) == []
    assert tool_arguments(ServeSettings(tool_call_parser="xlam"), model) == [*HERMES[:2], "xlam"]
    given = ServeSettings(engine_args=["--enable-auto-tool-choice", "--tool-call-parser", "pythonic"])
    command = vllm_command(given, model, "v1", 1234)
    assert (command.count("--tool-call-parser"), command[-1]) == (1, "pythonic")
    assert vllm_command(ServeSettings(), model, "v1", 1234)[-3:] == HERMES
