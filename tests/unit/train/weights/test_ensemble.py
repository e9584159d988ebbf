"""Combining runs: by hand on small numbers, on real runs, and what cannot be combined."""

from pathlib import Path
from typing import Any

import pytest

from driftwheel.errors import ConfigError, ConflictError
from driftwheel.files import artifacts
from driftwheel.records.nouns import Dataset, TrainingRun, TrainingRunStatus
from driftwheel.settings.settings import Settings
from driftwheel.store.ledger import Ledger
from tests.support.edited_builds import manifest_json
from tests.support.versions import add_with_parents
from train.finetune import finetune
from train.merge import merge
from train.runs import newest_run, weights_path
from train.weights.ensemble import combine, ensemble
from train.worker import build_artifact


def change(settings: Settings, **changes: Any) -> Settings:
    return settings.model_copy(
        update={
            "train": settings.train.model_copy(update={"max_steps": 3, **changes}),
            "merge": settings.merge.model_copy(update={"dtype": "float32"}),
            "quantize": settings.quantize.model_copy(update={"scheme": "none"}),
        }
    )


@pytest.fixture
def pair(train_settings: Settings, ledger: Ledger, dataset: Dataset) -> list[str]:
    """Two runs of different methods and ranks on one base."""
    return [
        finetune(change(train_settings), ledger, dataset.id).id,
        finetune(change(train_settings, seed=1, lora_r=4, use_dora=True), ledger, dataset.id).id,
    ]


def weights(folder: Path) -> dict[str, Any]:
    from transformers import AutoModelForCausalLM

    return dict(AutoModelForCausalLM.from_pretrained(folder, dtype="float32").named_parameters())


@pytest.mark.parametrize(
    ("way", "shares", "density", "first", "second", "expected"),
    [
        ("linear", [0.5, 0.5], 0.5, [3, 2, 1, -4], [1, -4, 0, 4], [2, -1, 0.5, 0]),
        ("linear", [1.0, 2.0], 0.5, [3, 2, 1, -4], [1, -4, 0, 4], [5, -6, 1, 4]),
        ("ties", [0.5, 0.5], 1.0, [3, 2, 1, -4], [1, -4, 0, 3], [2, -4, 1, -4]),
        ("ties", [0.5, 0.5], 0.5, [1, 2, 1.5, -4], [1, -4, 0, 3], [0, -4, 0, -4]),
        ("ties", [0.9, 0.1], 1.0, [3, 2, 1, -4], [1, -4, 0, 3], [2.8, 2, 1, -4]),
        ("dare_linear", [0.5, 0.5], 1.0, [3, 2, 1, -4], [1, -4, 0, 4], [2, -1, 0.5, 0]),
        ("dare_ties", [0.5, 0.5], 1.0, [3, 2, 1, -4], [1, -4, 0, 3], [2, -4, 1, -4]),
    ],
    ids=["mean", "weighted sum", "elected signs", "trimmed", "shares elect", "all kept", "all kept with signs"],
)
def test_combines_changes_as_worked_out_by_hand(
    way: Any, shares: list[float], density: float, first: list[float], second: list[float], expected: list[float]
) -> None:
    import torch

    changes = torch.tensor([first, second], dtype=torch.float32)
    assert combine(changes, shares, way, density).tolist() == pytest.approx(expected)


def test_dare_keeps_a_random_share_and_the_mean() -> None:
    import torch

    torch.manual_seed(0)
    changes = torch.ones(2, 100_000)
    combined = combine(changes, [0.5, 0.5], "dare_linear", 0.25)
    assert sorted(set(combined.tolist())) == [0, 2, 4]
    assert float(combined.mean()) == pytest.approx(1, abs=0.02)


def test_the_mean_of_two_runs_is_the_mean_of_their_merged_weights(
    train_settings: Settings, ledger: Ledger, pair: list[str]
) -> None:
    settings = change(train_settings)
    run = ensemble(settings, ledger, pair)
    a, b = (weights(merge(settings, ledger, id)) for id in pair)
    both = weights(merge(settings, ledger, run.id))
    for name, value in both.items():
        assert float((value - (a[name] + b[name]) / 2).detach().abs().max()) < 1e-5
    assert any(float((both[n] - a[n]).detach().abs().max()) > 1e-3 for n in both)


def test_the_result_is_a_run_like_any_other_and_names_where_it_came_from(
    train_settings: Settings, ledger: Ledger, pair: list[str]
) -> None:
    settings = change(train_settings)
    run = ensemble(settings, ledger, pair, way="ties", weights=[0.6, 0.4], density=0.3)
    assert run.settings["merged_from"] == {"run_ids": pair, "way": "ties", "weights": [0.6, 0.4], "density": 0.3}
    assert newest_run(ledger, "support") == run
    assert ensemble(settings, ledger, pair, way="ties", weights=[0.6, 0.4], density=0.3) == run
    manifest = artifacts.verify(build_artifact(settings, ledger, run.id))
    assert (manifest.run_id, manifest.dataset_id) == (run.id, "dataset_tiny")


def recorded(ledger: Ledger, number: int, **changes: Any) -> str:
    """Add the row of a run that was never trained."""
    values: dict[str, Any] = {
        "id": f"run_{number}",
        "project": "support",
        "status": TrainingRunStatus.SUCCEEDED,
        "dataset_id": "dataset_1",
        "base_model": "base",
        "method": "lora",
        "settings": {"base_identity": "one", "model": {}},
        "settings_hash": "h",
        "seed": 0,
        "path": "gone",
    }
    add_with_parents(ledger, TrainingRun(**{**values, **changes}))
    return f"run_{number}"


@pytest.mark.parametrize(
    ("second", "options", "error", "message"),
    [
        (None, {}, ConfigError, "two different runs"),
        ({}, {"weights": [1.0]}, ConfigError, "1 weights for 2 runs"),
        ({}, {"weights": [1.0, 0.0]}, ConfigError, "above 0"),
        ({}, {"density": 1.5}, ConfigError, "at most 1"),
        ({"settings": {"base_identity": "two"}}, {}, ConflictError, "different models"),
        ({"status": TrainingRunStatus.FAILED}, {}, ConflictError, "run_2 is failed"),
    ],
    ids=["one run twice", "too few weights", "no weight", "more than all", "another base", "failed"],
)
def test_refuses_what_cannot_be_combined(
    settings: Settings,
    ledger: Ledger,
    second: dict[str, Any] | None,
    options: dict[str, Any],
    error: type[Exception],
    message: str,
) -> None:
    first = recorded(ledger, 1)
    other = first if second is None else recorded(ledger, 2, **second)
    with pytest.raises(error, match=message):
        ensemble(settings, ledger, [first, other], **options)


def test_runs_of_other_chat_templates_are_not_combined(
    train_settings: Settings, ledger: Ledger, dataset: Dataset, pair: list[str]
) -> None:
    folder = weights_path(ledger.get(TrainingRun, pair[1]))
    artifacts.write_json(folder / artifacts.MANIFEST, manifest_json(folder) | {"template_hash": "another"})
    with pytest.raises(ConflictError, match="learned other chat templates"):
        ensemble(change(train_settings), ledger, pair)
