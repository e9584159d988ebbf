"""Edits the files of a finished build and writes its manifest anew, as another build step would have left them."""

import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from driftwheel.files import artifacts
from driftwheel.records.nouns import TrainingRun
from driftwheel.settings.settings import Settings
from train.base_model import load_weights
from train.fidelity.trained import READINGS
from train.runs import weights_path


@dataclass(frozen=True, kw_only=True)
class Build:
    """A run's folders, all of which may be changed."""

    settings: Settings
    run: TrainingRun
    artifact: Path

    @property
    def merged(self) -> Path:
        """The merged model's folder."""
        return Path(self.run.path) / "merged"


def manifest_json(folder: Path) -> dict[str, Any]:
    """Return an artifact's manifest to be edited."""
    manifest: dict[str, Any] = json.loads((folder / artifacts.MANIFEST).read_text(encoding="utf-8"))
    return manifest


def rebuild(folder: Path, change: Callable[[Path], None]) -> None:
    """Change an artifact's files and write a manifest that fits them."""
    facts = {key: value for key, value in manifest_json(folder).items() if key not in ("files", "content_hash")}
    copy = folder.with_name(f"{folder.name}-copy")
    shutil.copytree(folder, copy)
    (copy / artifacts.MANIFEST).unlink()
    change(copy)
    with artifacts.writing(folder, facts) as aside:
        shutil.copytree(copy, aside, dirs_exist_ok=True)
    shutil.rmtree(copy)


def edit_json(name: str, change: Callable[[dict[str, Any]], None]) -> Callable[[Path], None]:
    """Return what edits one JSON file of a folder."""

    def edit(folder: Path) -> None:
        content = json.loads((folder / name).read_text(encoding="utf-8"))
        change(content)
        (folder / name).write_text(json.dumps(content), encoding="utf-8")

    return edit


def edit_tensors(change: Callable[[dict[str, Any]], None], file: str = "model.safetensors") -> Callable[[Path], None]:
    """Return what edits the tensors of a folder's file, by name."""

    def edit(folder: Path) -> None:
        from safetensors.torch import load_file, save_file

        tensors = load_file(folder / file)
        change(tensors)
        save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, folder / file, {"format": "pt"})

    return edit


def another_training(build: Build, seed: int) -> None:
    """Change the adapter as another seed would have: noise of a tenth of each weight's spread. This is no fault."""
    stir_adapter(weights_path(build.run), seed, 0.1)


def stir_adapter(adapter: Path, seed: int, noise_share: float) -> None:
    """Add noise to an adapter's weights, as a share of each one's spread."""

    def stir(tensors: dict[str, Any]) -> None:
        import torch

        torch.manual_seed(seed)
        for tensor in tensors.values():
            tensor += noise_share * tensor.std() * torch.randn_like(tensor)

    def change(folder: Path) -> None:
        edit_tensors(stir, "adapter_model.safetensors")(folder)
        (folder / READINGS).unlink(missing_ok=True)  # this adapter has not been in a trainer

    rebuild(adapter, change)


def merge_as(build: Build, make: Callable[[Any], Any], dtype: str = "bfloat16") -> None:
    """Write the merged model again from the base by `make`, as a faulty merge would have."""
    import torch

    base = load_weights(build.run.base_model, "float32")

    def save(folder: Path) -> None:
        (folder / "model.safetensors").unlink()
        make(base).to(getattr(torch, dtype)).save_pretrained(folder)

    rebuild(build.merged, save)


def trained_model(build: Build, base: Any) -> Any:
    """Return what a faultless merge returns."""
    if build.run.method == "full":
        return load_weights(str(weights_path(build.run)), "float32")
    return adapted(base, weights_path(build.run))


def adapted(base: Any, adapter: Path, alpha_factor: float = 1.0) -> Any:
    """Merge an adapter into a model, with its scale multiplied."""
    from peft import PeftModel
    from peft.tuners.lora import LoraLayer

    model = PeftModel.from_pretrained(base, adapter)
    for module in model.modules():
        if isinstance(module, LoraLayer):
            module.scaling = {name: alpha_factor * scale for name, scale in module.scaling.items()}
    return model.merge_and_unload()
