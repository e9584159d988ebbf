"""Memory: what can be counted by hand is counted so, and the rest moves as it must."""

from pathlib import Path
from typing import Any

import pytest

from driftwheel.settings.training import TrainSettings
from train.base_model import load_config, load_weights
from train.sizing.memory import estimate

SHAPE = {"per_device_train_batch_size": 2, "max_length": 32}


def of(base: Path, **changes: Any) -> Any:
    return estimate(load_config(str(base)), TrainSettings(**{**SHAPE, **changes}))


def test_full_training_holds_weights_gradients_and_two_states_in_float32(tiny_base: Path) -> None:
    weights = sum(p.numel() for p in load_weights(str(tiny_base), "float32").parameters())
    found = of(tiny_base, method="full")
    assert (found.parameters, found.trainable) == (weights, weights)
    assert (found.weights, found.gradients, found.optimizer) == (4 * weights, 4 * weights, 8 * weights)


def test_adapters_have_gradients_and_states_and_a_bfloat16_base_has_none(tiny_base: Path) -> None:
    weights = sum(p.numel() for p in load_weights(str(tiny_base), "float32").parameters())
    # Two layers of width 64: q, k, v, o are 64 x 64, gate and up 64 x 128, down 128 x 64; a rank-4 adapter is 4 x both.
    adapters = 2 * 4 * (4 * (64 + 64) + 3 * (64 + 128))
    found = of(tiny_base, lora_r=4)
    assert (found.parameters, found.trainable) == (weights, adapters)
    assert found.weights == 2 * weights + 4 * adapters
    assert (found.gradients, found.optimizer) == (4 * adapters, 8 * adapters)


def test_what_autograd_keeps_is_what_it_keeps_when_the_model_really_runs(tiny_base: Path) -> None:
    import torch

    model = load_weights(str(tiny_base), "float32").train()
    own = {p.data_ptr() for p in model.parameters()}
    saved: dict[int, Any] = {}

    def note(tensor: Any) -> Any:
        if tensor.untyped_storage().data_ptr() not in own:
            saved[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
        hidden = model.model(input_ids=torch.zeros(2, 32, dtype=torch.long), use_cache=False)
    assert hidden is not None
    found = of(tiny_base, method="full", bf16=False).activations
    assert found == pytest.approx(sum(s.nbytes() for s in saved.values()), rel=0.03)


@pytest.mark.parametrize(
    ("less", "more", "part"),
    [
        ({}, {"per_device_train_batch_size": 8}, "activations"),
        ({}, {"max_length": 128}, "activations"),
        ({"gradient_checkpointing": True}, {}, "activations"),
        ({}, {"use_dora": True}, "activations"),
        ({"method": "qlora"}, {}, "weights"),
        ({}, {"init_lora_weights": "pissa"}, "weights"),
        ({"method": "full", "optim": "adafactor"}, {"method": "full", "optim": "paged_adamw_8bit"}, "optimizer"),
        ({"method": "full", "optim": "paged_adamw_8bit"}, {"method": "full"}, "optimizer"),
    ],
    ids=["batch", "length", "checkpointing", "dora", "4 bits", "pissa is float32", "adafactor", "8 bits"],
)
def test_takes_more_where_it_must(tiny_base: Path, less: dict[str, Any], more: dict[str, Any], part: str) -> None:
    assert getattr(of(tiny_base, **less), part) < getattr(of(tiny_base, **more), part)


def test_examples_shorter_than_the_limit_take_less(tiny_base: Path) -> None:
    train = TrainSettings(**SHAPE)
    config = load_config(str(tiny_base))
    assert estimate(config, train, tokens=8).activations < estimate(config, train).activations
    assert estimate(config, train, tokens=999).activations == estimate(config, train).activations


def test_processes_that_share_a_machine_take_its_memory_together(tiny_base: Path) -> None:
    config = load_config(str(tiny_base))
    together = TrainSettings(**SHAPE, num_processes=2)
    alone = of(tiny_base).total
    assert estimate(config, together).total == 2 * alone
    on_nodes = together.model_copy(update={"executor": "ray"})
    assert estimate(config, on_nodes).total == alone
    assert estimate(config, together, is_cuda=True).total < alone
