"""A merged model becomes the artifact that will be served: quantized, hashed, its manifest last.

    python -m train quantize --config driftwheel.yaml --run RUN_ID

`w8a8` and `fp8_dynamic` round each weight to its channel's grid (no data needed) with the compressed-tensors
that vLLM brings. `w4a16` is GPTQ by llm-compressor, which cannot share vLLM's environment: it runs in one of
its own, told by a job file.
"""

import argparse
import json
import shutil
import sys
from pathlib import Path
from typing import Any

from driftwheel import artifacts
from driftwheel.command import add_common_arguments, open_ledger, settings_from
from driftwheel.config import Settings
from driftwheel.errors import ConfigError
from driftwheel.ledger import Ledger
from driftwheel.records import Dataset, TrainingRun
from train.base_model import load_tokenizer, load_weights
from train.executor import LocalExecutor
from train.fidelity.pins import check_pins, read_pins
from train.fidelity.structure import check_merged
from train.finetune import newest_run, weights_path
from train.merge import merge

PRESETS = {"w8a8": "W8A8", "fp8_dynamic": "FP8_DYNAMIC"}
JOB_SCRIPT = Path(__file__).with_name("gptq_job.py")
LLMCOMPRESSOR = ("llmcompressor==0.14.0.1", "compressed-tensors==0.19.0", "transformers==5.17.0")


def chosen_scheme(settings: Settings) -> str:
    """Return the scheme that `auto` means on this machine, or the one that was set."""
    if settings.quantize.scheme != "auto":
        return settings.quantize.scheme
    import torch

    return "fp8_dynamic" if torch.cuda.is_available() else "w8a8"


def quantize(settings: Settings, ledger: Ledger, run_id: str) -> Path:
    """Write a run's servable artifact, or find it written already, and return its folder.

    Merges first if that was not done. Raises ConfigError for a scheme that this machine or model cannot use.
    """
    run = ledger.get(TrainingRun, run_id)
    merged = merge(settings, ledger, run_id)
    scheme = chosen_scheme(settings)
    target = settings.root / "artifacts" / f"{run_id}-{scheme}"
    whole = artifacts.verify(merged)
    check_merged(merged, artifacts.read_manifest(weights_path(run))["content_hash"])
    check_pins("merged", whole, read_pins(merged))
    source = {"merged_hash": whole["content_hash"], "ignore": settings.quantize.ignore}
    if artifacts.is_complete(target) and artifacts.read_manifest(target).get("source") == source:
        return target
    facts: dict[str, Any] = {
        "run_id": run.id,
        "dataset_id": run.dataset_id,
        "base_model": run.base_model,
        "quantization": scheme,
        "settings_hash": settings.settings_hash,
        "source": source,
    }
    with artifacts.writing(target, facts) as folder:
        if scheme == "none":
            shutil.copytree(merged, folder, dirs_exist_ok=True, ignore=shutil.ignore_patterns(artifacts.MANIFEST))
        elif scheme == "w4a16":
            _gptq(settings, ledger, run, merged, folder)
        else:
            _round_to_nearest(merged, folder, PRESETS[scheme], settings.quantize.ignore)
        load_tokenizer(str(merged)).save_pretrained(folder)
        facts |= read_pins(folder)
        check_pins("quantized", whole, facts)
    return target


def _round_to_nearest(merged: Path, folder: Path, preset: str, ignore: list[str]) -> None:
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


def _gptq(settings: Settings, ledger: Ledger, run: TrainingRun, merged: Path, folder: Path) -> None:
    from train.training.trainer import read_split

    dataset = ledger.get(Dataset, run.dataset_id)
    rows = read_split(Path(dataset.path), "train")[: settings.quantize.calibration_rows]
    tokenizer = load_tokenizer(str(merged))
    texts = [tokenizer.apply_chat_template([*r["prompt"], *r["completion"]], tokenize=False) for r in rows]
    job_path = Path(run.path) / "gptq_job.json"
    artifacts.write_json(
        job_path,
        {
            "model": str(merged),
            "out": str(folder),
            "texts": texts,
            "ignore": settings.quantize.ignore,
            "max_length": settings.train.max_length,
        },
    )
    python = llmcompressor_python(settings)
    log_path = settings.root / "logs" / f"{run.id}-gptq.log"
    LocalExecutor().run([python, str(JOB_SCRIPT), str(job_path)], log_path=log_path)


def llmcompressor_python(settings: Settings) -> str:
    """Return a Python with llm-compressor: the configured one, or that of an environment made here once.

    Raises ConfigError if the configured one is missing or `uv` cannot be found.
    """
    if settings.quantize.llmcompressor_python:
        python = settings.path.parent / Path(settings.quantize.llmcompressor_python).expanduser()
        if not python.is_file():
            raise ConfigError(f"quantize.llmcompressor_python {python} does not exist; set it to a Python or to null")
        return str(python.absolute())
    environment = settings.root / "llmcompressor"
    python, mark = environment / "bin" / "python", environment / ".complete"
    if not mark.is_file():
        _make_environment(environment, python, settings.root / "logs" / "llmcompressor-install.log")
        mark.touch()
    return str(python)


def _make_environment(environment: Path, python: Path, log_path: Path) -> None:
    """Install llm-compressor with the very build of torch that trains here, so that a CPU build stays one."""
    import torch

    beside = Path(sys.executable).with_name("uv")
    uv = str(beside) if beside.is_file() else shutil.which("uv")
    if uv is None:
        raise ConfigError("w4a16 needs `uv` to make llm-compressor's environment; run: pip install uv")
    torch_build = f"torch=={torch.__version__}"
    run = LocalExecutor().run
    run([uv, "venv", "--clear", "--seed", "--python", sys.executable, str(environment)], log_path=log_path)
    # pip reads the machine's own index settings, which uv does not.
    run([str(python), "-m", "pip", "install", torch_build, *LLMCOMPRESSOR], log_path=log_path)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the verb's arguments."""
    add_common_arguments(parser)
    parser.add_argument("--run", metavar="RUN_ID", help="training run to quantize (the newest)")


def main(arguments: argparse.Namespace) -> None:
    """Quantize and print the artifact's folder."""
    settings = settings_from(arguments)
    ledger = open_ledger(settings)
    run_id = arguments.run or newest_run(ledger, settings.project).id
    path = quantize(settings, ledger, run_id)
    sys.stdout.write((json.dumps({"path": str(path)}) if arguments.json else str(path)) + "\n")
