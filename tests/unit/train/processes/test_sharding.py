"""Shares of a batch, and what several processes cannot train together."""

from typing import Any

import pytest

from driftwheel.errors import ConfigError
from driftwheel.settings.training import TrainSettings
from train.processes.sharding import IGNORED, OwnShare, check_processes, process_arguments


def row(number: int) -> dict[str, Any]:
    return {"input_ids": [number, 7, 8], "labels": [IGNORED, 7, 8]}


def shares(rows: int, processes: int) -> list[list[dict[str, Any]]]:
    batch = [row(number) for number in range(rows)]
    return [OwnShare(lambda own: own, index, processes)(batch) for index in range(processes)]


@pytest.mark.parametrize(("rows", "processes"), [(8, 2), (7, 2), (1, 2), (5, 4), (4, 4), (2, 4)])
def test_every_row_is_learned_once_and_all_processes_have_as_many(rows: int, processes: int) -> None:
    found = shares(rows, processes)

    learned = [own["input_ids"][0] for share in found for own in share if set(own["labels"]) != {IGNORED}]
    assert sorted(learned) == list(range(rows))
    assert {len(share) for share in found} == {-(-rows // processes)}


def test_a_share_without_a_row_holds_one_token_that_is_not_learned() -> None:
    assert shares(1, 2)[1] == [{"input_ids": [0], "labels": [IGNORED]}]


def test_batches_are_drawn_for_all_processes() -> None:
    train = TrainSettings(num_processes=4, per_device_train_batch_size=3, per_device_eval_batch_size=5)
    arguments = process_arguments(train)
    assert (arguments["per_device_train_batch_size"], arguments["per_device_eval_batch_size"]) == (12, 20)
    assert arguments["fsdp_config"]["version"] == 2
    assert process_arguments(TrainSettings()) == {}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"objective": "dpo"}, "train.objective dpo"),
        ({"method": "qlora"}, "4-bit weights"),
        ({"init_lora_weights": "pissa"}, "pissa"),
        ({"neftune_noise_alpha": 5.0}, "neftune"),
        ({"executor": "ray", "num_processes": 1}, "num_processes of 2"),
    ],
    ids=["preferences", "sharded 4-bit weights", "pissa", "neftune", "ray with one worker"],
)
def test_what_cannot_be_trained_together_is_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        check_processes(TrainSettings(**{"num_processes": 2, **changes}))


@pytest.mark.parametrize(
    "changes",
    [{}, {"method": "full"}, {"method": "qlora", "fsdp": False}, {"use_dora": True}, {"executor": "ray"}],
    ids=["lora", "full", "qlora that is not sharded", "dora", "ray"],
)
def test_what_can_be_trained_together_is_let_through(changes: dict[str, Any]) -> None:
    check_processes(TrainSettings(**{"num_processes": 2, **changes}))
