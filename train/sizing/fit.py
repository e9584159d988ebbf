"""Estimates which training methods fit this machine's memory for a base model and its data, and proposes settings."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import yaml

from driftwheel.errors import ConfigError
from driftwheel.settings.data import Base, DatasetSettings
from driftwheel.settings.settings import Settings
from driftwheel.settings.training import TrainSettings
from train.base_model import base_ends, load_base_tokenizer, load_config
from train.data.sources.formats import read_sources
from train.data.splitting.template_check import Templated, require_template
from train.data.tokens.rendering import token_counts
from train.sizing.machine import Machine
from train.sizing.memory import Estimate, estimate

ESTIMATE_ERROR = 0.25
"""A fit leaves this much room: the largest error over the trainings of `python -m benchmarks.memory` (DoRA's)."""

LENGTH_STEP = 32
"""A proposed length is rounded up to a multiple, because the longest row seen is hardly the longest to come."""

Sections = dict[str, dict[str, str | int | bool]]
"""Keys and values by the section of the settings file."""


@dataclass(frozen=True)
class DataLengths:
    """Tokens of the data's rows, prompt and answer in the model's template."""

    rows: int
    p50: int
    p95: int
    longest: int


@dataclass(frozen=True)
class Fit:
    """What fits, and what to set."""

    model: str
    machine: Machine
    lengths: DataLengths | None
    estimates: list[Estimate]
    """Full, LoRA and QLoRA at the settings' batch and length."""
    missing: dict[str, str]
    """Why a method cannot be used here, by its name."""
    proposal: Sections | None
    """What to set; None where no method fits."""


def fits(wanted: Estimate, machine: Machine) -> bool:
    """Say whether a training fits this machine's memory with the estimate's own error as room."""
    return wanted.total * (1 + ESTIMATE_ERROR) <= machine.memory_bytes


def examine_fit(settings: Settings, data: Path | None, machine: Machine) -> Fit:
    """Estimate each method for the settings' base model, and propose the first configuration that fits.

    Raises ConfigError or NotFoundError if the model's configuration cannot be read, DataError naming the first row that
    its chat template does not give as it is.
    """
    config = load_config(settings.base_model(), revision=settings.model.revision)
    lengths = _lengths(settings.dataset, settings.base, data) if data else None
    train = settings.train
    if lengths is not None:
        train = train.model_copy(update={"max_length": _rounded(min(train.max_length, lengths.longest))})
    is_cuda = machine.gpu is not None
    methods: tuple[Literal["full", "lora", "qlora"], ...] = ("full", "lora", "qlora")
    chosen = [_of_method(train, method, machine) for method in methods]
    return Fit(
        model=settings.model.base,
        machine=machine,
        lengths=lengths,
        estimates=[estimate(config, c, is_cuda=is_cuda) for c in chosen],
        missing={c.method: reason for c in chosen if (reason := machine.lacks(c))},
        proposal=_propose(settings.base, settings.quantize.scheme, config, train, machine),
    )


def _of_method(train: TrainSettings, method: str, machine: Machine) -> TrainSettings:
    changed = train.model_copy(update={"method": method})
    plain = {k: TrainSettings.model_fields[k].default for k in ("use_dora", "use_rslora", "init_lora_weights")}
    bf16 = machine.trains_in_bf16(changed)
    return changed.model_copy(update={"bf16": bf16, **(plain if method == "full" else {})})


def _propose(base: Base, scheme: str, config: Any, train: TrainSettings, machine: Machine) -> Sections | None:
    """Return the first that fits: the settings' method, then smaller batches, then checkpointing, then QLoRA."""
    tried = [train.model_copy(update={"bf16": machine.trains_in_bf16(train)})]
    while tried[-1].per_device_train_batch_size > 1:
        batch, steps = tried[-1].per_device_train_batch_size // 2, tried[-1].gradient_accumulation_steps * 2
        smaller = {"per_device_train_batch_size": batch, "gradient_accumulation_steps": steps}
        tried.append(tried[-1].model_copy(update=smaller))
    tried += [t.model_copy(update={"gradient_checkpointing": True}) for t in tried]
    tried += [_of_method(t, m, machine) for m in ("lora", "qlora") if m != train.method for t in list(tried)]
    for candidate in tried:
        is_possible = machine.lacks(candidate) is None
        if is_possible and fits(estimate(config, candidate, is_cuda=machine.gpu is not None), machine):
            return _sections(base, scheme, candidate, machine)
    return None


def _sections(base: Base, scheme: str, train: TrainSettings, machine: Machine) -> Sections:
    batch = ("per_device_train_batch_size", "gradient_accumulation_steps")
    shown = ("method", *batch, "max_length", "bf16", "gradient_checkpointing")
    usable = machine.quantizations
    return {
        "model": {"base": base.name},
        "train": {key: getattr(train, key) for key in shown},
        "quantize": {"scheme": scheme if scheme in usable else usable[0]},
    }


def _lengths(settings: DatasetSettings, base: Base, data: Path) -> DataLengths:
    rows = [row for reading in read_sources(settings, [data]) for row in reading.rows]
    if not rows:
        raise ConfigError(f"{data} has no row that can be read; `driftwheel data check` says why")
    tokenizer = load_base_tokenizer(base)
    said = [Templated(name=r.place, prompt=r.prompt, completion=r.completion, tools=r.tools) for r in rows]
    require_template(tokenizer, base_ends(base, tokenizer), said)
    lengths = sorted(token_counts(tokenizer, [([*r.prompt, *r.completion], r.tools) for r in rows]))
    last = len(lengths) - 1
    return DataLengths(len(lengths), lengths[last // 2], lengths[min(last, int(0.95 * len(lengths)))], lengths[last])


def _rounded(tokens: int) -> int:
    return -(-tokens // LENGTH_STEP) * LENGTH_STEP


def as_text(fit: Fit) -> str:
    """Return a fit as lines for a person."""
    machine, first = fit.machine, fit.estimates[0]
    place = machine.gpu or "no GPU"
    lines = [f"model            {fit.model}: {first.parameters / 1e6:,.1f} million weights"]
    if fit.lengths:
        n = fit.lengths
        lines.append(
            f"data             {n.rows:,} rows of {n.p50} tokens (median), {n.p95} (95 %), {n.longest} (longest)"
        )
    lines += [
        f"memory           {_size(machine.memory_bytes)} free ({place})",
        f"attention        {machine.attention}",
        f"number type      {machine.number_type}",
        f"quantization     {', '.join(machine.quantizations)}",
        *([f"kernels          faster ones for W8A8 and W4A16: {how}"] if (how := machine.faster_kernels) else []),
        f"processes        {machine.processes}",
        f"training takes   estimated at these settings, with an error of up to {ESTIMATE_ERROR:.0%}"
        + (f"; the sum is for {first.processes} processes:" if first.processes > 1 else ":"),
    ]
    for e in fit.estimates:
        parts = (
            f"weights {_size(e.weights)}, gradients {_size(e.gradients)}, optimizer {_size(e.optimizer)}, "
            f"activations {_size(e.activations)}"
        )
        verdict = fit.missing.get(e.method) or ("fits" if fits(e, machine) else "does not fit")
        lines.append(f"  {e.method:<6} {_size(e.total):>10}  {verdict:<18}  ({parts})")
    if fit.proposal is None:
        least = min(e.total for e in fit.estimates if e.method not in fit.missing) * (1 + ESTIMATE_ERROR)
        lines.append(f"nothing fits: choose a smaller base model, or a machine with {_size(least)} or more")
    else:
        lines += ["proposed, for the settings file:", yaml.safe_dump(fit.proposal, sort_keys=False).rstrip()]
    return "\n".join(lines)


def _size(count: float) -> str:
    return f"{count / 2**30:,.1f} GiB" if count >= 2**30 else f"{count / 2**20:,.0f} MiB"
