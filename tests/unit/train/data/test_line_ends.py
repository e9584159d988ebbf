"""Lines of a Dataset end at line feeds alone: what people write may hold signs that Python takes for line ends."""

import json
from dataclasses import asdict
from pathlib import Path

import pytest

from driftwheel.settings.settings import Settings
from driftwheel.store.ledger import Ledger
from train.data.sources.preferences import read_preferences
from train.data.splitting.dataset_files import read_splits
from train.data.splitting.paraphrases import _keep, _read_kept
from train.dataset import build_dataset
from train.fidelity.trained import _held_out_rows
from train.training.curves import CurvePoint, as_line, read_curves

SIGNS = "\x1c\x1d\x1e\x85\u2028\u2029"
LONG = "9" * 5000


def test_a_dataset_of_such_rows_is_read_again(settings: Settings, ledger: Ledger) -> None:
    path = settings.resolve("seed.jsonl")
    rows = [
        {"prompt": f"question {n} of {n * 7919}", "completion": f'{{"a":\u2028"{SIGNS}{n}", "n": {LONG}}}'}
        for n in range(120)
    ]
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
    dataset = build_dataset(settings, ledger)
    splits = read_splits(dataset)
    assert {e.text for examples in splits.values() for e in examples} == {row["prompt"] for row in rows}
    assert len(_held_out_rows(Path(dataset.path))) == len(splits["test"])


def test_preferences_are_read_line_by_line(tmp_path: Path) -> None:
    rows = [{"prompt": f"{SIGNS}{n}", "chosen": "a", "rejected": "b"} for n in range(2)]
    text = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
    (tmp_path / "dpo_train.jsonl").write_text(text, encoding="utf-8")
    assert read_preferences(tmp_path, "dpo", "train") == rows


def test_kept_paraphrases_are_read_line_by_line(tmp_path: Path) -> None:
    path = tmp_path / "paraphrases.jsonl"
    path.write_text(json.dumps({"key": "k", "text": SIGNS}, ensure_ascii=False) + "\n", encoding="utf-8")
    _keep(path, {"l": SIGNS}, "model")
    assert _read_kept(path) == {"k": SIGNS, "l": SIGNS}


@pytest.mark.parametrize("torn", ["", '{"step": 3, "lo'])
def test_a_curve_is_read_up_to_a_torn_line(tmp_path: Path, torn: str) -> None:
    points = [CurvePoint(step=n, loss=float(n)) for n in (1, 2)]
    (tmp_path / "curves.jsonl").write_text("".join(map(as_line, points)) + torn, encoding="utf-8")
    assert [asdict(point) for point in read_curves(tmp_path)] == [asdict(point) for point in points]
