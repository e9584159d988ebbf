"""Benchmark: the memory that `driftwheel doctor --model` estimates, beside the peak that training takes.

    python -m benchmarks.memory [--sizes 27M 108M 227M] [--methods full lora]

Models of random weights are trained for three steps, each in a process of its own, whose peak resident memory the
kernel keeps. The last line is the largest error, which `doctor` states with its estimate.
"""

import argparse
import json
import resource
import subprocess
import sys
import tempfile
from dataclasses import asdict
from pathlib import Path

from driftwheel.settings.data import DatasetSettings, ModelSettings
from driftwheel.settings.settings import Settings, StorageSettings
from driftwheel.settings.training import TrainSettings
from driftwheel.text.conversations import said

SIZES = {  # hidden size, layers, intermediate size
    "3M": (128, 2, 256),
    "27M": (384, 8, 1024),
    "108M": (768, 12, 2304),
    "227M": (1024, 14, 3584),
}
MEASURED = ["27M", "108M", "227M"]
"""The smallest is for trying this file out: the libraries take far more memory than it does."""
VOCABULARY = 16_000
BATCH, TOKENS, STEPS = 4, 128, 3
FRAME = 4
"""Tokens that the chat template puts around two messages; a longer row would be refused, as its answer would be cut."""
METHODS: dict[str, dict[str, object]] = {
    "full": {"method": "full"},
    "lora": {},
    "dora": {"use_dora": True},
    "lora, checkpointing": {"gradient_checkpointing": True},
}
TEMPLATE = "{% for m in messages %}<|im_start|>{{ m['content'] }}<|im_end|>{% endfor %}"


def build(folder: Path, hidden: int, layers: int, intermediate: int) -> None:
    """Write a Qwen3 of random weights, in bfloat16 as released models are, with a byte tokenizer."""
    import torch
    from tokenizers import Tokenizer, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast, Qwen3Config, Qwen3ForCausalLM

    raw = Tokenizer(models.BPE())
    raw.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    special = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    raw.train_from_iterator(
        ["a"], trainers.BpeTrainer(special_tokens=special, initial_alphabet=alphabet, show_progress=False)
    )
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=raw, eos_token="<|im_end|>", pad_token="<|endoftext|>")
    tokenizer.chat_template = TEMPLATE
    tokenizer.save_pretrained(folder)
    config = Qwen3Config(
        vocab_size=VOCABULARY,
        hidden_size=hidden,
        intermediate_size=intermediate,
        num_hidden_layers=layers,
        num_attention_heads=hidden // 64,
        num_key_value_heads=hidden // 64,
        head_dim=64,
        tie_word_embeddings=True,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
        bos_token_id=None,
    )
    Qwen3ForCausalLM(config).to(torch.bfloat16).save_pretrained(folder)


def settings_of(folder: Path, base: Path, method: str) -> Settings:
    """Return settings that train a base for three steps on full batches."""
    train = TrainSettings(
        max_steps=STEPS,
        per_device_train_batch_size=BATCH,
        per_device_eval_batch_size=BATCH,
        max_length=TOKENS,
        eval_steps=1000,
        **METHODS[method],
    )
    return Settings(
        project="memory",
        model=ModelSettings(base=str(base)),
        dataset=DatasetSettings(sources=["none"]),
        train=train,
        storage=StorageSettings(root=str(folder)),
    )


def child(folder: Path, base: Path, method: str) -> None:
    """Train in this process, and print its peak before and after in bytes."""
    from train.data.examples import Example
    from train.training.trainer import make_trainer

    text = "q" * ((TOKENS - FRAME) // 2)
    row = Example(id="row", prompt=[said("user", text)], completion=[said("assistant", text)], label=None, group="row")
    for split, rows in (("train", 16), ("validation", BATCH)):
        (folder / f"{split}.jsonl").write_text((json.dumps(asdict(row)) + "\n") * rows, encoding="utf-8")
    settings = settings_of(folder, base, method)
    trainer = make_trainer(settings.train, settings.base, folder, folder, [])
    trainer.train()
    print(json.dumps({"peak": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024}))


def measure(base: Path, method: str) -> float:
    """Return the peak of a training in a process of its own, in bytes."""
    with tempfile.TemporaryDirectory() as folder:
        argv = [sys.executable, "-m", "benchmarks.memory", "--child", folder, str(base), method]
        done = subprocess.run(argv, stdout=subprocess.PIPE, text=True, check=True)
    return float(json.loads(done.stdout.strip().splitlines()[-1])["peak"])


def main() -> None:
    """Print estimate, measured peak and their ratio for each size and method."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--child", nargs=3, metavar=("FOLDER", "BASE", "METHOD"), help=argparse.SUPPRESS)
    parser.add_argument("--sizes", nargs="+", default=MEASURED, choices=list(SIZES))
    parser.add_argument("--methods", nargs="+", default=list(METHODS), choices=list(METHODS))
    arguments = parser.parse_args()
    if arguments.child:
        child(Path(arguments.child[0]), Path(arguments.child[1]), arguments.child[2])
        return
    from transformers import AutoConfig

    from train.sizing.memory import estimate

    ratios = []
    print(f"{BATCH} x {TOKENS} tokens, vocabulary {VOCABULARY:,}; MB of resident memory at the peak")
    print(
        f"{'model':<7} {'method':<20} {'weights':>8} {'grads':>7} {'states':>7} {'activ.':>7} {'estimate':>9} "
        f"{'measured':>9} {'ratio':>6}"
    )
    for size in arguments.sizes:
        with tempfile.TemporaryDirectory() as folder:
            build(Path(folder), *SIZES[size])
            config = AutoConfig.from_pretrained(folder)
            for method in arguments.methods:
                e = estimate(config, settings_of(Path(folder), Path(folder), method).train)
                peak = measure(Path(folder), method)
                ratios.append(e.total / peak)
                parts = (e.weights, e.gradients, e.optimizer, e.activations, e.total, peak)
                widths = (8, 7, 7, 7, 9, 9)
                numbers = " ".join(f"{v / 1e6:>{w},.0f}" for v, w in zip(parts, widths, strict=True))
                print(f"{size:<7} {method:<20} {numbers} {ratios[-1]:>6.2f}", flush=True)
    print(f"estimate / measured: {min(ratios):.2f} to {max(ratios):.2f} over {len(ratios)} trainings")


if __name__ == "__main__":
    main()
