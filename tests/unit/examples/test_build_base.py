"""The demo's base reads and writes conversations by a published template, in which it was pretrained."""

from typing import Any

import pytest
import torch

from driftwheel.settings.data import TemplateSettings
from driftwheel.text.conversations import said
from examples.support.build_base import RECIPE, TEMPLATE, framed, make_model, make_tokenizer, pretrain
from examples.support.world import unlabelled_text
from train.chat_template import chosen_variables, shipped, turn_end
from train.data.splitting.template_check import Templated, faults


@pytest.fixture(scope="module")
def tokenizer() -> Any:
    return make_tokenizer(unlabelled_text(50, 0))


def test_the_template_is_a_published_one_that_needs_no_setting(tokenizer: Any) -> None:
    assert tokenizer.chat_template == shipped(TEMPLATE).read_text(encoding="utf-8")
    assert chosen_variables(tokenizer, TemplateSettings()) == {}
    assert turn_end(tokenizer) == [tokenizer.eos_token_id]
    row = Templated(name="row", prompt=[said("user", "Where is it?")], completion=[said("assistant", '{"intent":"a"}')])
    assert list(faults(tokenizer, frozenset({tokenizer.eos_token_id}), [row])) == []


def test_the_text_for_the_base_is_framed_as_the_template_frames_it(tokenizer: Any) -> None:
    for document in unlabelled_text(300, 0):
        assert framed(document) == tokenizer.apply_chat_template(document, tokenize=False)


def test_a_few_steps_teach_the_base_its_text_and_show_how_far_they_are(
    tokenizer: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    small = {"hidden_size": 64, "intermediate_size": 128, "layers": 2, "heads": 1, "key_value_heads": 1}
    recipe = {**RECIPE, **small, "block_tokens": 32, "batch_rows": 8, "steps": 30}
    torch.manual_seed(0)
    model = make_model(tokenizer, recipe)
    before = model.config._attn_implementation
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # so small products only wait for each other
    try:
        loss = pretrain(model, tokenizer, unlabelled_text(100, 0), 0, recipe, every_seconds=0.01)
    finally:
        torch.set_num_threads(threads)
    assert loss < 5.5, "of ln 1536 = 7.3 before the first step"
    assert model.config._attn_implementation == before
    assert "base model: " in capsys.readouterr().err, "also where the output is no terminal"
