"""Estimates the memory that a training takes, from the model's configuration and the train section alone.

Weights, gradients and optimizer states are counted. The activations are counted too: the model is built of tensors
without memory and runs once forward, and what autograd would keep for the way back is added up. So dtype, adapters,
attention and gradient checkpointing are in the number as PyTorch, transformers and PEFT really have them.
`python -m benchmarks.memory` holds the estimate against measured peaks.
"""

from dataclasses import dataclass
from typing import Any

from driftwheel.settings.training import TrainSettings
from train.training.methods import adapter_config, base_dtype

PROCESS_BYTES = 0.9e9
"""Python with torch, transformers, TRL and a tokenizer, before a model is loaded; measured on Linux without a GPU."""

CUDA_BYTES = 0.6e9
"""A CUDA context with cuBLAS's workspace."""

NF4_BYTES = 4.127 / 8
"""A weight in QLoRA's NF4 with doubly quantized scales (Dettmers et al. 2023, section 3)."""

STATE_BYTES = {"adafactor": 0.1, "sgd": 0.0, "lion": 4.0}
EIGHT_BIT_STATE_BYTES, ADAMW_STATE_BYTES = 2.0, 8.0
"""Optimizer states of a trained weight: two numbers of float32, or of 8 bits."""


@dataclass(frozen=True)
class Estimate:
    """What training takes at its peak, in bytes, by what takes it."""

    method: str
    process: float
    weights: float
    gradients: float
    optimizer: float
    activations: float
    parameters: int
    trainable: int
    processes: int = 1
    """Those that share this machine's memory: without GPUs all that train together, unless Ray spreads them."""

    @property
    def total(self) -> float:
        """The sum, for all these processes; what sharding saves is not taken off."""
        return self.processes * (self.process + self.weights + self.gradients + self.optimizer + self.activations)


def estimate(config: Any, train: TrainSettings, *, tokens: int | None = None, is_cuda: bool = False) -> Estimate:
    """Return the memory that a batch of the settings takes with a model of this transformers configuration.

    `tokens` is the length of the longest example; None means `max_length`.
    """
    model = _without_memory(config, train)
    parameters = list(model.parameters())
    trainable = sum(p.numel() for p in parameters if p.requires_grad)
    saved = _saved_bytes(model, train, min(tokens or train.max_length, train.max_length))
    return Estimate(
        method=train.method,
        process=CUDA_BYTES if is_cuda else PROCESS_BYTES,
        weights=_weight_bytes(model, train),
        gradients=float(sum(p.numel() * p.element_size() for p in parameters if p.requires_grad)),
        optimizer=_state_bytes(train.optim) * trainable,
        activations=saved,
        parameters=sum(p.numel() for p in parameters if train.method == "full" or not p.requires_grad),
        trainable=trainable,
        processes=1 if is_cuda or train.executor == "ray" else train.num_processes,
    )


def _without_memory(config: Any, train: TrainSettings) -> Any:
    import torch
    from peft import get_peft_model
    from transformers import AutoModelForCausalLM

    plain = train.model_copy(update={"init_lora_weights": True})  # PiSSA's decomposition changes no size
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(config, dtype=getattr(torch, base_dtype(train)))
        adapter = adapter_config(plain)
        return model if adapter is None else get_peft_model(model, adapter, low_cpu_mem_usage=True)


def _weight_bytes(model: Any, train: TrainSettings) -> float:
    from torch import nn

    tensors = {id(p): float(p.numel() * p.element_size()) for p in model.parameters()}
    if train.method == "qlora":
        layers = (m.base_layer for m in model.modules() if isinstance(getattr(m, "base_layer", None), nn.Linear))
        tensors |= {id(layer.weight): layer.weight.numel() * NF4_BYTES for layer in layers}
    return sum(tensors.values())


def _state_bytes(optim: str) -> float:
    if "8bit" in optim:
        return EIGHT_BIT_STATE_BYTES
    return STATE_BYTES.get(optim, ADAMW_STATE_BYTES)


def _saved_bytes(model: Any, train: TrainSettings, tokens: int) -> float:
    """Return the bytes of the tensors that autograd keeps between the way forth and the way back."""
    import torch
    from torch._subclasses.fake_tensor import FakeTensorMode

    backbone = (model if train.method == "full" else model.get_base_model()).base_model
    saved: dict[int, int] = {}
    with FakeTensorMode():
        _give_shapes(model)
        own = {p.untyped_storage()._cdata for p in model.parameters()}

        def note(tensor: Any) -> Any:
            storage = tensor.untyped_storage()
            if storage._cdata not in own:
                saved[storage._cdata] = storage.nbytes()
            return tensor

        ids = torch.zeros(train.per_device_train_batch_size, tokens, dtype=torch.long)
        with (
            torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor),
            torch.autocast("cpu", dtype=torch.bfloat16, enabled=train.bf16 is not False),
        ):
            backbone(input_ids=ids, use_cache=False)
    total = float(sum(saved.values()))
    if not train.gradient_checkpointing:
        return total
    layers = int(model.config.num_hidden_layers)
    kept = layers * ids.numel() * int(model.config.hidden_size) * (4 if train.bf16 is False else 2)
    return float(kept + total / layers)


def _give_shapes(model: Any) -> None:
    """Put tensors that have a shape and a device, but no memory, in the place of a model's weights."""
    import torch

    for module in model.modules():
        for name, weight in module._parameters.items():
            if weight is not None:
                empty = torch.empty(weight.shape, dtype=weight.dtype)
                module._parameters[name] = torch.nn.Parameter(empty, requires_grad=weight.requires_grad)
        for name, buffer in module._buffers.items():
            if buffer is not None:
                module._buffers[name] = torch.empty(buffer.shape, dtype=buffer.dtype)
