"""Shares of a batch, and what a trainer is told of its processes."""

from typing import Any

import pytest

from driftwheel.settings.training import TrainSettings
from train.training.sharding import IGNORED, OwnShare, process_arguments


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
