"""A base model's template is its own or a given one, with its variables set, and a turn ends where generation stops."""

from pathlib import Path
from typing import Any

import pytest

from driftwheel.errors import ConfigError
from driftwheel.settings.data import Base, TemplateSettings
from driftwheel.settings.load import load_settings
from tests.support.shipped_templates import make_tokenizer, names, save_tokenizer
from train.base_model import load_base_tokenizer, load_tokenizer
from train.chat_template import (
    ANSWERED,
    ASKED,
    THOUGHTS,
    answers_at_once,
    chosen_variables,
    name_end,
    set_template,
    shipped,
    template_hash,
    turn_end,
    with_variables,
)

HYBRID = [name for name in names() if any(word in shipped(name).read_text("utf-8") for word in THOUGHTS)]


def base_of(folder: Path, **template: Any) -> Base:
    return Base(name="base", source=str(folder), template=TemplateSettings(**template))


def rendered(tokenizer: Any, **variables: Any) -> list[str]:
    asked = tokenizer.apply_chat_template(ASKED, tokenize=False, add_generation_prompt=True, **variables)
    return [asked, tokenizer.apply_chat_template([*ASKED, *ANSWERED, *ASKED], tokenize=False, **variables)]


@pytest.mark.parametrize("name", HYBRID)
def test_variables_that_are_written_into_a_template_do_what_they_do_when_given(name: str) -> None:
    tokenizer = make_tokenizer(shipped(name).read_text("utf-8"))
    plain = tokenizer.chat_template
    quiet, loud = (dict.fromkeys(THOUGHTS, value) for value in (False, True))
    given = rendered(tokenizer, **quiet), rendered(tokenizer, **loud)
    tokenizer.chat_template = with_variables(plain, quiet)
    # Who asks for something else, as a client of an engine may, gets it.
    assert (rendered(tokenizer), rendered(tokenizer, **loud)) == given
    assert with_variables(tokenizer.chat_template, quiet) == tokenizer.chat_template


def test_a_variable_may_be_any_text() -> None:
    said = 'plain "as" it\n\\ is: é 🙂'
    assert rendered(make_tokenizer(with_variables("{{ style }}", {"style": said})))[0] == said


def test_a_newline_at_the_beginning_of_a_template_stays() -> None:
    tokenizer = make_tokenizer("\n\n{% for m in messages %}{{ m.content }}{% endfor %}")
    before = rendered(tokenizer)
    tokenizer.chat_template = with_variables(tokenizer.chat_template, {"enable_thinking": False})
    assert rendered(tokenizer) == before


def test_thoughts_are_left_out_where_a_template_would_put_them_before_each_answer() -> None:
    tokenizers = {name: make_tokenizer(shipped(name).read_text("utf-8")) for name in names()}
    chosen = {name: chosen_variables(tokenizer, TemplateSettings()) for name, tokenizer in tokenizers.items()}
    thinking = {"qwen3", "qwen3_5_think", "qwen3_6", "qwen3_8", "glm4moe"}
    thinking |= {name for name in names() if name.startswith("nemotron")}
    assert {name for name, variables in chosen.items() if variables} == thinking
    assert all(chosen[name] == {"enable_thinking": False} for name in thinking)


def test_empty_kwargs_let_the_template_think(tmp_path: Path) -> None:
    folder = save_tokenizer(tmp_path, "qwen3")
    quiet, asked_for = load_base_tokenizer(base_of(folder)), load_base_tokenizer(base_of(folder, kwargs={}))
    assert asked_for.chat_template == shipped("qwen3").read_text("utf-8")
    assert (answers_at_once(quiet, {}), answers_at_once(asked_for, {})) == (True, False)


@pytest.mark.parametrize(
    ("name", "end"),
    [("qwen2_5", "<|im_end|>"), ("gemma", "<end_of_turn>"), ("llama3", "<|eot_id|>"), ("phi3", "<eos>")],
)
def test_a_base_that_stops_elsewhere_stops_where_its_template_ends_a_turn(tmp_path: Path, name: str, end: str) -> None:
    """Phi's turn ends with two tokens, at the second of which generation stops anyway."""
    tokenizer = load_base_tokenizer(base_of(save_tokenizer(tmp_path, name)))
    assert tokenizer.eos_token == end
    tokenizer.save_pretrained(tmp_path / "saved")
    assert load_tokenizer(str(tmp_path / "saved")).eos_token == end


def test_an_end_that_the_generation_defaults_name_is_enough() -> None:
    tokenizer = make_tokenizer(shipped("gemma").read_text("utf-8"))
    (end,) = turn_end(tokenizer)
    name_end(tokenizer, frozenset({tokenizer.eos_token_id, end}))
    assert tokenizer.eos_token == "<eos>"


def test_a_base_without_a_template_gets_one_by_the_settings(tmp_path: Path) -> None:
    folder = save_tokenizer(tmp_path / "base", "qwen2_5")
    (folder / "chat_template.jinja").unlink()
    with pytest.raises(ConfigError, match=r"no chat template.*model\.template\.file"):
        load_base_tokenizer(base_of(folder))
    file = tmp_path / "own.jinja"
    file.write_text(shipped("lfm2").read_text("utf-8"), encoding="utf-8")
    for given in (str(file), "trl:lfm2"):
        assert load_base_tokenizer(base_of(folder, file=given)).chat_template == shipped("lfm2").read_text("utf-8")


def test_of_templates_with_names_the_one_for_plain_conversations_is_taken() -> None:
    tokenizer = make_tokenizer("")
    tokenizer.chat_template = {"rag": "no", "default": shipped("lfm2").read_text("utf-8")}
    set_template(tokenizer, TemplateSettings())
    assert tokenizer.chat_template == shipped("lfm2").read_text("utf-8")


def test_a_variable_that_the_template_does_not_know_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="sets enable_thinkng, which the chat template does not know"):
        load_base_tokenizer(base_of(save_tokenizer(tmp_path, "qwen3"), kwargs={"enable_thinkng": False}))


@pytest.mark.parametrize(("file", "said"), [("trl:qwen4", "qwen3_5_think"), ("gone.jinja", "cannot read")])
def test_a_file_that_is_not_there_is_named(tmp_path: Path, file: str, said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        load_base_tokenizer(base_of(save_tokenizer(tmp_path, "qwen2_5"), file=file))


def test_the_file_is_relative_to_the_settings(tmp_path: Path) -> None:
    path = tmp_path / "driftwheel.yaml"
    text = "project: p\nmodel: {base: b, template: {file: FILE}}\ndataset: {sources: [s]}\n"
    for file, expected in (("own.jinja", str(tmp_path / "own.jinja")), ("trl:qwen3", "trl:qwen3")):
        path.write_text(text.replace("FILE", file), encoding="utf-8")
        assert load_settings(path, environ={}).base.template.file == expected
    flag = ["model.template.kwargs={enable_thinking: false}"]
    assert load_settings(path, flag, environ={}).base.template.kwargs == {"enable_thinking": False}
    with pytest.raises(ConfigError, match=r"model\.template\.kwargs"):
        load_settings(path, ["model.template.kwargs={not a name: 1}"], environ={})


def test_a_changed_file_is_another_template(tmp_path: Path) -> None:
    file = tmp_path / "own.jinja"
    file.write_text("a", encoding="utf-8")
    before = template_hash(str(file))
    file.write_text("b", encoding="utf-8")
    assert template_hash(str(file)) != before
