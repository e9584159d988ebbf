"""Weights, balance and copies change the training split alone, and each copy names its original."""

import json
import random
from collections import Counter
from dataclasses import replace

from driftwheel.settings.data import SourceSettings
from driftwheel.settings.settings import Settings
from driftwheel.store.ledger import Ledger
from driftwheel.text.conversations import said
from examples.support.world import answer, messages
from train.base_model import load_base_tokenizer
from train.data.examples import Example
from train.data.splitting.dataset_files import read_splits
from train.data.splitting.leaks import HeldOut
from train.data.splitting.mixing import copies, mix, oversampled, weighted
from train.data.splitting.same_prompts import every_answer
from train.data.splitting.splits import TimedSplits
from train.data.splitting.tally import Tally
from train.data.tokens.rendering import token_counts
from train.dataset import build_dataset


def row(name: str, label: str = "x") -> Example:
    return Example(name, [said("user", f"where is my parcel {name}")], [said("assistant", label)], label, name)


def with_dataset(settings: Settings, **changes: object) -> Settings:
    return settings.model_copy(update={"dataset": settings.dataset.model_copy(update=changes)})


def write_rows(settings: Settings, name: str, seed: int) -> None:
    rows = [{"prompt": e.text, "completion": answer(e)} for e in messages(300, seed, "steady")]
    settings.resolve(name).write_text("".join(json.dumps(r) + "\n" for r in rows), encoding="utf-8")


def test_a_weight_draws_rows_that_often() -> None:
    rows = [row(f"r{n}") for n in range(2000)]
    weights = {f"r{n}": 2.5 for n in range(1000)} | {f"r{n}": 0.25 for n in range(1000, 1500)}
    drawn = Counter(e.id for e in weighted(rows, weights, random.Random(0)))
    assert {drawn[f"r{n}"] for n in range(1000)} == {2, 3}
    assert 2400 < sum(drawn[f"r{n}"] for n in range(1000)) < 2600
    assert 90 < sum(drawn[f"r{n}"] for n in range(1000, 1500)) < 160
    assert {drawn[f"r{n}"] for n in range(1500, 2000)} == {1}


def test_rare_labels_are_repeated_but_never_more_than_ten_times() -> None:
    rows = [row(f"{label}{n}", label) for label, count in (("a", 60), ("b", 20), ("c", 2)) for n in range(count)]
    balanced = oversampled(rows, random.Random(0))
    assert Counter(e.label for e in balanced) == {"a": 60, "b": 60, "c": 20}
    assert set(Counter(e.id for e in balanced if e.label == "b").values()) == {3}
    assert len(oversampled([row(f"r{n}", f"text {n}") for n in range(9)], random.Random(0))) == 9


def test_copies_differ_and_name_their_originals() -> None:
    rows = [row(f"r{n}") for n in range(50)]
    made = copies(rows, 200, random.Random(0))
    texts = {e.id: e.text for e in rows}
    assert len(made) > 150
    assert all(e.source == "augmented" and e.text != texts[str(e.original)] for e in made)
    assert len({e.id for e in made}) == len(made)


def test_a_copy_that_resembles_a_judging_row_is_left_out(settings: Settings) -> None:
    near, far, judged = row("alpha"), row("bravo"), replace(row("alpha"), id="judged", group="judged")
    timed = TimedSplits({"train": [near, far], "validation": [], "test": [judged]})
    for share in (0.3, 0.5):
        mixed = mix(with_dataset(settings, augmented_share=share), timed, [], Tally())
        assert {e.original for e in mixed["train"] if e.source == "augmented"} <= {"bravo"}
    quarantined = mix(
        with_dataset(settings, augmented_share=0.5),
        TimedSplits({"train": [near, far], "validation": [], "test": []}),
        [judged],
        Tally(),
    )
    assert {e.original for e in quarantined["train"] if e.source == "augmented"} == {"bravo"}


def test_a_build_mixes_training_rows_and_leaves_what_judges_alone(settings: Settings, ledger: Ledger) -> None:
    write_rows(settings, "seed.jsonl", 1)
    write_rows(settings, "other.jsonl", 2)
    sources = ["seed.jsonl", SourceSettings(path="other.jsonl", weight=3)]
    plain = read_splits(build_dataset(with_dataset(settings, sources=["seed.jsonl", "other.jsonl"]), ledger))
    changed = with_dataset(settings, sources=sources, balance="oversample", augmented_share=0.2)
    dataset = build_dataset(changed, ledger)
    splits = read_splits(dataset)
    assert build_dataset(changed, ledger) == dataset
    for name in ("validation", "test"):
        assert {e.id for e in splits[name]} == {e.id for e in plain[name]}
        assert len(splits[name]) == len(plain[name])
    said = [e for e in splits["train"] if e.original is None]
    assert {e.id for e in said} == {e.id for e in plain["train"]}
    assert len(set(Counter(e.label for e in said).values())) == 1
    made = [e for e in splits["train"] if e.original]
    assert 0.15 < len(made) / len(splits["train"]) <= 0.2
    assert HeldOut([*splits["test"], *splits["validation"]], 0.9).leaks(made) == []
    assert dataset.report.sources["augmented"] == len(made)
    assert dataset.report.mixed["repeated or left out by weight"] > 300


def test_each_right_answer_is_learned_with_its_own_label() -> None:
    completion = [said("assistant", '{"intent": "a"}')]
    row = Example("1", [said("user", "q")], completion, "a", "g", references=['{"intent": "b"}'])
    assert [(e.id, e.label) for e in every_answer([row], "intent")] == [("1", "a"), ("1-r1", "b")]


def test_a_copy_that_is_longer_than_rows_may_be_is_left_out(train_settings: Settings) -> None:
    """A doubled letter made a row over `train.max_length`, and the training stopped at it."""
    rows = [row(f"r{n}") for n in range(10, 60)]
    (length,) = set(
        token_counts(load_base_tokenizer(train_settings.base), [([*e.prompt, *e.completion], ()) for e in rows])
    )
    train = train_settings.train.model_copy(update={"max_length": length})
    chosen = with_dataset(train_settings.model_copy(update={"train": train}), augmented_share=0.5)
    tally = Tally()
    mixed = mix(chosen, TimedSplits({"train": rows, "validation": [], "test": []}), [], tally)
    made = [e for e in mixed["train"] if e.original]
    assert made
    assert max(len(e.text) for e in made) <= len(rows[0].text)
    assert tally.dropped["made with typos or other casing: longer than train.max_length"] > 0
