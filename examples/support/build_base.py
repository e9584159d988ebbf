"""Trains the demo's small Qwen3 base model, with a tokenizer of its own, on unlabelled text.

    python -m examples.support.build_base --out DIR

No model hub can be reached everywhere, so the demo makes its base once and keeps it; what follows is the
code that a 7B model takes. The base knows the words of the world, what belongs together and the look of an answer,
not the task.
"""

import argparse
import json
import sys
import time
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

from driftwheel.artifacts import is_complete, read_manifest, writing
from driftwheel.records import content_hash
from examples.support.world import Document, unlabelled_text
from train.chat_template import shipped

RECIPE: dict[str, Any] = {
    "format": 4,
    "documents": 6000,
    "vocabulary": 1536,
    "hidden_size": 192,
    "intermediate_size": 512,
    "layers": 4,
    "heads": 3,
    "key_value_heads": 3,
    "head_dim": 64,
    "positions": 2048,
    "block_tokens": 128,
    "batch_rows": 24,
    "steps": 600,
    "learning_rate": 3e-3,
}
TEMPLATE = "qwen3_instruct_2507"
"""A published chat template, which ships inside TRL: ChatML with tools, and nothing between prompt and answer."""


def build_base(out: Path, seed: int = 0) -> Path:
    """Build the base model at `out`, or find it finished there."""
    documents = unlabelled_text(RECIPE["documents"], seed)
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


def make_model(tokenizer: Any) -> Any:
    """Return an untrained Qwen3 of about 3 million parameters; its output layer is not tied to the embedding."""
    from transformers import Qwen3Config, Qwen3ForCausalLM

    # The vocabulary is rounded up so that quantized kernels get matrices in whole blocks.
    vocabulary = (len(tokenizer) + 63) // 64 * 64
    config = Qwen3Config(
        vocab_size=vocabulary,
        hidden_size=RECIPE["hidden_size"],
        intermediate_size=RECIPE["intermediate_size"],
        num_hidden_layers=RECIPE["layers"],
        num_attention_heads=RECIPE["heads"],
        num_key_value_heads=RECIPE["key_value_heads"],
        head_dim=RECIPE["head_dim"],
        max_position_embeddings=RECIPE["positions"],
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


def pretrain(model: Any, tokenizer: Any, documents: list[Document], seed: int) -> float:
    """Train on blocks of documents in the chat format's frame; return the last mean loss in nats."""
    import torch

    text = "".join(framed(document) + "<|endoftext|>" for document in documents)
    tokens = torch.tensor(tokenizer(text)["input_ids"])
    size, rows = RECIPE["block_tokens"], RECIPE["batch_rows"]
    blocks = tokens[: len(tokens) // size * size].view(-1, size)
    optimizer = torch.optim.AdamW(model.parameters(), lr=RECIPE["learning_rate"], weight_decay=0.01)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, RECIPE["learning_rate"], total_steps=RECIPE["steps"], pct_start=0.1
    )
    generator = torch.Generator().manual_seed(seed)
    recent: list[float] = []
    model.train()
    columns = (TextColumn("base model"), BarColumn(), TextColumn("{task.description}"), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True)) as progress:
        task = progress.add_task("", total=RECIPE["steps"])
        for _ in range(RECIPE["steps"]):
            batch = blocks[torch.randint(len(blocks), (rows,), generator=generator)]
            with torch.autocast("cpu", torch.bfloat16):
                loss = model(input_ids=batch, labels=batch).loss
            loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            schedule.step()
            optimizer.zero_grad()
            recent = [*recent[-19:], float(loss.detach())]
            progress.update(task, advance=1, description=f"loss {sum(recent) / len(recent):.2f}")
    return sum(recent) / len(recent)


def main() -> int:
    """Build the base model and say where it is."""
    parser = argparse.ArgumentParser(description="Build the demo's base model.")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    started_at = time.monotonic()
    out = build_base(arguments.out.resolve(), arguments.seed)
    config = json.loads((out / "config.json").read_text(encoding="utf-8"))
    print(f"base model at {out}: {config['model_type']}, {time.monotonic() - started_at:.0f} s")
    return 0


if __name__ == "__main__":
    sys.exit(main())
