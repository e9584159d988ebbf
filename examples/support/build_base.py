"""Trains the demo's small Qwen3 base model, with a tokenizer of its own, on unlabelled text.

    python -m examples.support.build_base --out DIR [--task cottages]

No model hub can be reached everywhere, so the demo makes its base once and keeps it; what follows is the
code that a 7B model takes. The base knows the words of the world, what belongs together and the look of an answer,
not the task.
"""

import argparse
import json
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from driftwheel.files.artifacts import is_complete, read_manifest, writing
from driftwheel.identity import content_hash
from driftwheel.settings.training import TrainSettings
from examples.support.world import Document, unlabelled_text
from examples.support.world_cottages import unlabelled_text as cottage_text
from train.chat_template import shipped
from train.processes.number_type import use_best_threads, with_number_type
from train.step_progress import PLAIN_LINE_SECONDS, progress

Recipe = dict[str, Any]
TextOfWorld = Callable[[int, int], list[Document]]
RECIPE: Recipe = {
    "format": 5,
    "documents": 6000,
    "vocabulary": 1536,
    "hidden_size": 192,
    "intermediate_size": 512,
    "layers": 4,
    "heads": 3,
    "key_value_heads": 3,
    "head_dim": 64,
    "positions": 2048,
    "block_tokens": 64,
    "batch_rows": 32,
    "steps": 150,
    "matrix_rate": 2e-2,
    "learning_rate": 5e-3,
}
"""Muon (Jordan et al. 2024) learns in 150 steps of 2,048 tokens what AdamW learned in 600 steps of 3,072."""
WORLDS: dict[str, TextOfWorld] = {"support": unlabelled_text, "cottages": cottage_text}
TEMPLATE = "qwen3_instruct_2507"
"""A published chat template, which ships inside TRL: ChatML with tools, and nothing between prompt and answer."""


def build_base(out: Path, seed: int = 0, text_of_world: TextOfWorld = unlabelled_text) -> Path:
    """Build the base model of a world at `out`, or find it finished there."""
    documents = text_of_world(RECIPE["documents"], seed)
    template = content_hash(shipped(TEMPLATE).read_text(encoding="utf-8"))
    recipe = {**RECIPE, "seed": seed, "template": template, "text": content_hash(documents)}
    if is_complete(out) and read_manifest(out).recipe == recipe:
        return out
    import torch

    torch.manual_seed(seed)
    tokenizer = make_tokenizer(documents)
    model = make_model(tokenizer)
    loss = pretrain(model, tokenizer, documents, seed)
    out.parent.mkdir(parents=True, exist_ok=True)
    with writing(out, {"recipe": recipe, "final_loss": loss}) as folder:
        model.to(torch.bfloat16).save_pretrained(folder)
        tokenizer.save_pretrained(folder)
    return out


def make_tokenizer(documents: list[Document]) -> Any:
    """Train a byte-level BPE tokenizer with ChatML's special tokens and the published template."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    raw = Tokenizer(models.BPE())
    raw.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    raw.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=RECIPE["vocabulary"],
        special_tokens=["<|endoftext|>", "<|im_start|>", "<|im_end|>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    texts = [message["content"] for document in documents for message in document]
    raw.train_from_iterator([*texts, "system user assistant"], trainer)
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=raw, eos_token="<|im_end|>", pad_token="<|endoftext|>")
    tokenizer.chat_template = shipped(TEMPLATE).read_text(encoding="utf-8")
    return tokenizer


def make_model(tokenizer: Any, recipe: Recipe = RECIPE) -> Any:
    """Return an untrained Qwen3, by RECIPE of 2.4 million parameters; its output layer is not tied to the embedding."""
    from transformers import Qwen3Config, Qwen3ForCausalLM

    # The vocabulary is rounded up so that quantized kernels get matrices in whole blocks.
    vocabulary = (len(tokenizer) + 63) // 64 * 64
    config = Qwen3Config(
        vocab_size=vocabulary,
        hidden_size=recipe["hidden_size"],
        intermediate_size=recipe["intermediate_size"],
        num_hidden_layers=recipe["layers"],
        num_attention_heads=recipe["heads"],
        num_key_value_heads=recipe["key_value_heads"],
        head_dim=recipe["head_dim"],
        max_position_embeddings=recipe["positions"],
        tie_word_embeddings=False,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
        bos_token_id=None,
    )
    model = Qwen3ForCausalLM(config)
    model.generation_config.eos_token_id = tokenizer.eos_token_id
    model.generation_config.pad_token_id = tokenizer.pad_token_id
    return model


def framed(document: Document) -> str:
    """Return a document as the chat template writes it; done here, because a template takes a hundred times as long."""
    return "".join(f"<|im_start|>{m['role']}\n{m['content']}<|im_end|>\n" for m in document)


def pretrain(
    model: Any,
    tokenizer: Any,
    documents: list[Document],
    seed: int,
    recipe: Recipe = RECIPE,
    every_seconds: float = PLAIN_LINE_SECONDS,
) -> float:
    """Train on blocks of documents in the chat format's frame; return the last mean loss in nats.

    How far it is stands on stderr: as a bar on a terminal, else as a line every so many seconds.
    """
    import torch

    attention = model.config._attn_implementation
    # The fused attention's way back takes a third of a step of such short blocks on a CPU.
    model.set_attn_implementation("eager")
    text = "".join(framed(document) + "<|endoftext|>" for document in documents)
    batches = _batches(tokenizer(text)["input_ids"], recipe, seed)
    optimizers, schedules = _optimizers(model, recipe)
    is_bf16 = bool(with_number_type(TrainSettings(method="full")).bf16)
    recent: list[float] = []
    model.train()
    with progress("base model", recipe["steps"], every_seconds=every_seconds) as advance:
        for _ in range(recipe["steps"]):
            batch = next(batches)
            with torch.autocast("cpu", torch.bfloat16, enabled=is_bf16):
                loss = model(input_ids=batch, labels=batch).loss
            loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            for optimizer, schedule in zip(optimizers, schedules, strict=True):
                optimizer.step()
                schedule.step()
                optimizer.zero_grad()
            recent = [*recent[-19:], float(loss.detach())]
            advance()
    model.set_attn_implementation(attention)
    return sum(recent) / len(recent)


def _batches(ids: list[int], recipe: Recipe, seed: int) -> Iterator[Any]:
    """Draw each step's blocks of neighboring tokens, every block once before any comes again."""
    import torch

    size, generator = recipe["block_tokens"], torch.Generator().manual_seed(seed)
    blocks = torch.tensor(ids[: len(ids) // size * size]).view(-1, size)
    while True:
        for drawn in torch.randperm(len(blocks), generator=generator).split(recipe["batch_rows"]):
            yield blocks[drawn]


def _optimizers(model: Any, recipe: Recipe) -> tuple[list[Any], list[Any]]:
    """Return Muon for the layers' matrices and AdamW for the rest, as Muon's authors say, and their schedules."""
    import torch

    matrices = [p for name, p in model.named_parameters() if p.ndim == 2 and ".layers." in name]
    rest = [p for name, p in model.named_parameters() if p.ndim != 2 or ".layers." not in name]
    rates = (recipe["matrix_rate"], recipe["learning_rate"])
    optimizers = [
        torch.optim.Muon(matrices, lr=rates[0], weight_decay=0.01),
        torch.optim.AdamW(rest, lr=rates[1], betas=(0.9, 0.95), weight_decay=0.01, fused=True),
    ]
    # Muon's momentum stays: OneCycleLR's own course of it is made for SGD.
    course = {"total_steps": recipe["steps"], "pct_start": 0.1, "cycle_momentum": False}
    scheduler = torch.optim.lr_scheduler.OneCycleLR
    return optimizers, [scheduler(o, rate, **course) for o, rate in zip(optimizers, rates, strict=True)]


def main() -> int:
    """Build the base model and say where it is."""
    parser = argparse.ArgumentParser(description="Build the demo's base model.")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--task", choices=tuple(WORLDS), default="support", help="whose text it is made from")
    arguments = parser.parse_args()
    started_at = time.monotonic()
    use_best_threads()
    out = build_base(arguments.out.resolve(), arguments.seed, WORLDS[arguments.task])
    config = json.loads((out / "config.json").read_text(encoding="utf-8"))
    print(f"base model at {out}: {config['model_type']}, {time.monotonic() - started_at:.0f} s")
    return 0


if __name__ == "__main__":
    sys.exit(main())
