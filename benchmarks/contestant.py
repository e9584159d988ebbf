"""One way of fine-tuning becomes one measured run: CPU seconds, tokens, peak memory and held-out loss.

    python -m benchmarks.contestant NAME --home DIR --rows N

Every contestant sees each training row of DIR exactly once, in batches of as many rows, with the same base, adapter,
learning rate and seed. What is measured begins with the first step and ends with the last: imports, the loading of the
model and tokenization are reported as set-up.
"""

import argparse
import json
import resource
import sys
import time
from pathlib import Path
from typing import Any

BATCH_ROWS = 16
SHARED: dict[str, Any] = {
    "num_train_epochs": 1,
    "learning_rate": 1e-3,
    "lr_scheduler_type": "constant",
    "seed": 0,
}
PLAIN = "trl"
TUNED: dict[str, Any] = {"gradient_checkpointing": False, "model_init_kwargs": {"dtype": "bfloat16"}}
"""What a knowing user of TRL sets on a CPU."""


def cpu_seconds() -> float:
    """Return user and system seconds of this process and its threads so far."""
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


def trl_trainer(name: str, home: Path, packed_tokens: int, callbacks: list[Any]) -> Any:
    """Return plain TRL's trainer: its defaults, or the best of its own settings with or without packing."""
    import datasets
    from peft import LoraConfig
    from trl import SFTConfig, SFTTrainer

    from train.trainer import read_split

    own: dict[str, Any] = {"per_device_train_batch_size": BATCH_ROWS}
    if name == "trl-grouped":
        own |= {**TUNED, "train_sampling_strategy": "group_by_length"}
    elif name == "trl-packed":
        own |= {**TUNED, "packing": True, "max_length": packed_tokens, "per_device_train_batch_size": 1}
    arguments = SFTConfig(
        output_dir=str(home / "runs" / name), use_cpu=True, disable_tqdm=True, save_strategy="no", **SHARED, **own
    )
    return SFTTrainer(
        model=str(home / "base"),
        args=arguments,
        train_dataset=datasets.Dataset.from_list(read_split(home / "dataset", "train")),
        peft_config=LoraConfig(r=16, lora_alpha=32, target_modules="all-linear", task_type="CAUSAL_LM"),
        callbacks=callbacks,
    )


def driftwheel_trainer(home: Path, callbacks: list[Any]) -> Any:
    """Return the trainer of `driftwheel train` with its default settings."""
    from driftwheel.config import DatasetSettings, ModelSettings, Settings, TrainSettings
    from train.trainer import make_trainer

    settings = Settings(
        project="training",
        model=ModelSettings(base=str(home / "base")),
        dataset=DatasetSettings(sources=["unused"]),
        train=TrainSettings(**SHARED, warmup_steps=0, per_device_train_batch_size=BATCH_ROWS, eval_steps=10_000),
    )
    return make_trainer(settings, home / "dataset", home / "runs" / "driftwheel", callbacks)


def held_out_loss(model: Any, tokenizer: Any, rows: list[dict[str, Any]]) -> float:
    """Return the mean negative log-likelihood of the completions' tokens, in nats, by the model's own forward pass."""
    import torch

    model.eval()
    total, count = 0.0, 0
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        for row in rows:
            prompt = tokenizer.apply_chat_template(row["prompt"], add_generation_prompt=True, return_dict=False)
            tokens = tokenizer.apply_chat_template(row["prompt"] + row["completion"], return_dict=False)
            logits = model(input_ids=torch.tensor([tokens])).logits[0, len(prompt) - 1 : -1].float()
            total += float(torch.nn.functional.cross_entropy(logits, torch.tensor(tokens[len(prompt) :]), reduction="sum"))
            count += len(tokens) - len(prompt)
    return total / count


def measure(name: str, home: Path, packed_tokens: int) -> dict[str, Any]:
    """Fine-tune once and return what it cost and what came out."""
    started_at = time.monotonic()
    if name == "driftwheel":
        from train import finetune  # noqa: F401
    import transformers

    from train.trainer import read_split

    marks: list[tuple[float, float]] = []

    class Meter(transformers.TrainerCallback):  # type: ignore[misc]  # transformers is untyped
        def on_train_begin(self, *_: Any, **__: Any) -> None:
            marks.append((cpu_seconds(), time.monotonic()))

        on_step_end = on_train_begin

    transformers.set_seed(SHARED["seed"])
    callbacks = [Meter()]
    if name == "driftwheel":
        trainer = driftwheel_trainer(home, callbacks)
    else:
        trainer = trl_trainer(name, home, packed_tokens, callbacks)
    tokens = sum(len(ids) for ids in trainer.train_dataset["input_ids"])
    trainer.train()
    peak_bytes = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    return {
        "name": name,
        "set_up_seconds": marks[0][1] - started_at,
        "cpu_seconds": marks[-1][0] - marks[0][0],
        "wall_seconds": marks[-1][1] - marks[0][1],
        "step_cpu_seconds": [round(b[0] - a[0], 3) for a, b in zip(marks, marks[1:], strict=False)],
        "steps": len(marks) - 1,
        "tokens": tokens,
        "peak_bytes": peak_bytes,
        "losses": [entry["loss"] for entry in trainer.state.log_history if "loss" in entry],
        "held_out_loss": held_out_loss(trainer.model, trainer.processing_class, read_split(home / "dataset", "held_out")),
    }


def main() -> int:
    """Run one contestant and print its figures as one JSON line."""
    parser = argparse.ArgumentParser(description="One contestant of the training benchmark.")
    parser.add_argument("name", choices=("trl", "trl-grouped", "trl-packed", "driftwheel"))
    parser.add_argument("--home", type=Path, required=True)
    parser.add_argument("--packed-tokens", type=int, default=1024)
    arguments = parser.parse_args()
    print(json.dumps(measure(arguments.name, arguments.home, arguments.packed_tokens)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
