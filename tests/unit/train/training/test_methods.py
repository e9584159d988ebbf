"""Methods: each variant trains, merges to what the trainer held, and says before training what cannot be served."""

from pathlib import Path
from typing import Any

import pytest
from transformers import TrainerCallback

from driftwheel.errors import ConfigError
from driftwheel.files import artifacts
from driftwheel.records.nouns import Dataset
from driftwheel.settings.load import load_settings
from driftwheel.settings.settings import Settings
from driftwheel.settings.training import TrainSettings
from driftwheel.store.ledger import Ledger
from train.finetune import finetune
from train.merge import merge
from train.runs import weights_path
from train.training.curves import read_curves
from train.training.methods import base_dtype, check_method, why_only_merged

PROMPT = "good morning"
VARIANTS: dict[str, dict[str, Any]] = {
    "lora": {},
    "rslora": {"use_rslora": True},
    "dora": {"use_dora": True},
    "dora with rslora": {"use_dora": True, "use_rslora": True},
    "pissa": {"init_lora_weights": "pissa"},
    "fast pissa with rslora": {"init_lora_weights": "pissa_niter_8", "use_rslora": True},
    "embeddings trained whole": {"lora_modules_to_save": ["embed_tokens"]},
    "full": {"method": "full", "learning_rate": 1e-3},
}


def change(settings: Settings, **changes: Any) -> Settings:
    merging = settings.merge.model_copy(update={"dtype": "float32"})
    return settings.model_copy(
        update={"train": settings.train.model_copy(update={"max_steps": 3, "bf16": False, **changes}), "merge": merging}
    )


def logits(model: Any, folder: Path) -> Any:
    import torch
    from transformers import AutoTokenizer

    tokens = AutoTokenizer.from_pretrained(folder)(PROMPT, return_tensors="pt")
    with torch.no_grad():
        return model.eval()(**tokens).logits.clone()


class LastLogits(TrainerCallback):  # type: ignore[misc]  # transformers is untyped
    """Keeps what the model in the trainer answers before the first step and after the last."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.first, self.last = folder, None, None

    def on_train_begin(self, args: Any, state: Any, control: Any, model: Any = None, **_: Any) -> None:
        self.first = logits(model, self.folder)
        model.train()

    def on_train_end(self, args: Any, state: Any, control: Any, model: Any = None, **_: Any) -> None:
        self.last = logits(model, self.folder)


@pytest.mark.parametrize("changes", VARIANTS.values(), ids=VARIANTS)
def test_the_merged_model_is_the_one_that_the_trainer_held(
    train_settings: Settings, ledger: Ledger, dataset: Dataset, tiny_base: Path, changes: dict[str, Any]
) -> None:
    from peft import PeftConfig, PeftModel
    from transformers import AutoModelForCausalLM

    settings = change(train_settings, **changes)
    trained = LastLogits(tiny_base)
    run = finetune(settings, ledger, dataset.id, callbacks=[trained])
    base = AutoModelForCausalLM.from_pretrained(tiny_base, dtype="float32")
    plain = logits(base, tiny_base)
    merged = logits(AutoModelForCausalLM.from_pretrained(merge(settings, ledger, run.id)), tiny_base)

    assert float((trained.first - plain).abs().max()) < 1e-4
    assert float((merged - trained.last).abs().max()) < 1e-4
    assert float((merged - plain).abs().max()) > 1e-2
    if settings.train.method != "full":
        beside = logits(PeftModel.from_pretrained(base, weights_path(run)), tiny_base)
        assert float((beside - trained.last).abs().max()) < 1e-4
        kept = PeftConfig.from_pretrained(weights_path(run))
        wanted = settings.train
        assert (kept.use_dora, kept.use_rslora, kept.modules_to_save) == (
            wanted.use_dora,
            wanted.use_rslora,
            wanted.lora_modules_to_save,
        )


def test_a_resumed_pissa_run_still_fits_the_untouched_base(
    train_settings: Settings, ledger: Ledger, dataset: Dataset, tiny_base: Path
) -> None:
    from transformers import AutoModelForCausalLM

    class Killed(TrainerCallback):  # type: ignore[misc]  # transformers is untyped
        def on_step_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
            if state.global_step == 4:
                raise KeyboardInterrupt

    settings = change(train_settings, max_steps=6, init_lora_weights="pissa")
    with pytest.raises(KeyboardInterrupt):
        finetune(settings, ledger, dataset.id, callbacks=[Killed()])
    trained = LastLogits(tiny_base)
    run = finetune(settings, ledger, dataset.id, callbacks=[trained])
    assert run.metrics.resumed_from_step == 4
    merged = logits(AutoModelForCausalLM.from_pretrained(merge(settings, ledger, run.id)), tiny_base)
    assert float((merged - trained.last).abs().max()) < 1e-4


def test_a_pissa_adapter_is_kept_as_plain_lora_of_twice_the_rank(
    train_settings: Settings, ledger: Ledger, dataset: Dataset
) -> None:
    from peft import PeftConfig

    run = finetune(change(train_settings, max_steps=1, init_lora_weights="pissa"), ledger, dataset.id)
    kept = PeftConfig.from_pretrained(weights_path(run))
    assert (kept.init_lora_weights, kept.r) == (True, 2 * train_settings.train.lora_r)


@pytest.mark.parametrize(
    ("changes", "dtype"),
    [
        ({}, "bfloat16"),
        ({"bf16": False}, "float32"),
        ({"method": "full"}, "float32"),
        ({"init_lora_weights": "pissa"}, "float32"),
        ({"use_dora": True}, "bfloat16"),
    ],
    ids=["frozen base", "no mixed precision", "every weight", "pissa changes the base", "dora"],
)
def test_only_a_base_that_stays_as_it_is_may_be_rounded(changes: dict[str, Any], dtype: str) -> None:
    assert base_dtype(TrainSettings(**changes)) == dtype


@pytest.mark.parametrize("changes", [{"lora_dropout": 0.2}, {"method": "full"}], ids=["lora with dropout", "full"])
def test_the_same_seed_gives_the_same_curve_and_another_seed_another(
    train_settings: Settings, ledger: Ledger, dataset: Dataset, tmp_path: Path, changes: dict[str, Any]
) -> None:
    def losses(folder: str, **more: Any) -> list[float]:
        elsewhere = train_settings.storage.model_copy(update={"root": str(tmp_path / folder)})
        settings = change(train_settings, **changes, **more).model_copy(update={"storage": elsewhere})
        own = Ledger(settings.database_url)
        own.add(dataset)
        run = finetune(settings, own, dataset.id)
        own.close()
        points = [(p.loss, p.eval_loss) for p in read_curves(Path(run.path))]
        return [loss for point in points for loss in point if loss is not None]

    first = losses("a")
    assert losses("b") == first
    assert losses("c", seed=1) != first


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"method": "full", "use_dora": True}, "use_dora has no meaning"),
        ({"method": "qlora", "init_lora_weights": "pissa"}, "cannot be merged together with qlora"),
        ({"use_dora": True, "init_lora_weights": "pissa"}, "cannot be merged together with use_dora"),
        ({"lora_modules_to_save": ["embed_tokens"], "init_lora_weights": "pissa_niter_4"}, "lora_modules_to_save"),
    ],
    ids=["variant of full", "pissa in 4 bits", "pissa and dora", "pissa and whole modules"],
)
def test_refuses_what_cannot_be_trained_or_merged(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        check_method(TrainSettings(**changes))


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({}, None),
        ({"use_rslora": True, "lora_r": 512}, None),
        ({"init_lora_weights": "pissa", "lora_r": 512}, "rank of 1024"),
        ({"use_dora": True}, "DoRA"),
        ({"lora_modules_to_save": ["embed_tokens"]}, "embed_tokens are trained whole"),
        ({"method": "full", "lora_r": 1024}, None),
    ],
    ids=["lora", "rslora of the largest rank", "pissa doubles its rank", "dora", "whole modules", "full"],
)
def test_says_what_cannot_be_served_beside_its_base(changes: dict[str, Any], reason: str | None) -> None:
    found = why_only_merged(TrainSettings(**changes))
    assert found is None if reason is None else reason in str(found)


def test_the_weights_say_whether_they_need_a_merge(train_settings: Settings, ledger: Ledger, dataset: Dataset) -> None:
    run = finetune(change(train_settings, max_steps=1, use_dora=True), ledger, dataset.id)
    assert "DoRA" in str(artifacts.read_manifest(weights_path(run)).why_only_merged)


def test_takes_the_keys_of_a_trl_configuration(settings: Settings) -> None:
    from trl import ModelConfig, SFTConfig

    text = (
        "{learning_rate: 1e-4, optim: adafactor, adam_beta2: 0.95, max_grad_norm: 0.5, lr_scheduler_type: "
        "cosine_with_min_lr, lr_scheduler_kwargs: {min_lr_rate: 0.1}, weight_decay: 0.01, neftune_noise_alpha: 5, "
        "use_rslora: true, lora_dropout: 0.05}"
    )
    train = load_settings(settings.path, [f"train={text}"], environ={}).train
    changed = train.model_dump(include=train.model_fields_set)
    known = {**SFTConfig.__dataclass_fields__, **ModelConfig.__dataclass_fields__}
    assert changed.keys() <= known.keys()
    assert train.learning_rate == 1e-4


@pytest.mark.parametrize("value", ["pisa", "pissa_niter_0", False], ids=str)
def test_refuses_an_unknown_start_of_the_adapters(settings: Settings, value: Any) -> None:
    with pytest.raises(ConfigError, match="init_lora_weights"):
        load_settings(settings.path, [f"train.init_lora_weights={value}"], environ={})
