"""Measures one way of fine-tuning: seconds, tokens, peak memory and held-out loss.

    python -m benchmarks.contestant NAME --home DIR

Every contestant sees each training row of DIR exactly once, in batches of as many rows, with the same base, adapter,
learning rate and seed. What is measured begins with the first step and ends with the last: imports, the loading of the
model and tokenization are reported as set-up. The cost is CPU seconds, and seconds by the clock where a GPU does the
work; memory is the process's, or the GPU's.
"""

import argparse
import json
import resource
import sys
import time
from pathlib import Path
from typing import Any

from train.processes.process_tuning import tune_process

BATCH_ROWS = 16
SHARED: dict[str, Any] = {"num_train_epochs": 1, "learning_rate": 1e-3, "lr_scheduler_type": "constant", "seed": 0}
OURS = "driftwheel"
TUNED: dict[str, Any] = {"gradient_checkpointing": False, "model_init_kwargs": {"dtype": "bfloat16"}}
PEERS: dict[str, dict[str, Any]] = {
    "trl": {},
    "trl-passive": {},
    "trl-grouped": {**TUNED, "train_sampling_strategy": "group_by_length"},
    "trl-packed": {**TUNED, "packing": True, "per_device_train_batch_size": 1},
}
"""Plain TRL with its defaults, twice, and as one sets it who knows it well, with and without packing."""


def cpu_seconds() -> float:
    """Return user and system seconds of this process and its threads so far."""
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


def conversations(home: Path, split: str) -> list[dict[str, Any]]:
    """Return a split's prompts and completions."""
    from train.data.examples import read_examples

    examples = read_examples(home / "dataset" / f"{split}.jsonl")
    return [{"prompt": example.prompt, "completion": example.completion} for example in examples]


def peer_trainer(name: str, home: Path, callbacks: list[Any]) -> Any:
    """Return plain TRL's trainer; a packed row holds about as many tokens as the others' batch."""
    import datasets
    import torch
    from peft import LoraConfig
    from trl import SFTConfig, SFTTrainer

    options = {"per_device_train_batch_size": BATCH_ROWS, **PEERS[name]}
    if "packing" in options:
        options["max_length"] = json.loads((home / "facts.json").read_text())["batch_tokens"]
    arguments = SFTConfig(
        output_dir=str(home / "runs" / name),
        use_cpu=not torch.cuda.is_available(),
        disable_tqdm=True,
        save_strategy="no",
        **SHARED,
        **options,
    )
    return SFTTrainer(
        model=str(home / "base"),
        args=arguments,
        train_dataset=datasets.Dataset.from_list(conversations(home, "train")),
        peft_config=LoraConfig(r=16, lora_alpha=32, target_modules="all-linear", task_type="CAUSAL_LM"),
        callbacks=callbacks,
    )


def driftwheel_trainer(home: Path, callbacks: list[Any]) -> Any:
    """Return the trainer of `driftwheel train` with its default settings, but for what all contestants share."""
    from driftwheel.settings.data import DatasetSettings, ModelSettings
    from driftwheel.settings.settings import Settings
    from driftwheel.settings.training import TrainSettings
    from train.training.trainer import make_trainer

    settings = Settings(
        project="training",
        model=ModelSettings(base=str(home / "base")),
        dataset=DatasetSettings(sources=["unused"]),
        train=TrainSettings(**SHARED, warmup_steps=0, per_device_train_batch_size=BATCH_ROWS),
    )
    return make_trainer(settings.train, settings.base, home / "dataset", home / "runs" / OURS, callbacks)


def held_out_loss(trainer: Any, rows: list[dict[str, Any]]) -> float:
    """Return the mean negative log-likelihood of the completions' tokens, in nats, by the model's own forward pass."""
    import torch
    from torch.nn.functional import cross_entropy

    tokenizer, total, count, device = trainer.processing_class, 0.0, 0, trainer.model.device
    trainer.model.eval()
    with torch.no_grad(), torch.autocast(device.type, torch.bfloat16):
        for row in rows:
            prompt = tokenizer.apply_chat_template(row["prompt"], add_generation_prompt=True, return_dict=False)
            tokens = tokenizer.apply_chat_template(row["prompt"] + row["completion"], return_dict=False)
            answer = torch.tensor(tokens[len(prompt) :], device=device)
            logits = trainer.model(input_ids=torch.tensor([tokens], device=device)).logits[0, len(prompt) - 1 : -1]
            total += float(cross_entropy(logits.float(), answer, reduction="sum"))
            count += len(answer)
    return total / count


def measure(name: str, home: Path) -> dict[str, Any]:
    """Fine-tune once and return what it cost and what came out."""
    started_at = time.monotonic()
    if name == OURS:
        tune_process()
    import torch
    import transformers

    has_gpu = torch.cuda.is_available()
    marks: list[tuple[float, float]] = []

    class Meter(transformers.TrainerCallback):  # type: ignore[misc]  # transformers is untyped
        def on_train_begin(self, *_: Any, **__: Any) -> None:
            if has_gpu:
                torch.cuda.synchronize()
            marks.append((cpu_seconds(), time.monotonic()))

        on_step_end = on_train_begin

    transformers.set_seed(SHARED["seed"])
    trainer = driftwheel_trainer(home, [Meter()]) if name == OURS else peer_trainer(name, home, [Meter()])
    tokens = sum(len(ids) for ids in trainer.train_dataset["input_ids"])
    trainer.train()
    resident_bytes = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    (cpu_before, began_at), (cpu_after, ended_at) = marks[0], marks[-1]
    return {
        "name": name,
        "set_up_seconds": began_at - started_at,
        "cost_seconds": ended_at - began_at if has_gpu else cpu_after - cpu_before,
        "wall_seconds": ended_at - began_at,
        "steps": len(marks) - 1,
        "tokens": tokens,
        "peak_bytes": torch.cuda.max_memory_allocated() if has_gpu else resident_bytes,
        "held_out_loss": held_out_loss(trainer, conversations(home, "held_out")),
    }


def main() -> int:
    """Run one contestant and print its figures as one JSON line."""
    parser = argparse.ArgumentParser(description="One contestant of the training benchmark.")
    parser.add_argument("name", choices=(*PEERS, OURS))
    parser.add_argument("--home", type=Path, required=True)
    arguments = parser.parse_args()
    print(json.dumps(measure(arguments.name, arguments.home)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
