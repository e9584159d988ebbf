"""What a person is shown is what the trainer trains on, and how two Datasets differ."""

from dataclasses import replace
from pathlib import Path

from driftwheel.records.nouns import Dataset
from driftwheel.settings.settings import Settings
from train.base_model import load_tokenizer
from train.data.examples import Example
from train.data.splitting.dataset_files import read_splits
from train.data.tokens.row_view import difference, in_template
from train.training.trainer import make_trainer

NO_LOSS = -100  # the label that PyTorch's cross-entropy leaves out
ROW = Example("a", [{"role": "user", "content": "hi"}], [{"role": "assistant", "content": "{}"}], "x", "g")


def test_the_shown_loss_mask_is_the_trainers(train_settings: Settings, dataset: Dataset, tmp_path: Path) -> None:
    tokenizer = load_tokenizer(train_settings.base_model())
    trainer = make_trainer(train_settings.train, train_settings.base, Path(dataset.path), tmp_path / "run", [])
    rows = read_splits(dataset)["train"]
    assert len(trainer.train_dataset) == len(rows)
    for row, trained in zip(rows, trainer.train_dataset, strict=True):
        shown = in_template(tokenizer, row)
        pairs = list(zip(trained["input_ids"], trained["labels"], strict=True))
        assert tokenizer.decode([token for token, label in pairs if label == NO_LOSS]) == shown.given
        assert tokenizer.decode([token for token, label in pairs if label != NO_LOSS]) == shown.learned


def test_two_datasets_differ_in_rows_splits_answers_and_labels() -> None:
    rows = {name: replace(ROW, id=name) for name in "abcde"}
    corrected = replace(rows["b"], completion=[{"role": "assistant", "content": "[]"}], label="y")
    old = {"train": [rows["a"], rows["b"]], "validation": [rows["c"]], "test": [rows["d"]]}
    new = {"train": [corrected, rows["c"]], "validation": [], "test": [rows["d"], rows["e"]]}
    found = difference(old, new)
    assert (found.added, found.removed) == ({"test": 1}, {"train": 1})
    assert found.moved == {"validation -> train": 1}
    assert [(a.answer, b.answer) for a, b in found.answers] == [("{}", "[]")]
    assert found.labels == {"x": (4, 3), "y": (0, 1)}


def test_equal_datasets_do_not_differ() -> None:
    same = {"train": [ROW], "validation": [], "test": []}
    found = difference(same, same)
    assert not any((found.added, found.removed, found.moved, found.answers, found.labels))
