"""Quantizes without data: rounds each weight to the grid of its channel."""

from pathlib import Path
from typing import Any

from driftwheel.errors import ConfigError
from train.base_model import load_weights


def round_to_nearest(merged: Path, folder: Path, preset: str, ignore: list[str]) -> None:
    """Write the checkpoint with the compressed-tensors that vLLM brings, which knows the scheme as `preset`.

    Raises ConfigError if `ignore` leaves no layer.
    """
    from compressed_tensors.compressors import ModelCompressor
    from compressed_tensors.quantization import (
        QuantizationConfig,
        QuantizationStatus,
        apply_quantization_config,
        preset_name_to_scheme,
    )

    model = load_weights(str(merged), "auto")
    config = QuantizationConfig(
        config_groups={"group_0": preset_name_to_scheme(preset, ["Linear"])},
        ignore=ignore,
        quantization_status=QuantizationStatus.FROZEN,
    )
    apply_quantization_config(model, config)
    quantized = [m for m in model.modules() if getattr(getattr(m, "quantization_scheme", None), "weights", None)]
    if not quantized:
        raise ConfigError("quantize.ignore leaves no layer to quantize; shorten it or set quantize.scheme to none")
    for module in quantized:
        _set_scales(module)
    compressor = ModelCompressor.from_pretrained_model(model, quantization_format=None)
    compressor.compress_model(model)
    model.save_pretrained(folder)
    compressor.update_config(folder)


def _set_scales(module: Any) -> None:
    """Set a layer's scales from the range of each output channel's weights."""
    from compressed_tensors.quantization import QuantizationStatus
    from compressed_tensors.quantization.utils import calculate_qparams

    weight = module.weight.data
    low, high = weight.amin(1, keepdim=True), weight.amax(1, keepdim=True)
    scale, zero_point = calculate_qparams(low, high, module.quantization_scheme.weights)
    module.weight_scale.data = scale.to(module.weight_scale.dtype)
    if getattr(module, "weight_zero_point", None) is not None:
        module.weight_zero_point.data = zero_point.to(module.weight_zero_point.dtype)
    module.quantization_status = QuantizationStatus.FROZEN
