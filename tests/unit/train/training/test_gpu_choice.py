"""What a GPU trains with, by capability, packages and settings; none of it has run on one."""

from dataclasses import fields
from typing import Any

import pytest
from transformers import TrainingArguments

from driftwheel.settings.training import TrainSettings
from train.training.gpu_choice import LIGER, PACKAGES, GpuChoice, gpu_choice

BOTH = frozenset(PACKAGES)
HOPPER, TURING = (9, 0), (7, 5)
FLASH = GpuChoice(attention="flash_attention_2", is_padding_free=True)


@pytest.mark.parametrize(
    ("settings", "capability", "packages", "choice"),
    [
        ({}, None, BOTH, GpuChoice()),
        ({}, HOPPER, frozenset(), GpuChoice()),
        ({}, HOPPER, {"flash_attn"}, FLASH),
        ({}, HOPPER, {"liger_kernel"}, GpuChoice(has_liger=True)),
        ({}, TURING, BOTH, GpuChoice(has_liger=True)),
        ({"bf16": False}, HOPPER, BOTH, GpuChoice(has_liger=True)),
        ({"method": "qlora"}, HOPPER, BOTH, FLASH),
        ({"objective": "dpo"}, HOPPER, {"flash_attn"}, GpuChoice(attention="flash_attention_2")),
        ({"class_weights": "balanced"}, HOPPER, {"flash_attn"}, GpuChoice(attention="flash_attention_2")),
    ],
)
def test_what_is_installed_is_used_where_it_computes_the_same(
    settings: dict[str, Any], capability: tuple[int, int] | None, packages: frozenset[str], choice: GpuChoice
) -> None:
    assert gpu_choice(TrainSettings(**{"bf16": True, **settings}), capability, packages) == choice


def test_what_the_trainer_is_told_are_arguments_that_it_knows() -> None:
    assert GpuChoice().arguments == {}
    known = {field.name for field in fields(TrainingArguments)}
    assert GpuChoice(has_liger=True).arguments.keys() <= known
    assert not LIGER["fused_linear_cross_entropy"], "TRL refuses it: its own head is fused already"


def test_the_optimizer_is_fused_unless_another_is_set() -> None:
    assert TrainSettings().optim == "adamw_torch_fused"
