"""Writes a run's LoRA adapter as an artifact that an engine loads beside its base, not merged or rounded.

Set `merge.kind: adapter`; then `driftwheel quantize` and `driftwheel publish` write it.
"""

import shutil
from pathlib import Path
from typing import Any

from driftwheel.errors import ArtifactError, ConfigError, ConflictError, ParityError
from driftwheel.evidence import fingerprint
from driftwheel.files import artifacts
from driftwheel.files.artifacts import ArtifactManifest, Source
from driftwheel.records.json_form import as_json
from driftwheel.records.nouns import TrainingRun, TrainingRunStatus
from driftwheel.records.probe_answers import Fingerprint
from driftwheel.settings.data import Base, TemplateSettings
from driftwheel.settings.serving import ServeSettings
from driftwheel.settings.settings import Settings
from driftwheel.store.ledger import Ledger
from train.base_model import CPU, identity, load_base_tokenizer, load_tokenizer, load_weights
from train.fidelity.pins import check_pins, pins_of, read_pins
from train.fidelity.structure import check_finite
from train.runs import weights_path
from train.weights.whole_model import base_of

KIND = "adapter"
FILES = ("adapter_config.json", "adapter_model.safetensors")


def pack_adapter(settings: Settings, ledger: Ledger, run_id: str) -> Path:
    """Write a run's adapter as a servable artifact, or find it written already, and return its folder.

    Raises ConflictError if the run has not succeeded, ConfigError if vLLM cannot serve this adapter beside its base,
    ArtifactError if the base is another one by now.
    """
    run = ledger.get(TrainingRun, run_id)
    if run.status is not TrainingRunStatus.SUCCEEDED:
        raise ConflictError(f"{run_id} is {run.status}: only a run that succeeded can be served; run finetune again")
    trained = artifacts.verify(weights_path(run))
    require_servable(run, trained)
    base = base_of(settings.root, settings.base, run)
    if identity(base) != run.settings["base_identity"]:
        raise ArtifactError(
            f"the base model {settings.model.base!r} is not the one that {run.id} was trained on; "
            "set model.base back to it, or fine-tune again"
        )
    target = settings.root / "artifacts" / f"{run_id}-{KIND}"
    source = Source(weights_hash=trained.content_hash, dtype=settings.merge.dtype)
    if artifacts.is_complete(target) and artifacts.read_manifest(target).source == source:
        return target
    facts = {
        "kind": KIND,
        "run_id": run.id,
        "dataset_id": run.dataset_id,
        "base_model": base.source,
        "base_revision": base.revision or "",
        "base_identity": identity(base),
        "rank": rank_of(weights_path(run)),
        "target_modules": modules_of(weights_path(run)),
        "dtype": settings.merge.dtype,
        "quantization": "none",
        "settings_hash": settings.settings_hash,
        "source": as_json(source),
    }
    with artifacts.writing(target, facts) as folder:
        for name in FILES:
            shutil.copy(weights_path(run) / name, folder / name)
        load_tokenizer(str(weights_path(run))).save_pretrained(folder)
        pins = read_pins(folder, base.source, base.revision)
        facts |= as_json(pins)
        check_pins(KIND, trained, pins)
    return target


def require_servable(run: TrainingRun, trained: ArtifactManifest) -> None:
    """Raise ConfigError unless vLLM can load what a run trained beside its base (vllm/lora/peft_helper.py)."""
    reason = "every weight was trained" if run.method in ("full", "ensemble") else trained.why_only_merged
    if reason:
        raise ConfigError(
            f"{run.id} cannot be served as an adapter: {reason}; set merge.kind to merged, or train plain LoRA"
        )


def rank_of(adapter: Path) -> int:
    """Return the greatest rank of an adapter's layers."""
    from peft import PeftConfig

    config: Any = PeftConfig.from_pretrained(str(adapter))
    # A rank pattern gives some layers ranks of their own; the engine has to be started for the greatest.
    return max([int(config.r), *(int(rank) for rank in (config.rank_pattern or {}).values())])


def modules_of(adapter: Path) -> list[str]:
    """Return the last names of the modules that an adapter changes; raises ConfigError for the output head.

    vLLM's engine on a CPU ends when it is asked for `prompt_logprobs` of an adapted output head (0.32).
    """
    from safetensors import safe_open

    with safe_open(adapter / FILES[1], "pt") as tensors:
        names = [name for name in tensors.keys() if ".lora_A" in name]  # noqa: SIM118 - it is no dict
    modules = sorted({name.partition(".lora_A")[0].rpartition(".")[2] for name in names})
    if found := sorted({"lm_head", "embed_tokens"}.intersection(modules)):
        raise ConfigError(
            f"an adapter of {found[0]} cannot be served beside its base; set train.lora_target_modules to other "
            "modules, or merge.kind to merged"
        )
    return modules


def check_adapter(artifact: Path, run: TrainingRun) -> None:
    """Raise ParityError unless the artifact is the run's own adapter, finite, for a base that reads text alike.

    The engine takes generation defaults from the base, and template and tokenizer from the artifact. The base's own are
    looked at too, because its template decides what the run's settings made of it.
    """
    manifest, trained = artifacts.verify(artifact), artifacts.verify(weights_path(run))
    if manifest.run_id != run.id or manifest.source is None or manifest.source.weights_hash != trained.content_hash:
        raise ParityError(KIND, "source", f"{artifact} was not made from the weights of {run.id}; quantize again")
    for name in FILES:
        if manifest.files[name] != trained.files[name]:
            raise ParityError(KIND, "files", f"{name} is not the file that was trained; quantize again")
    check_finite(KIND, artifact / FILES[1])
    name, revision = manifest.base_model or "", manifest.base_revision or None
    check_pins(KIND, trained, read_pins(artifact, name, revision))
    template = TemplateSettings.model_validate(run.settings["model"].get("template") or {})
    if template.file is None:
        tokenizer = load_base_tokenizer(Base(name=name, source=name, revision=revision, template=template))
        check_pins(KIND, trained, pins_of(tokenizer, name, revision))


def require_effect(settings: ServeSettings, taken: Fingerprint, artifact: Path) -> None:
    """Raise ParityError if an adapter answers the fingerprint's probes as its base does.

    vLLM loads an adapter whose names fit none of the base's modules, and answers as if it were not there; no proof
    could tell such a one from an adapter that works.
    """
    if artifacts.read_manifest(artifact).kind != KIND:
        return
    difference = fingerprint.compare(taken.base_probes or (), taken.probes)
    if difference.is_same(settings.fingerprint_tolerance):
        raise ParityError(
            "served",
            "adapter",
            f"the engine answers with {artifact.name} as it does without: log-probabilities of the probes are "
            f"{difference.mean_logprob_difference:.2g} nats apart (serve.fingerprint_tolerance is "
            f"{settings.fingerprint_tolerance}); train longer, or set merge.kind to merged",
        )


def load_adapted(artifact: Path, dtype: str, device: str = CPU) -> Any:
    """Return the base in a number type with the artifact's adapter beside it, as an engine holds it."""
    from peft import PeftModel

    manifest = artifacts.read_manifest(artifact)
    base = load_weights(manifest.base_model or "", dtype, revision=manifest.base_revision or None, device=device)
    return PeftModel.from_pretrained(base, artifact)
