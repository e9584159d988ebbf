"""Data-parallel and fully sharded training (DDP, FSDP2): shared batches, sharded weights, whole results.

N processes take the very steps that one process with N times the batch would take. Each draws the same batches and
keeps its share of every one; the loss is normalized by the completion tokens of the whole batch (TRL counts them over
all processes). So the order of the rows, the last and smaller batch, and the validation loss stay what they were.
"""

import resource
from collections.abc import Sequence
from functools import partial
from types import MethodType
from typing import Any

import torch
from accelerate.data_loader import prepare_data_loader
from accelerate.state import PartialState
from accelerate.utils import DistributedType
from transformers import TrainerCallback

from driftwheel.settings.training import TrainSettings
from train.training.class_weights import ROW_WEIGHT
from train.training.methods import Weights

Arguments = dict[str, Any]
"""Keyword arguments of a trainer of TRL."""
Batch = dict[str, Any]
"""Rows or tensors by the name of their column."""
IGNORED = -100
"""Label of a token that is not learned."""


def process_arguments(train: TrainSettings) -> Arguments:
    """Return what a trainer is told about the processes; batches are drawn whole and shared out later."""
    if train.num_processes == 1:
        return {}
    batches = {
        key: getattr(train, key) * train.num_processes
        for key in ("per_device_train_batch_size", "per_device_eval_batch_size")
    }
    return {**batches, **_sharding(train)}


def _sharding(train: TrainSettings) -> Arguments:
    if not train.fsdp:
        return {"ddp_find_unused_parameters": False}
    # Gradient checkpointing stays the model's own. FSDP2's renames the layers, and PEFT then finds no adapter to save.
    return {"fsdp": True, "fsdp_config": {"version": 2, "state_dict_type": "FULL_STATE_DICT"}}


def prepare_sharding(arguments: Any) -> None:
    """Finish a trainer's arguments, where they shard; call it before the trainer is made.

    Weights are gathered and gradients summed in the types that they have, float32 for what is trained; autocast chooses
    the types of the products, as it does in one process. Accelerate 1.15 shards on the devices that its
    AcceleratorState lists, and a CPU is not among them. Its FSDP2 itself runs on one with gloo, which is how a machine
    without GPUs proves and tests what GPUs do.
    """
    if not arguments.fsdp:
        return
    from torch.distributed.fsdp import MixedPrecisionPolicy

    arguments.fsdp_plugin_args["mixed_precision_policy"] = MixedPrecisionPolicy()
    shared = PartialState._shared_state
    if shared["distributed_type"] is DistributedType.MULTI_CPU:
        shared["distributed_type"] = DistributedType.MULTI_GPU


class OwnShare:
    """Collates this process's rows of a batch that every process draws."""

    def __init__(self, collator: Any, index: int, count: int) -> None:
        self._collator, self._index, self._count = collator, index, count

    def __call__(self, rows: Sequence[Batch]) -> Any:
        """Return the collated share; each process has as many rows, the last maybe one token that is not learned."""
        own = list(rows[self._index :: self._count])
        if len(own) < -(-len(rows) // self._count):
            own.append(_empty(rows[0]))
        return self._collator(own)


def _empty(row: Batch) -> Batch:
    empty = {"input_ids": list(row["input_ids"][:1]), "labels": [IGNORED]}
    if ROW_WEIGHT in row:
        empty[ROW_WEIGHT] = row[ROW_WEIGHT]
    return {**empty, "seq_lengths": [1]} if "seq_lengths" in row else empty


def share_batches(trainer: Any, train: TrainSettings) -> None:
    """Let each process keep its share of every batch, and let all of them know the whole batch's validation loss."""
    if train.num_processes == 1:
        return
    accelerator = trainer.accelerator
    trainer.data_collator = OwnShare(trainer.data_collator, accelerator.process_index, accelerator.num_processes)
    accelerator.prepare_data_loader = MethodType(_whole_batches, accelerator)
    predict = trainer.prediction_step

    def prediction_step(model: Any, inputs: Batch, *args: Any, **options: Any) -> Any:
        loss, *rest = predict(model, inputs, *args, **options)
        # The Trainer's own gathering would count a full batch once a process, and the last one once.
        trainer.gather_function = partial(_rows_of_last_batch, accelerator.gradient_state)
        return _mean_over_tokens(accelerator, loss, inputs["labels"]), *rest

    trainer.prediction_step = prediction_step


def _whole_batches(accelerator: Any, loader: Any, **_: Any) -> Any:
    """Prepare a loader as one process would, so that all draw the same batches."""
    return prepare_data_loader(
        loader,
        accelerator.device,
        num_processes=1,
        process_index=0,
        put_on_device=True,
        use_seedable_sampler=accelerator.use_seedable_sampler,
        data_seed=accelerator.dataloader_config.data_seed,
    )


def _mean_over_tokens(accelerator: Any, loss: Any, labels: Any) -> Any:
    count = (labels[..., 1:] != IGNORED).sum()
    return accelerator.reduce(loss * count, "sum") / accelerator.reduce(count, "sum").clamp(min=1)


def _rows_of_last_batch(state: Any, losses: Any) -> Any:
    return losses[: state.remainder] if state.end_of_dataloader and state.remainder > 0 else losses


def whole_weights(trainer: Any) -> Weights | None:
    """Gather what was trained from all shards, complete in the first process; None where nothing is sharded.

    Every process must call it.
    """
    if not trainer.is_fsdp_enabled:
        return None
    from torch.distributed.checkpoint.state_dict import StateDictOptions, get_model_state_dict

    options = StateDictOptions(full_state_dict=True, cpu_offload=True, ignore_frozen_params=True)
    weights: Weights = get_model_state_dict(trainer.model, options=options)
    return weights


def peak_memory_bytes(trainer: Any) -> int:
    """Return the most memory that one of the processes took: of its GPU, or else of the system."""
    if torch.cuda.is_available():
        peak = torch.cuda.max_memory_allocated()
    else:
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    accelerator = trainer.accelerator
    return int(accelerator.gather(torch.tensor([peak], device=accelerator.device)).max())


class Together(TrainerCallback):  # type: ignore[misc]  # transformers is untyped
    """Waits for every process's part of a checkpoint, so that it is marked complete only when it is."""

    def on_save(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Wait for the others."""
        torch.distributed.barrier()
