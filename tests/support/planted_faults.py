"""Plants faults in a clean build, as a faulty merge, quantizer or copy would have left them.

Each fault rewrites the folder with a manifest of its own, as the faulty step would have, so that no file hash gives it
away. `hop` is where it was planted, and so the only right answer.
"""

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from driftwheel.files import artifacts
from tests.support.edited_builds import (
    Build,
    adapted,
    edit_json,
    edit_tensors,
    manifest_json,
    merge_as,
    rebuild,
    stir_adapter,
    trained_model,
)
from train.runs import weights_path


@dataclass(frozen=True, kw_only=True)
class Fault:
    """One thing that goes wrong, and the form of the model in which it does."""

    name: str
    hop: str
    plant: Callable[[Build], None]


def _other_template(build: Build) -> None:
    def change(folder: Path) -> None:
        path = folder / "chat_template.jinja"
        path.write_text(path.read_text(encoding="utf-8").replace("<|im_start|>assistant", "assistant"), "utf-8")

    rebuild(build.merged, change)


def _swapped_ids(build: Build) -> None:
    def swap(content: dict[str, Any]) -> None:
        vocabulary = content["model"]["vocab"]
        first, second = sorted(vocabulary, key=lambda token: int(vocabulary[token]))[100:102]
        vocabulary[first], vocabulary[second] = vocabulary[second], vocabulary[first]

    rebuild(build.merged, edit_json("tokenizer.json", swap))


def _added_start_token(build: Build) -> None:
    def add(content: dict[str, Any]) -> None:
        special = content["added_tokens"][0]
        content["post_processor"] = {
            "type": "TemplateProcessing",
            "single": [
                {"SpecialToken": {"id": special["content"], "type_id": 0}},
                {"Sequence": {"id": "A", "type_id": 0}},
            ],
            "pair": [{"Sequence": {"id": "A", "type_id": 0}}, {"Sequence": {"id": "B", "type_id": 1}}],
            "special_tokens": {
                special["content"]: {"id": special["content"], "ids": [special["id"]], "tokens": [special["content"]]}
            },
        }

    rebuild(build.merged, edit_json("tokenizer.json", add))


def _no_end_token(build: Build) -> None:
    rebuild(build.merged, edit_json("generation_config.json", lambda content: content.pop("eos_token_id")))


def _sampling_default(build: Build) -> None:
    sampling = {"do_sample": True, "temperature": 1.5}
    rebuild(build.artifact, edit_json("generation_config.json", lambda content: content.update(sampling)))


def _wrong_adapter(build: Build) -> None:
    """An adapter of the same shape that learned something else: every weight is drawn anew."""
    other = Path(build.run.path) / "other"
    shutil.copytree(weights_path(build.run), other)
    stir_adapter(other, 1, 3.0)
    merge_as(build, lambda base: adapted(base, other))


def _unmerged_base(build: Build) -> None:
    merge_as(build, lambda base: base)


def _merged_twice(build: Build) -> None:
    adapter = weights_path(build.run)
    merge_as(build, lambda base: adapted(adapted(base, adapter), adapter))


def _wrong_alpha(build: Build) -> None:
    merge_as(build, lambda base: adapted(base, weights_path(build.run), 0.5))


def _other_base(build: Build) -> None:
    """The base went on learning since: 5 % of noise on every weight."""

    def make(base: Any) -> Any:
        import torch

        torch.manual_seed(1)
        for parameter in base.parameters():
            parameter.data += 0.05 * parameter.data.std(correction=0) * torch.randn_like(parameter)
        return trained_model(build, base)

    merge_as(build, make)


def _half_overflow(build: Build) -> None:
    """Two weights whose product is the same as before, of which float16 cannot hold one."""

    def make(base: Any) -> Any:
        model = trained_model(build, base)
        for layer in model.model.layers:
            layer.mlp.up_proj.weight.data *= 1e7
            layer.mlp.down_proj.weight.data *= 1e-7
        return model

    merge_as(build, make, "float16")


def _rounded_cast(build: Build) -> None:
    """Weights went through an 8-bit float on their way to bfloat16."""

    def make(base: Any) -> Any:
        import torch

        model = trained_model(build, base)
        for parameter in model.parameters():
            parameter.data = parameter.data.to(torch.float8_e5m2).float()
        return model

    merge_as(build, make)


def _lost_tensor(build: Build) -> None:
    lose = edit_tensors(lambda tensors: tensors.pop("model.layers.1.self_attn.o_proj.weight"))
    rebuild(build.merged, lose)


def _reversed_scales(build: Build) -> None:
    def reverse(tensors: dict[str, Any]) -> None:
        for name in [name for name in tensors if name.endswith("_scale")]:
            tensors[name] = tensors[name].flip(0)

    rebuild(build.artifact, edit_tensors(reverse))


def _scales_of_another_layer(build: Build) -> None:
    def swap(tensors: dict[str, Any]) -> None:
        a, b = "model.layers.0.mlp.up_proj.weight_scale", "model.layers.1.mlp.gate_proj.weight_scale"
        tensors[a], tensors[b] = tensors[b], tensors[a]

    rebuild(build.artifact, edit_tensors(swap))


def _zeroed_layer(build: Build) -> None:
    rebuild(build.artifact, edit_tensors(lambda tensors: tensors["model.layers.0.mlp.down_proj.weight"].zero_()))


def _quantized_head(build: Build) -> None:
    def code(tensors: dict[str, Any]) -> None:
        import torch

        head = tensors["lm_head.weight"]
        scale = head.abs().amax(1, keepdim=True) / 127
        tensors["lm_head.weight"] = (head / scale).round().to(torch.int8)
        tensors["lm_head.weight_scale"] = scale

    def change(folder: Path) -> None:
        edit_tensors(code)(folder)
        edit_json("config.json", lambda content: content["quantization_config"].update(ignore=[]))(folder)

    rebuild(build.artifact, change)


def _tied_embeddings(build: Build) -> None:
    def change(folder: Path) -> None:
        edit_tensors(lambda tensors: tensors.pop("lm_head.weight"))(folder)
        edit_json("config.json", lambda content: content.update(tie_word_embeddings=True))(folder)

    rebuild(build.artifact, change)


def _other_position_base(build: Build) -> None:
    change = edit_json("config.json", lambda content: content["rope_parameters"].update(rope_theta=1e6))
    rebuild(build.artifact, change)


def _truncated(build: Build) -> None:
    def cut(folder: Path) -> None:
        path = folder / "model.safetensors"
        content = path.read_bytes()
        path.write_bytes(content[: len(content) // 2])

    rebuild(build.artifact, cut)


def _stale_file(build: Build) -> None:
    """A shard of an earlier build, which vLLM loads after the right file and transformers does not load at all."""
    stale = build.merged / "model.safetensors"

    def add(folder: Path) -> None:
        shutil.copy(stale, folder / "model-00002-of-00002.safetensors")

    rebuild(build.artifact, add)


def _artifact_of_another_run(build: Build) -> None:
    manifest = manifest_json(build.artifact) | {"run_id": "run_of_someone_else"}
    artifacts.write_json(build.artifact / artifacts.MANIFEST, manifest)


def _changed_afterwards(build: Build) -> None:
    """Not rebuilt: one byte of the finished artifact changes, as a bad disk or an edit by hand would do."""
    path = build.artifact / "model.safetensors"
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(bytes(content))


FAULTS = (
    Fault(name="other chat template", hop="merged", plant=_other_template),
    Fault(name="two token ids swapped", hop="merged", plant=_swapped_ids),
    Fault(name="a start token added", hop="merged", plant=_added_start_token),
    Fault(name="end token missing in the generation defaults", hop="merged", plant=_no_end_token),
    Fault(name="adapter of another run", hop="merged", plant=_wrong_adapter),
    Fault(name="unmerged base", hop="merged", plant=_unmerged_base),
    Fault(name="adapter merged twice", hop="merged", plant=_merged_twice),
    Fault(name="adapter merged with half its alpha", hop="merged", plant=_wrong_alpha),
    Fault(name="another revision of the base", hop="merged", plant=_other_base),
    Fault(name="float16 overflow", hop="merged", plant=_half_overflow),
    Fault(name="cast through an 8-bit float", hop="merged", plant=_rounded_cast),
    Fault(name="one tensor lost", hop="merged", plant=_lost_tensor),
    Fault(name="sampling by default", hop="quantized", plant=_sampling_default),
    Fault(name="scales in reverse order", hop="quantized", plant=_reversed_scales),
    Fault(name="scales of another layer", hop="quantized", plant=_scales_of_another_layer),
    Fault(name="one layer's weights zero", hop="quantized", plant=_zeroed_layer),
    Fault(name="output head quantized", hop="quantized", plant=_quantized_head),
    Fault(name="embeddings tied", hop="quantized", plant=_tied_embeddings),
    Fault(name="other rotary base", hop="quantized", plant=_other_position_base),
    Fault(name="weights truncated", hop="quantized", plant=_truncated),
    Fault(name="stale shard of an earlier build", hop="quantized", plant=_stale_file),
    Fault(name="artifact of another run", hop="quantized", plant=_artifact_of_another_run),
    Fault(name="one byte changed afterwards", hop="quantized", plant=_changed_afterwards),
)
