"""The rows that benchmarks.training writes are those of a Dataset, or driftwheel cannot train on them."""

import json
from pathlib import Path

from benchmarks.training import rows_of
from examples.support.world import Example
from train.data.examples import read_examples


def test_the_benchmark_writes_a_datasets_rows(tmp_path: Path) -> None:
    questions = [Example("where is my parcel", "delivery", "normal", "steady")] * 2
    path = tmp_path / "train.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows_of("train", questions)), encoding="utf-8")
    first, second = read_examples(path)
    assert (first.text, first.label) == ("where is my parcel", "delivery")
    assert first.id != second.id
