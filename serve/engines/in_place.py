"""Swap in place: a running engine gets another version's weights, where memory allows only one engine.

Users' requests wait meanwhile, and the engine is idle: nobody's answer is begun by one version and ended by another.
What vLLM is known to get wrong without saying so is refused before anything is touched.
"""

import json
from collections.abc import Mapping
from pathlib import Path

from driftwheel.errors import EngineError, GateError
from driftwheel.files.artifacts import read_manifest, verify
from driftwheel.machine.accelerator import has_gpu
from driftwheel.machine.system import available_bytes
from driftwheel.records.nouns import ModelVersion
from driftwheel.settings.serving import ServeSettings
from serve.engines.engine import Engine
from serve.engines.gpu_engine import fits_twice_on_gpu
from serve.engines.lora import ADAPTER
from serve.engines.vllm_command import ENGINE_BYTES, GIB

CALL_SECONDS = 300.0
"""New weights are read from the disk within one call: 16 GB at 100 MB/s take half of it."""
PINS = ("template_hash", "tokenizer_hash", "generation_hash")
READ_ONCE = ("tokenizer.json", "tokenizer_config.json", "chat_template.jinja", "generation_config.json")
"""What an engine reads when it starts and not again."""
WITHOUT_MEANING = {"transformers_version", "_name_or_path"}
REMEDY = "set serve.swap to blue_green where a second engine fits, or stop the gateway, promote and start it again"


def way_to_swap(serve: ServeSettings, artifact: Path) -> str:
    """Return what `serve.swap` means for an artifact on this machine: blue_green or in_place."""
    swap = serve.swap
    if swap != "auto":
        return swap
    is_alone = serve.replicas == 1 and not serve.engines and serve.rollout == "direct"
    can_reload = is_alone and why_not_reloaded(artifact) is None
    return "in_place" if can_reload and not fits_twice(serve, artifact) else "blue_green"


def fits_twice(serve: ServeSettings, artifact: Path) -> bool:
    """Say whether memory allows two engines on artifacts of this size."""
    if has_gpu():
        return fits_twice_on_gpu(serve, str(artifact))
    weights_bytes = sum(path.stat().st_size for path in artifact.glob("*.safetensors"))
    needed_bytes = weights_bytes + serve.kv_cache_gib * GIB + ENGINE_BYTES
    return 2 * needed_bytes <= available_bytes()


def why_not_reloaded(artifact: Path) -> str | None:
    """Return why an engine on this artifact cannot get other weights, or None where it can."""
    manifest = read_manifest(artifact)
    if manifest.kind == ADAPTER:
        return "it is an adapter"
    config = _config(artifact)
    if "quantization_config" in config or manifest.quantization != "none":
        scheme = manifest.quantization
        return f"it is quantized ({scheme}), and vLLM reloads such weights wrongly, or stops, without saying so"
    if config.get("tie_word_embeddings") and not has_gpu():
        return "its embeddings are tied to its output head, which vLLM on a CPU reloads wrongly without saying so"
    return None


def check_reload(old: ModelVersion, new: ModelVersion) -> None:
    """Raise GateError unless an engine that runs one version can be given the weights of the other.

    Raises ArtifactError if a byte of the new version was changed.
    """
    folders = Path(old.path), Path(new.path)
    verify(folders[1])
    for version, folder in zip((old, new), folders, strict=True):
        if reason := why_not_reloaded(folder):
            raise GateError(f"{new.id} cannot be reloaded in place of {old.id}: {version.id}: {reason}; {REMEDY}")
    if found := _first_difference(*folders):
        raise GateError(
            f"{new.id} cannot be reloaded in place of {old.id}: its {found} is another, which an engine reads only "
            f"when it starts; {REMEDY}"
        )


def reload_weights(engine: Engine, artifact: Path) -> None:
    """Give an idle engine the weights of an artifact, and forget what it had cached; raises EngineError."""
    _call(engine, "/pause?mode=wait", {})  # waits for what it computes, and takes nothing new until it is resumed
    try:
        _call(engine, "/collective_rpc", {"method": "reload_weights", "kwargs": {"weights_path": str(artifact)}})
        if not _has_succeeded(_call(engine, "/reset_prefix_cache", {})):
            raise EngineError(f"engine {engine.name} did not reset its prefix cache, which holds the old weights' work")
    finally:
        _call(engine, "/resume", {})


def _first_difference(old: Path, new: Path) -> str | None:
    configs = [{k: v for k, v in _config(folder).items() if k not in WITHOUT_MEANING} for folder in (old, new)]
    if configs[0] != configs[1]:
        return "config.json"
    before, after = read_manifest(old), read_manifest(new)
    pins = [(pin, getattr(before, pin), getattr(after, pin)) for pin in PINS]
    if all(old_pin is not None and new_pin is not None for _, old_pin, new_pin in pins):
        return next((pin.removesuffix("_hash") for pin, old_pin, new_pin in pins if old_pin != new_pin), None)
    return next((name for name in READ_ONCE if before.files.get(name) != after.files.get(name)), None)


def _has_succeeded(text: str) -> bool:
    try:
        answer = json.loads(text)
    except ValueError:
        return False
    return isinstance(answer, dict) and answer.get("success") is True


def _config(folder: Path) -> dict[str, object]:
    path = folder / "config.json"
    found: dict[str, object] = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    return found


def _call(engine: Engine, path: str, body: Mapping[str, object]) -> str:
    status, text = engine.post(path, body, CALL_SECONDS)
    if status != 200:
        raise EngineError(f"engine {engine.name} answered {path} with {status}: {text[:300]}")
    return text
