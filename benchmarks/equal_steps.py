"""Benchmark: plain TRL and driftwheel take the same number of steps on the same rows; the loss at which each ends.

    python -m benchmarks.equal_steps [--seeds N] [--steps N] [--only SET ...] [--data DIR] [--home DIR]

A small base, pretrained on the text of all sets, learns the support example's triage, Banking77's intents, and to
answer in a sentence that repeats the question. Rows, rate, adapter and batch are the same; all else is each side's
default. Both adapters are read by one evaluator, in float32 and without either's trainer. The time to equal
loss is the CPU seconds after which driftwheel's adapter was as good as plain TRL's last one of the same seed.
"""

import argparse
import json
import random
import statistics
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table
from scipy.stats import t as student

from benchmarks.banking77 import DATA, read
from benchmarks.banking77 import answer as banking_answer
from benchmarks.contestant import cpu_seconds
from benchmarks.loss_on_answers import RANK, Pair, make_evaluator, row_of
from driftwheel.files.artifacts import is_complete, writing
from examples.support.build_base import RECIPE, make_model, make_tokenizer, pretrain
from examples.support.world import Document, Example, answer, messages, unlabelled_text
from train.processes.process_tuning import tune_process

TRL, OURS = "plain TRL", "driftwheel"
RATE, BATCH_ROWS, HELD_OUT_ROWS = 3e-3, 32, 200
LOOKS = (0.7, 0.8, 0.9, 1.0)
"""Shares of the steps after which driftwheel's adapter is kept, to find the time to equal loss."""
SMALL: dict[str, Any] = {
    **RECIPE,
    **{"hidden_size": 128, "intermediate_size": 256, "layers": 3, "heads": 2, "key_value_heads": 2},
}
"""The demo's base, three times smaller: thirty trainings have to fit into half an hour on two cores."""


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """One training's end, and driftwheel's looks before it."""

    loss: float
    """Mean negative log-likelihood of the held-out answers' tokens, in nats."""
    cpu_seconds: float
    looks: tuple[tuple[float, float], ...] = ()
    """CPU seconds and loss of earlier adapters."""


def sentence(example: Example) -> str:
    """Return an answer in words, as long as the question is."""
    return f"You ask about {example.intent.replace('_', ' ')}, {example.urgency}: {example.text.lower()}"


def sets(data: Path, rows: int) -> dict[str, list[Pair]]:
    """Return each data set's rows, those to learn before those held out."""
    count = rows + HELD_OUT_ROWS
    support, text = messages(count, 1, "steady"), messages(count, 2, "steady")
    banking = read(data / "train.csv")
    random.Random(0).shuffle(banking)
    return {
        "support": [Pair(question=e.text, answer=answer(e)) for e in support],
        "banking77": [Pair(question=e.text, answer=banking_answer(e)) for e in banking[:count]],
        "text": [Pair(question=e.text, answer=sentence(e)) for e in text],
    }


def build_base(folder: Path, data: Path, steps: int) -> None:
    """Write the base that all trainings start from."""
    if is_complete(folder):
        return
    import torch

    questions = [e.text for e in read(data / "train.csv")]
    documents: list[Document] = [[{"role": "user", "content": text}] for text in questions]
    documents += unlabelled_text(len(documents) // 3, 0)
    random.Random(0).shuffle(documents)
    torch.manual_seed(0)
    tokenizer = make_tokenizer(documents)
    recipe = {**SMALL, "steps": steps}
    model = make_model(tokenizer, recipe)
    pretrain(model, tokenizer, documents, 0, recipe)
    folder.parent.mkdir(parents=True, exist_ok=True)
    with writing(folder, {"seed": 0}) as aside:
        model.to(torch.bfloat16).save_pretrained(aside)
        tokenizer.save_pretrained(aside)


def write_rows(folder: Path, pairs: Sequence[Pair]) -> None:
    """Write a Dataset's training rows, and no validation rows: the evaluator is the same for both sides."""
    folder.mkdir(parents=True, exist_ok=True)
    lines = [
        json.dumps({**row_of(pair), "id": f"row-{n}", "label": None, "group": f"{n}"}) for n, pair in enumerate(pairs)
    ]
    (folder / "train.jsonl").write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    (folder / "validation.jsonl").write_text("", encoding="utf-8")


def plain_trainer(base: Path, folder: Path, pairs: Sequence[Pair], steps: int, seed: int) -> Any:
    """Return TRL's trainer as TRL's command sets it, without checkpointing, which changes no result."""
    import datasets
    import torch
    from peft import LoraConfig
    from trl import SFTConfig, SFTTrainer

    arguments = SFTConfig(
        output_dir=str(folder / "plain"),
        max_steps=steps,
        learning_rate=RATE,
        per_device_train_batch_size=BATCH_ROWS,
        seed=seed,
        gradient_checkpointing=False,
        save_strategy="no",
        disable_tqdm=True,
        use_cpu=not torch.cuda.is_available(),
        dataloader_pin_memory=torch.cuda.is_available(),
    )
    return SFTTrainer(
        model=str(base),
        args=arguments,
        train_dataset=datasets.Dataset.from_list([row_of(pair) for pair in pairs]),
        peft_config=LoraConfig(r=RANK, lora_alpha=2 * RANK, target_modules="all-linear", task_type="CAUSAL_LM"),
    )


def our_trainer(base: Path, folder: Path, steps: int, seed: int) -> Any:
    """Return the trainer of `driftwheel train` with its defaults."""
    from driftwheel.settings.data import DatasetSettings, ModelSettings
    from driftwheel.settings.settings import Settings
    from driftwheel.settings.training import TrainSettings
    from train.training.trainer import make_trainer

    settings = Settings(
        project="equal-steps",
        model=ModelSettings(base=str(base)),
        dataset=DatasetSettings(sources=["unused"]),
        train=TrainSettings(
            max_steps=steps,
            learning_rate=RATE,
            per_device_train_batch_size=BATCH_ROWS,
            lora_r=RANK,
            lora_alpha=2 * RANK,
            seed=seed,
            eval_steps=steps + 1,
        ),
    )
    return make_trainer(settings.train, settings.base, folder, folder / "ours", [])


def train(trainer: Any, loss: Callable[[dict[str, Any]], float], steps: int, *, looks: Sequence[float]) -> Outcome:
    """Train, and return the loss at the end and at some earlier steps; what looking costs is not counted."""
    import transformers
    from peft import get_peft_model_state_dict

    kept: list[tuple[float, dict[str, Any]]] = []
    wanted, paused, began_at = {round(share * steps) for share in looks}, 0.0, 0.0

    class Watch(transformers.TrainerCallback):  # type: ignore[misc]  # transformers is untyped
        def on_train_begin(self, *_: Any, **__: Any) -> None:
            nonlocal began_at
            began_at = cpu_seconds()

        def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
            nonlocal paused
            before = cpu_seconds()
            if state.global_step in wanted:
                weights = get_peft_model_state_dict(trainer.model)
                kept.append((before - began_at - paused, {name: w.float().clone() for name, w in weights.items()}))
            paused += cpu_seconds() - before

    trainer.remove_callback(transformers.PrinterCallback)
    trainer.add_callback(Watch())
    trainer.train()
    measured = [(seconds, loss(weights)) for seconds, weights in kept]
    return Outcome(loss=measured[-1][1], cpu_seconds=measured[-1][0], looks=tuple(measured))


def ratio(pairs: Sequence[tuple[Outcome, Outcome]]) -> tuple[float, float, float]:
    """Return how many times theirs our loss is: the geometric mean over seeds, with its 95 % interval (Student's t)."""
    import math

    logs = [math.log(ours.loss / theirs.loss) for theirs, ours in pairs]
    mean = statistics.fmean(logs)
    if len(logs) < 2:
        return math.exp(mean), 0.0, math.inf
    half = float(student.ppf(0.975, len(logs) - 1)) * statistics.stdev(logs) / math.sqrt(len(logs))
    return math.exp(mean), math.exp(mean - half), math.exp(mean + half)


def seconds_to_equal_loss(theirs: Outcome, ours: Outcome) -> float | None:
    """Return the CPU seconds after which our adapter was as good as their last one; None if it never was."""
    return next((seconds for seconds, loss in ours.looks if loss <= theirs.loss), None)


def table(outcomes: dict[str, list[tuple[Outcome, Outcome]]]) -> Table:
    """Return one line a data set: means over the seeds, the lowest and the highest."""
    columns = ("data set", TRL, OURS, "times TRL's [95 %]", "CPU s, TRL", "CPU s, driftwheel", "CPU s to TRL's loss")
    found = Table(*columns, title="held-out loss at equal steps, in nats a token")
    for name, pairs in outcomes.items():
        theirs, ours = zip(*pairs, strict=True)
        mean, low, high = ratio(pairs)
        times = [seconds for pair in pairs if (seconds := seconds_to_equal_loss(*pair)) is not None]
        reached = f"{statistics.fmean(times):.1f} ({len(times)} of {len(pairs)})" if times else f"0 of {len(pairs)}"
        spent = (f"{statistics.fmean(o.cpu_seconds for o in side):.1f}" for side in (theirs, ours))
        found.add_row(name, _losses(theirs), _losses(ours), f"{mean:.3f} [{low:.3f}, {high:.3f}]", *spent, reached)
    return found


def _losses(side: Sequence[Outcome]) -> str:
    losses = [outcome.loss for outcome in side]
    return f"{statistics.fmean(losses):.4f} ({min(losses):.4f} to {max(losses):.4f})"


def main() -> int:
    """Run the trainings in turns and print the table; fail where driftwheel is worse beyond chance."""
    parser = argparse.ArgumentParser(description="Loss at equal steps beside plain TRL.")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--steps", type=int, default=100, help=f"steps of {BATCH_ROWS} rows (100)")
    parser.add_argument("--rows", type=int, default=2400, help="training rows (2400)")
    parser.add_argument("--base-steps", type=int, default=240, help="steps of the base's pretraining (240)")
    parser.add_argument("--only", nargs="+", choices=("support", "banking77", "text"), help="these data sets (all)")
    parser.add_argument("--data", type=Path, default=DATA, help="folder with train.csv")
    parser.add_argument("--home", type=Path, default=Path.cwd() / ".driftwheel" / "equal_steps")
    arguments = parser.parse_args()
    tune_process()
    import datasets
    import transformers

    datasets.disable_progress_bars()
    home, console, steps = arguments.home.resolve(), Console(width=150), arguments.steps
    build_base(home / "base", arguments.data, arguments.base_steps)
    outcomes: dict[str, list[tuple[Outcome, Outcome]]] = {}
    for name, pairs in sets(arguments.data, arguments.rows).items():
        if arguments.only and name not in arguments.only:
            continue
        learned = pairs[:-HELD_OUT_ROWS] or pairs
        loss = make_evaluator(home / "base", pairs[-HELD_OUT_ROWS:])
        write_rows(home / name, learned)
        for seed in range(arguments.seeds):
            transformers.set_seed(seed)
            theirs = train(plain_trainer(home / "base", home, learned, steps, seed), loss, steps, looks=[1.0])
            ours = train(our_trainer(home / "base", home / name, steps, seed), loss, steps, looks=LOOKS)
            outcomes.setdefault(name, []).append((theirs, ours))
            line = f"{name}, seed {seed}: {TRL} {theirs.loss:.4f}, {OURS} {ours.loss:.4f}"
            console.print(line, highlight=False)
    console.print(table(outcomes))
    return int(any(ratio(pairs)[1] > 1 for pairs in outcomes.values()))


if __name__ == "__main__":
    sys.exit(main())
