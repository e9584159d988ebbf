"""Loads a base model's configuration, weights and tokenizer by name or folder, or raises one clear error."""

import re
from pathlib import Path
from typing import Any

from driftwheel.errors import ConfigError, NotFoundError
from driftwheel.files import artifacts
from driftwheel.identity import content_hash
from driftwheel.machine.model_hub import endpoint, why_unreachable
from driftwheel.settings.data import Base
from train.chat_template import name_end, set_template

HUB_NAME = re.compile(r"^[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*$")
CPU = "cpu"
_CONVERT = (
    "the weights of {name!r} are only there as pytorch_model.bin: a pickled file can do whatever its author wrote, so "
    "none is loaded here; where you trust it, convert it once: "
    'python -c "from transformers import AutoModelForCausalLM as M, AutoTokenizer as T; '
    "M.from_pretrained('{name}', dtype='auto').save_pretrained('{out}'); "
    "T.from_pretrained('{name}').save_pretrained('{out}')\" and set model.base to {out}"
)


def identity(base: Base) -> str:
    """Return what tells this base model from any other: its artifact's content hash, or name and revision."""
    folder = Path(base.source)
    # A merged model is known by what it holds, wherever its folder is moved; a hub name only by its revision.
    if artifacts.is_complete(folder):
        return str(artifacts.read_manifest(folder).content_hash)
    return content_hash([base.name, base.revision])


def is_folder_or_hub_name(name: str) -> bool:
    """Say whether a base model's name may be one; the hub is not asked."""
    return Path(name).is_dir() or HUB_NAME.match(name) is not None


def _require(name: str) -> None:
    if is_folder_or_hub_name(name):
        return
    raise NotFoundError(
        f"model.base {name!r} is neither a folder nor a hub name such as Qwen/Qwen3-0.6B; set model.base to one"
    )


def _where(name: str) -> dict[str, bool]:
    """Return what keeps a loader to the cache where the hub cannot be reached, instead of minutes of new attempts."""
    is_away = not Path(name).is_dir() and why_unreachable() is not None
    return {"local_files_only": True} if is_away else {}


def _why(name: str, error: Exception) -> str:
    """Return why a model cannot be loaded, and what to do about it."""
    if Path(name).is_dir() or (reason := why_unreachable()) is None:
        return f"{_first_line(error)}; check model.base"
    return (
        f"{endpoint()} cannot be reached from here ({reason}), and its cache on this machine has no copy; connect the "
        "machine, or copy the model's files to a folder and set model.base to that"
    )


def load_config(name: str, *, revision: str | None = None) -> Any:
    """Read a model's configuration without its weights; raises NotFoundError or ConfigError."""
    from transformers import AutoConfig

    _require(name)
    try:
        return AutoConfig.from_pretrained(name, revision=revision or "main", trust_remote_code=False, **_where(name))
    except (OSError, ValueError) as error:
        raise ConfigError(f"cannot read the configuration of {name!r}: {_why(name, error)}") from error


def load_weights(name: str, dtype: str, *, revision: str | None = None, device: str = CPU, **options: Any) -> Any:
    """Load a causal language model from a folder or from the hub, straight to a device.

    Raises NotFoundError if there is no such model, ConfigError if it cannot be read.
    """
    from transformers import AutoModelForCausalLM

    _require(name)
    if device != CPU:
        options["device_map"] = device
    if where := _where(name):
        # The look for an adapter in the model's own repository takes its options from here alone.
        options |= {**where, "adapter_kwargs": dict(where)}
    try:
        # A pickled file or a repository's own code does whatever its author wrote; neither is loaded.
        return AutoModelForCausalLM.from_pretrained(
            name, revision=revision or "main", dtype=dtype, trust_remote_code=False, use_safetensors=True, **options
        )
    except (OSError, ValueError) as error:
        if _is_pickled_only(name, error):
            raise ConfigError(_CONVERT.format(name=name, out=f"{Path(name).name}-safetensors")) from error
        raise ConfigError(f"cannot load the base model {name!r}: {_why(name, error)}") from error


def load_base_tokenizer(base: Base) -> Any:
    """Load a base model's tokenizer with the template that the settings want, as every form of the model will have it.

    Raises NotFoundError, or ConfigError if there is no chat template.
    """
    tokenizer = _read_tokenizer(base.source, base.revision)
    set_template(tokenizer, base.template)
    name_end(tokenizer, base_ends(base, tokenizer))
    return _usable(tokenizer, base.source)


def load_tokenizer(name: str, *, revision: str | None = None) -> Any:
    """Load the tokenizer of a trained model's folder; raises NotFoundError, or ConfigError without a chat template."""
    return _usable(_read_tokenizer(name, revision), name)


def load_generation_defaults(name: str, *, revision: str | None = None) -> Any:
    """Return how a model answers if a request says nothing; raises OSError or ValueError where it has no files."""
    from transformers import AutoConfig, GenerationConfig

    try:
        return GenerationConfig.from_pretrained(name, revision=revision or "main", **_where(name))
    except OSError:  # the folder has no generation_config.json
        config = AutoConfig.from_pretrained(name, revision=revision or "main", trust_remote_code=False, **_where(name))
        return GenerationConfig.from_model_config(config)


def base_ends(base: Base, tokenizer: Any) -> frozenset[int]:
    """Return the token ids at which an engine on a base model stops."""
    try:
        return end_ids(tokenizer, load_generation_defaults(base.source, revision=base.revision))
    except (OSError, ValueError):  # a tokenizer without a model, which is enough to look at data
        return end_ids(tokenizer, None)


def end_ids(tokenizer: Any, defaults: Any) -> frozenset[int]:
    """Return the token ids at which an engine stops: the tokenizer's end, and all those of the generation defaults."""
    named = getattr(defaults, "eos_token_id", None)
    listed = named if isinstance(named, list) else [named]
    return frozenset(number for number in (tokenizer.eos_token_id, *listed) if number is not None)


def _read_tokenizer(name: str, revision: str | None) -> Any:
    from transformers import AutoTokenizer

    _require(name)
    try:
        return AutoTokenizer.from_pretrained(name, revision=revision or "main", trust_remote_code=False, **_where(name))
    except (OSError, ValueError) as error:
        raise ConfigError(f"cannot load the base model's tokenizer, {name!r}: {_why(name, error)}") from error


def _usable(tokenizer: Any, name: str) -> Any:
    if not tokenizer.chat_template:
        raise ConfigError(
            f"{name!r} has no chat template; choose an instruction-tuned base model as model.base, or set "
            "model.template.file"
        )
    if tokenizer.pad_token is None:
        # Any token will do: the attention mask and the labels leave padding out.
        tokenizer.pad_token = tokenizer.eos_token
    return tokenizer


def _is_pickled_only(name: str, error: Exception) -> bool:
    """Say whether a model has weights, but none as safetensors."""
    folder = Path(name)
    if folder.is_dir():
        return any(folder.glob("pytorch_model*.bin")) and not any(folder.glob("*.safetensors"))
    # transformers says of a hub model which of the files that it looked for are not there.
    return "safetensors" in str(error) and "does not appear to have" in str(error)


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
