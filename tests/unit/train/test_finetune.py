"""Fine-tuning: real steps on a tiny model, curves, idempotence and every refusal."""

import io
import json
import re
import shutil
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console
from safetensors.torch import load_file, save_file

from driftwheel.errors import ArtifactError, ConfigError, ConflictError, DataError, DriftwheelError, NotFoundError
from driftwheel.files import artifacts
from driftwheel.machine.system import only_process
from driftwheel.records.nouns import Alias, Dataset, ModelVersion, TrainingRun, TrainingRunStatus
from driftwheel.settings.data import TemplateSettings
from driftwheel.settings.settings import Settings
from driftwheel.store.ledger import Ledger
from tests.support.versions import published_version
from train.base_model import load_base_tokenizer, load_tokenizer
from train.chat_template import answers_at_once
from train.finetune import find_or_add_run, finetune
from train.merge import merge
from train.runs import STARTED_FROM, merged_path, weights_path
from train.step_progress import PLAIN_LINE_SECONDS
from train.training.checkpoints import CHECKPOINT_MARK, last_complete_checkpoint
from train.training.curves import CurvePoint, as_line, read_curves
from train.training.progress import CurveWriter, ProgressBar
from train.warm_start import starting_weights


def with_template(settings: Settings, **template: Any) -> Settings:
    model = settings.model.model_copy(update={"template": TemplateSettings(**template)})
    return settings.model_copy(update={"model": model})


def change_train(settings: Settings, **changes: Any) -> Settings:
    return settings.model_copy(update={"train": settings.train.model_copy(update=changes)})


@pytest.mark.parametrize(
    ("changes", "folder", "weights"),
    [
        ({}, "adapter", "adapter_model.safetensors"),
        ({"packing": True}, "adapter", "adapter_model.safetensors"),
        ({"method": "full", "learning_rate": 1e-3}, "model", "model.safetensors"),
    ],
    ids=["lora", "lora packed", "full"],
)
def test_trains_and_keeps_weights_curves_and_settings(
    train_settings: Settings, ledger: Ledger, dataset: Dataset, changes: dict[str, Any], folder: str, weights: str
) -> None:
    run = finetune(change_train(train_settings, **changes), ledger, dataset.id)

    assert run == ledger.get(TrainingRun, run.id)
    assert run.status is TrainingRunStatus.SUCCEEDED
    assert weights_path(run) == Path(run.path) / folder
    manifest = artifacts.verify(weights_path(run))
    assert weights in manifest.files
    assert (manifest.run_id, manifest.dataset_id) == (run.id, dataset.id)
    points = read_curves(Path(run.path))
    losses = [point.loss for point in points if point.loss is not None]
    assert [point.step for point in points if point.loss is not None] == [1, 2, 3, 4, 5, 6]
    assert losses[-1] < losses[0]
    assert [point.step for point in points if point.eval_loss is not None] == [2, 4, 6]
    assert run.metrics.steps == 6
    assert run.metrics.eval_loss == min(p.eval_loss for p in points if p.eval_loss is not None)
    assert (Path(run.path) / "settings.yaml").read_text(encoding="utf-8").startswith("project: support\n")


def test_finds_finished_work_and_does_not_redo_it(train_settings: Settings, ledger: Ledger, dataset: Dataset) -> None:
    first = finetune(train_settings, ledger, dataset.id)
    manifest = weights_path(first) / artifacts.MANIFEST
    written_at = manifest.stat().st_mtime_ns

    assert finetune(train_settings, ledger, dataset.id) == first
    assert manifest.stat().st_mtime_ns == written_at
    assert ledger.count(TrainingRun) == 1


def test_is_another_run_when_a_training_setting_changes(
    train_settings: Settings, ledger: Ledger, dataset: Dataset
) -> None:
    first = finetune(change_train(train_settings, max_steps=1), ledger, dataset.id)
    second = finetune(change_train(train_settings, max_steps=1, seed=7), ledger, dataset.id)
    assert first.id != second.id
    assert first.settings_hash != second.settings_hash


def test_stops_early_when_validation_stops_improving(
    train_settings: Settings, ledger: Ledger, dataset: Dataset
) -> None:
    wild = change_train(train_settings, max_steps=40, eval_steps=1, early_stopping_patience=2, learning_rate=0.9)
    run = finetune(wild, ledger, dataset.id)
    metrics = run.metrics.known()
    assert metrics["stopped_early"] is True
    assert metrics["steps"] < 40
    assert metrics["best_step"] == metrics["steps"] - 2


@pytest.mark.parametrize(
    ("base", "error", "message"),
    [
        ("no/such/folder", NotFoundError, "neither a folder nor a hub name"),
        ("EMPTY", ConfigError, "cannot load the base model"),
    ],
    ids=["missing", "empty folder"],
)
def test_says_what_is_wrong_with_the_base_model(
    train_settings: Settings,
    ledger: Ledger,
    dataset: Dataset,
    tmp_path: Path,
    base: str,
    error: type[DriftwheelError],
    message: str,
) -> None:
    if base == "EMPTY":
        (tmp_path / "empty").mkdir()
        base = str(tmp_path / "empty")
    broken = train_settings.model_copy(update={"model": train_settings.model.model_copy(update={"base": base})})
    with pytest.raises(error, match=message):
        finetune(broken, ledger, dataset.id)
    (run,) = ledger.find(TrainingRun)
    assert run.status is TrainingRunStatus.FAILED
    assert message in str(run.error)


def test_tries_a_failed_run_again_under_the_same_id(train_settings: Settings, ledger: Ledger, dataset: Dataset) -> None:
    rows = Path(dataset.path) / "train.jsonl"
    text = rows.read_text(encoding="utf-8")
    rows.unlink()
    with pytest.raises(ArtifactError, match="build the dataset again"):
        finetune(train_settings, ledger, dataset.id)
    (failed,) = ledger.find(TrainingRun)
    rows.write_text(text, encoding="utf-8")

    run = finetune(train_settings, ledger, dataset.id)
    assert (run.id, run.status, run.error) == (failed.id, TrainingRunStatus.SUCCEEDED, None)


def test_qlora_without_a_gpu_says_what_to_do(train_settings: Settings, ledger: Ledger, dataset: Dataset) -> None:
    import torch

    if torch.cuda.is_available():
        pytest.skip("this machine has a GPU")
    with pytest.raises(ConfigError, match=r"set train\.method to lora"):
        finetune(change_train(train_settings, method="qlora"), ledger, dataset.id)


def test_refuses_settings_that_trl_refuses(train_settings: Settings, ledger: Ledger, dataset: Dataset) -> None:
    with pytest.raises(ConfigError, match="the train section cannot be used"):
        finetune(change_train(train_settings, lr_scheduler_type="zigzag"), ledger, dataset.id)


def test_refuses_an_unknown_dataset(train_settings: Settings, ledger: Ledger) -> None:
    with pytest.raises(NotFoundError, match="dataset_none"):
        finetune(train_settings, ledger, "dataset_none")


def test_a_second_process_cannot_train_the_same_run(train_settings: Settings, ledger: Ledger, dataset: Dataset) -> None:
    run = finetune(change_train(train_settings, max_steps=1), ledger, dataset.id)
    lock = only_process(Path(run.path) / "lock", "held")
    with lock, pytest.raises(ConflictError, match="another process is training"):
        finetune(change_train(train_settings, max_steps=1), ledger, dataset.id)


def test_resumes_only_from_a_checkpoint_that_was_written_to_its_end(tmp_path: Path) -> None:
    for step, is_complete in ((2, True), (10, True), (12, False)):
        folder = tmp_path / "checkpoints" / f"checkpoint-{step}"
        folder.mkdir(parents=True)
        if is_complete:
            (folder / CHECKPOINT_MARK).touch()
    assert last_complete_checkpoint(tmp_path) == tmp_path / "checkpoints" / "checkpoint-10"
    assert not (tmp_path / "checkpoints" / "checkpoint-12").exists()


def test_a_resumed_curve_drops_the_points_after_its_checkpoint(tmp_path: Path) -> None:
    class State:
        global_step = 2

    points = [CurvePoint(step=n, elapsed_seconds=n * 1.5, tokens=10.0 * n) for n in (1, 2, 3)]
    text = "".join(map(as_line, points)) + '{"step": 4, "ela'
    (tmp_path / "curves.jsonl").write_text(text, encoding="utf-8")
    writer = CurveWriter(tmp_path)
    writer.on_train_begin(None, State(), None)
    assert read_curves(tmp_path) == points[:2]
    assert writer.elapsed_seconds >= 3.0
    assert writer.useful_tokens == 20.0


def test_a_loss_that_is_no_number_stops_with_advice(tmp_path: Path) -> None:
    class State:
        global_step = 3
        epoch = 0.1

    with pytest.raises(ConfigError, match=r"lower train\.learning_rate"):
        CurveWriter(tmp_path).on_log(None, State(), None, {"loss": float("nan")})


def test_a_training_whose_loss_becomes_no_number_ends(
    train_settings: Settings, ledger: Ledger, dataset: Dataset, tiny_base: Path, tmp_path: Path
) -> None:
    """The Trainer would log the loss before it instead, and a run without a meaning would succeed."""
    broken = tmp_path / "broken"
    shutil.copytree(tiny_base, broken)
    weights = load_file(broken / "model.safetensors")
    weights["model.norm.weight"][0] = float("nan")
    save_file(weights, broken / "model.safetensors", metadata={"format": "pt"})
    settings = train_settings.model_copy(
        update={"model": train_settings.model.model_copy(update={"base": str(broken)})}
    )
    with pytest.raises(ConfigError, match=r"the loss is nan at step 1; lower train\.learning_rate"):
        finetune(settings, ledger, dataset.id)


def test_a_training_goes_on_from_the_live_weights_if_it_is_told_to(
    train_settings: Settings, ledger: Ledger, dataset: Dataset
) -> None:
    short = change_train(train_settings, max_steps=1, start_from="live")
    first = finetune(starting_weights(short, ledger), ledger, dataset.id)
    assert first.base_model == train_settings.model.base
    version = add_live(ledger, first)
    second = finetune(starting_weights(short, ledger), ledger, dataset.id)
    assert second.base_model == str(merged_path(first))
    assert second.settings[STARTED_FROM] == first.id
    assert artifacts.verify(merge(short, ledger, second.id)).run_id == second.id
    assert first.settings.get(STARTED_FROM) is None
    assert version.run_id == first.id


def test_a_run_that_died_after_its_last_step_is_not_trained_on(
    train_settings: Settings, ledger: Ledger, dataset: Dataset, capsys: pytest.CaptureFixture[str]
) -> None:
    """Four steps end within an epoch, where the Trainer would take one more before it looks."""
    wanted = change_train(train_settings, max_steps=4)
    run = finetune(wanted, ledger, dataset.id)
    weights = (weights_path(run) / "adapter_model.safetensors").read_bytes()
    shutil.rmtree(weights_path(run))
    ledger.change(run, status=TrainingRunStatus.FAILED)
    capsys.readouterr()
    again = finetune(wanted, ledger, dataset.id)
    assert again.metrics.steps == 4
    assert (weights_path(again) / "adapter_model.safetensors").read_bytes() == weights
    said = capsys.readouterr().err
    assert "all 4 steps were trained before" in said
    assert "trained 4 of 4 steps" in said


class Shown:
    """A training whose every callback may print, as into a log file."""

    def __init__(self) -> None:
        self.file = io.StringIO()
        self.bar = ProgressBar(CurveWriter(Path("unused")), Console(file=self.file, force_terminal=False))
        self.global_step, self.max_steps = 0, 3

    def call(self, name: str, **facts: Any) -> str:
        """Call a callback, and return what it prints."""
        self.bar._printed_at = -PLAIN_LINE_SECONDS
        self.global_step += name == "on_step_end"
        before = len(self.file.getvalue())
        getattr(self.bar, name)(None, self, None, **facts)
        return self.file.getvalue()[before:]


def test_a_training_says_no_loss_before_it_has_one_and_says_how_it_ended() -> None:
    shown = Shown()
    shown.call("on_train_begin")
    assert shown.call("on_step_end").startswith("step 1/3  0 tokens/s  ")
    shown.call("on_log", logs={"loss": 0.5})
    assert shown.call("on_step_end").startswith("step 2/3  loss 0.5000  0 tokens/s  ")
    assert shown.call("on_prediction_step", eval_dataloader=[1, 2]) == "step 2/3  validation batch 1/2\n"
    shown.call("on_log", logs={"eval_loss": 0.25})
    ended = shown.call("on_train_end")
    assert re.match(r"trained 2 of 3 steps in \d+ s, because validation got no better  loss 0.5000  val", ended)


def add_live(ledger: Ledger, run: TrainingRun) -> ModelVersion:
    version = published_version("version_1", run_id=run.id, dataset_id=run.dataset_id)
    ledger.add(version)
    ledger.add(Alias(id="support/support", project="support", name="support", version_id=version.id, fence=1))
    return version


@pytest.mark.parametrize(
    ("template", "said"),
    [
        ({"file": "trl:deepseek_r1_distill"}, "the answer would be learned after another prompt"),
        (
            {"file": "trl:qwen3", "kwargs": {}},
            r"before its answer.*model\.template\.kwargs to \{enable_thinking: false\}",
        ),
        ({"file": "trl:gptoss"}, "before its answer"),
        ({"file": "trl:llava_next"}, "the chat template refuses a conversation of user"),
    ],
    ids=["another prompt", "thoughts", "channel", "refusal"],
)
def test_a_template_that_gives_a_row_otherwise_is_found_before_the_first_step(
    train_settings: Settings, ledger: Ledger, dataset: Dataset, template: dict[str, Any], said: str
) -> None:
    settings = with_template(train_settings, **template)
    with pytest.raises(DataError, match=rf"row train0 \(train\.jsonl\) cannot be learned: .*{said}"):
        finetune(settings, ledger, dataset.id)
    (run,) = ledger.find(TrainingRun)
    assert run.status is TrainingRunStatus.FAILED
    assert not (Path(run.path) / "curves.jsonl").exists()


def test_a_test_row_that_the_template_refuses_is_found_before_the_first_step(
    train_settings: Settings, ledger: Ledger, dataset: Dataset
) -> None:
    path = Path(dataset.path) / "test.jsonl"
    rows = [json.loads(line) for line in path.read_text("utf-8").splitlines()]
    rows[2]["prompt"].insert(0, {"role": "system", "content": "You triage."})
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    file = train_settings.root / "own.jinja"
    refusal = "{% if messages[0].role == 'system' %}{{ raise_exception('no system here') }}{% endif %}"
    file.write_text(refusal + load_base_tokenizer(train_settings.base).chat_template, encoding="utf-8")
    with pytest.raises(DataError, match=r"row test2 \(test\.jsonl\) cannot be learned: .*no system here"):
        finetune(with_template(train_settings, file=str(file)), ledger, dataset.id)


def test_what_leaves_no_room_for_an_answer_is_found_before_the_first_step(
    train_settings: Settings, ledger: Ledger, dataset: Dataset
) -> None:
    tight = train_settings.serve.model_copy(update={"max_model_len": 16})
    with pytest.raises(DataError, match=r"raise serve\.max_model_len"):
        finetune(train_settings.model_copy(update={"serve": tight}), ledger, dataset.id)
    assert not list(train_settings.root.glob("runs/*/curves.jsonl"))


def test_another_template_is_another_run(train_settings: Settings, ledger: Ledger, dataset: Dataset) -> None:
    file = train_settings.root / "own.jinja"
    file.write_text("one", encoding="utf-8")
    settings = with_template(train_settings, file=str(file))
    first = find_or_add_run(settings, ledger, dataset)
    assert find_or_add_run(settings, ledger, dataset) == first
    file.write_text("two", encoding="utf-8")
    second = find_or_add_run(settings, ledger, dataset)
    third = find_or_add_run(with_template(train_settings, kwargs={"enable_thinking": True}), ledger, dataset)
    assert len({first.id, second.id, third.id, find_or_add_run(train_settings, ledger, dataset).id}) == 4


def test_the_trained_folder_holds_the_template_that_was_trained_with(
    train_settings: Settings, ledger: Ledger, dataset: Dataset
) -> None:
    settings = with_template(change_train(train_settings, max_steps=1, eval_steps=1, max_length=256), file="trl:qwen3")
    run = finetune(settings, ledger, dataset.id)
    tokenizer = load_tokenizer(str(weights_path(run)))
    assert answers_at_once(tokenizer, {})
    assert tokenizer.chat_template == load_base_tokenizer(settings.base).chat_template
    assert (
        artifacts.read_manifest(weights_path(run)).template_hash
        == artifacts.read_manifest(merge(settings, ledger, run.id)).template_hash
    )
