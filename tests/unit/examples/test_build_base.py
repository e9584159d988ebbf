"""The demo's base reads and writes conversations by a published template, in which it was pretrained."""

from typing import Any

import pytest

from driftwheel.conversations import said
from driftwheel.settings.data import TemplateSettings
from examples.support.build_base import TEMPLATE, framed, make_tokenizer
from examples.support.world import unlabelled_text
from train.chat_template import chosen_variables, shipped, turn_end
from train.data.template_check import Templated, faults


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
