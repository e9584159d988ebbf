"""Rows become a Dataset whose splits do not leak, from files and from labelled traffic."""

import json
import random
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from driftwheel.errors import ConfigError, DataError
from driftwheel.files.artifacts import verify
from driftwheel.records.dataset_report import BrokenRow
from driftwheel.records.nouns import Alias, Dataset, ModelVersion, ModelVersionStatus, Traffic, TrainingRun
from driftwheel.settings.data import SourceSettings
from driftwheel.settings.settings import Settings
from driftwheel.store.ledger import Ledger
from driftwheel.traffic.feedback import person, withdraw_feedback
from examples.support.world import answer, messages
from tests.support.said import words_of
from tests.support.versions import add_with_parents, answered_request, published_version, run_stub
from train.base_model import load_base_tokenizer
from train.data.live.traffic_dataset import dataset_from_traffic
from train.data.near_duplicates.duplicates import NearDuplicates
from train.data.splitting.dataset_files import read_left_out, read_splits
from train.data.splitting.leaks import HeldOut
from train.data.tokens.learned_tokens import training_rows
from train.data.tokens.rendering import token_counts
from train.dataset import build_dataset
from train.runs import STARTED_FROM

ANSWER = '{"intent":"refund_request","urgency":"low"}'


def write_rows(settings: Settings, rows: Sequence[Mapping[str, object]]) -> None:
    text = "".join(json.dumps(row) + "\n" for row in rows)
    settings.resolve("seed.jsonl").write_text(text, encoding="utf-8")


def seed_rows(count: int = 600, seed: int = 1) -> list[dict[str, object]]:
    return [{"prompt": e.text, "completion": answer(e)} for e in messages(count, seed, "steady")]


def with_dataset(settings: Settings, **changes: object) -> Settings:
    return settings.model_copy(update={"dataset": settings.dataset.model_copy(update=changes)})


def test_the_same_rows_give_the_same_dataset_and_it_is_not_built_twice(settings: Settings, ledger: Ledger) -> None:
    write_rows(settings, seed_rows())
    first, second = build_dataset(settings, ledger), build_dataset(settings, ledger)
    assert first == second
    assert ledger.count(Dataset) == 1
    assert verify(Path(first.path)).rows_hash == first.content_hash
    assert first.train_rows + first.validation_rows + first.test_rows <= 600
    assert first.test_rows == pytest.approx(60, abs=12)


def test_no_near_duplicate_and_no_group_stands_in_two_splits(settings: Settings, ledger: Ledger) -> None:
    rows = [{**row, "user": f"u{n % 150}"} for n, row in enumerate(seed_rows())]
    write_rows(settings, rows)
    splits = read_splits(build_dataset(with_dataset(settings, group_column="user"), ledger))
    names = list(splits)
    for a in names:
        for b in names:
            if a < b:
                assert not {e.group for e in splits[a]} & {e.group for e in splits[b]}
                index = NearDuplicates([e.text for e in splits[a]], settings.dataset.near_duplicate_similarity)
                assert [e.text for e in splits[b] if index.like(e.text)] == []


def test_conversations_that_end_alike_or_share_a_system_prompt_are_no_duplicates(
    settings: Settings, ledger: Ledger
) -> None:
    rows = [
        {
            "messages": [
                {"role": "system", "content": "you sort messages of customers by what they want " * 20},
                {"role": "user", "content": e.text},
                {"role": "assistant", "content": "shall i pass this on?"},
                {"role": "user", "content": "yes please"},
                {"role": "assistant", "content": answer(e)},
            ]
        }
        for e in messages(200, 1, "steady")
    ]
    write_rows(settings, rows)
    dataset = build_dataset(settings, ledger)
    assert dataset.train_rows + dataset.validation_rows + dataset.test_rows == 200
    assert dataset.test_rows == pytest.approx(20, abs=8)


def test_every_label_is_in_every_split(settings: Settings, ledger: Ledger) -> None:
    write_rows(settings, seed_rows(1500))
    splits = read_splits(build_dataset(settings, ledger))
    assert {e.label for e in splits["train"]} == {e.label for e in splits["test"]}


def test_the_report_counts_what_was_dropped_and_why(settings: Settings, ledger: Ledger) -> None:
    rows = seed_rows(300)
    write_rows(settings, [*rows, rows[0], {**rows[1], "completion": "other"}, {"prompt": "<p></p>", "completion": "x"}])
    report = build_dataset(with_dataset(settings, clean="strip"), ledger).report
    assert report.rows_in == 303
    assert report.dropped["duplicate with another answer"] == 1
    assert report.dropped["empty after cleaning"] == 1
    assert report.dropped["duplicate"] >= 1


def test_every_right_answer_of_a_text_task_is_learned_in_one_split_and_kept_to_judge(
    settings: Settings, ledger: Ledger
) -> None:
    """A data-to-text set has several texts for a meaning; one of them was kept, and the others were dropped."""
    meanings = [f"name[{name} House {n}], food[{food}]" for n, (name, food) in enumerate(_names_and_foods(60))]
    texts = ("{} is on the menu.", "You can eat {} there.", "They serve {}.")
    rows = [{"prompt": m, "completion": t.format(f"{m[5:15]} {n}")} for n, m in enumerate(meanings) for t in texts]
    write_rows(settings, rows)
    dataset = build_dataset(settings, ledger)
    assert "duplicate with another answer" not in dataset.report.dropped
    splits = read_splits(dataset)
    assert len(splits["train"]) + 3 * len(splits["validation"]) + 3 * len(splits["test"]) == 180
    assert len({e.id for e in splits["train"]}) == len(splits["train"]), "each pair of prompt and answer is a row"
    assert not any(e.references for e in splits["train"])
    assert all(len(e.references) == 2 for name in ("validation", "test") for e in splits[name])
    for a, b in (("train", "test"), ("train", "validation"), ("validation", "test")):
        assert not {e.text for e in splits[a]} & {e.text for e in splits[b]}


def _names_and_foods(count: int) -> list[tuple[str, str]]:
    chance = random.Random(5)
    letters = "abcdefghijklmnopqrstuvwxyz"
    return [("".join(chance.choices(letters, k=9)), "".join(chance.choices(letters, k=8))) for _ in range(count)]


def test_a_criterion_that_cannot_grade_the_task_is_refused_before_anything_is_written(
    settings: Settings, ledger: Ledger
) -> None:
    write_rows(settings, [{"prompt": a, "completion": f"So says {b}."} for a, b in _names_and_foods(60)])
    fields = settings.evaluate.model_copy(update={"criterion": "fields"})
    refused = with_dataset(settings.model_copy(update={"evaluate": fields}), min_rows=20)
    with pytest.raises(ConfigError, match="fields cannot grade this task: 60 of 60 right answers are no JSON objects"):
        build_dataset(refused, ledger)
    assert ledger.count(Dataset) == 0
    assert build_dataset(with_dataset(settings, min_rows=20), ledger).test_rows


@pytest.mark.parametrize(("said", "kept"), [("auto", 1), ("references", 0), ("conflict", 1)])
def test_two_labels_for_one_prompt_are_a_conflict_unless_the_settings_call_them_references(
    settings: Settings, ledger: Ledger, said: str, kept: int
) -> None:
    rows = [{"prompt": e.text, "completion": e.intent} for e in messages(300, 1, "steady")]
    write_rows(settings, [*rows, {**rows[1], "completion": "another"}])
    report = build_dataset(with_dataset(settings, same_prompt=said), ledger).report
    assert report.dropped.get("duplicate with another answer", 0) == kept


def test_a_prompt_in_another_case_is_no_reference_of_its_own(settings: Settings, ledger: Ledger) -> None:
    rows = [{"prompt": f"{a} {b}", "completion": f"{a} is not {b}"} for a, b in _names_and_foods(60)]
    loud = {"prompt": str(rows[0]["prompt"]).upper(), "completion": "WHO SHOUTS"}
    write_rows(settings, [*rows, loud])
    splits = read_splits(build_dataset(settings, ledger))
    everything = [e for rows in splits.values() for e in rows]
    assert not any(e.references for e in everything)
    (shouted,) = [e for e in everything if e.answer == "WHO SHOUTS"]
    assert shouted.text == loud["prompt"]
    (split,) = [name for name, rows in splits.items() if shouted in rows]
    assert str(rows[0]["prompt"]) in [e.text for e in splits[split]], "and both stay on one side"


def test_prompts_and_answers_stay_as_they_are_unless_cleaning_is_asked_for(settings: Settings, ledger: Ledger) -> None:
    """The served model is asked what users send: HTML and full-width signs, as they are."""
    rows = [
        {"prompt": f"请问<b>{a}</b>，怎么办？ \t", "completion": f"您好，{b}！（谢谢）ﬁ"}
        for a, b in _names_and_foods(60)
    ]
    write_rows(settings, rows)
    everything = [e for rows in read_splits(build_dataset(settings, ledger)).values() for e in rows]
    assert {e.text for e in everything} == {row["prompt"] for row in rows}
    assert {e.answer for e in everything} == {row["completion"] for row in rows}


def test_lengths_are_counted_in_the_base_models_tokens(train_settings: Settings, ledger: Ledger) -> None:
    """The tiny base has one token for each digit; 80 digits more are 80 tokens more, and too many."""
    chance = random.Random(0)
    prompts = ["".join(chance.choices("0123456789", k=20)) for _ in range(80)]
    write_rows(train_settings, [{"prompt": p, "completion": "{}"} for p in [*prompts, prompts[0] + "1" * 80]])
    with pytest.raises(DataError) as caught:
        build_dataset(train_settings, ledger)
    length = int(str(caught.value).partition("set train.max_length to ")[2].partition(",")[0])
    assert str(caught.value).startswith("1 rows of the data files")
    assert f"the first is seed.jsonl:81 with {length}" in str(caught.value)
    train = train_settings.train.model_copy(update={"max_length": length})
    report = build_dataset(train_settings.model_copy(update={"train": train}), ledger).report
    assert report.tokens is not None
    assert report.tokens.max == length == report.tokens.p50 + 80
    assert 22 < report.tokens.p50 <= 64
    assert report.rows_cut_by_max_length == 0


def test_without_a_base_model_tokens_are_not_counted_and_the_report_says_why(
    settings: Settings, ledger: Ledger
) -> None:
    write_rows(settings, seed_rows(100))
    assert "model.base 'base'" in str(build_dataset(settings, ledger).report.tokens_not_counted)


def test_broken_rows_are_counted_and_too_many_stop_the_step(settings: Settings, ledger: Ledger) -> None:
    write_rows(settings, [*seed_rows(300), {"prompt": "no answer"}])
    assert build_dataset(settings, ledger).report.broken_rows == [
        BrokenRow("seed.jsonl:301", "has no column 'completion'")
    ]
    write_rows(settings, [*seed_rows(300), *[{"prompt": "no answer"}] * 10])
    with pytest.raises(DataError, match=r"10 of 310 rows are broken.*seed\.jsonl:301"):
        build_dataset(settings, ledger)


def test_too_few_rows_stop_the_step_and_leave_nothing(settings: Settings, ledger: Ledger) -> None:
    write_rows(settings, seed_rows(20))
    with pytest.raises(DataError, match="only 20 of 20 rows"):
        build_dataset(settings, ledger)
    assert ledger.count(Dataset) == 0
    assert not (settings.root / "datasets").exists()


@pytest.fixture
def live(settings: Settings, ledger: Ledger) -> Dataset:
    """A live version judged on a seed Dataset."""
    write_rows(settings, seed_rows())
    dataset = build_dataset(settings, ledger)
    live_on(ledger, dataset)
    return dataset


def judged_on(ledger: Ledger, dataset: Dataset, number: int = 1, *, is_published: bool = True) -> Dataset:
    status = ModelVersionStatus.PUBLISHED if is_published else ModelVersionStatus.REJECTED
    add_with_parents(
        ledger,
        published_version(
            f"version_{number}", status=status, number=number, dataset_id=dataset.id, quantization="w8a8"
        ),
    )
    return dataset


def live_on(ledger: Ledger, dataset: Dataset) -> None:
    judged_on(ledger, dataset)
    ledger.add(Alias(id="support/support", project="support", name="support", version_id="version_1", fence=1))


def log_traffic(ledger: Ledger, dataset: Dataset, count: int, **changes: object) -> list[Traffic]:
    rows = []
    for number, example in enumerate(messages(count, 9, "shifted")):
        row = answered_request(
            f"req_{number:05d}",
            created_at=dataset.created_at + timedelta(seconds=number + 1),
            version_id="version_1",
            prompt=example.text,
            request=json.dumps({"messages": [{"role": "user", "content": example.text}]}),
            answer=ANSWER,
            label=answer(example),
            label_source="correction",
            user_id=f"u{number % 97}",
        )
        if number % 4 == 0:  # who labels says so where the model was right, too
            row = replace(row, answer=answer(example))
        rows.append(replace(row, **changes))  # type: ignore[arg-type]
    add_said(ledger, *rows)
    return rows


def add_said(ledger: Ledger, *rows: Traffic) -> None:
    """Add requests that an author who is trusted has labelled."""
    ledger.add(*rows, *words_of(rows))


def test_fresh_rows_are_new_replayed_rows_are_old_and_the_test_split_has_both(
    settings: Settings, ledger: Ledger, live: Dataset
) -> None:
    log_traffic(ledger, live, 400)
    splits = read_splits(dataset_from_traffic(settings, ledger, "decision_1"))
    old_test = {e.id for e in read_splits(live)["test"]}
    assert {e.id for e in splits["test"] if e.slice == "old"} == old_test
    assert len([e for e in splits["test"] if e.slice == "new"]) > 60
    assert {e.source for e in splits["train"] if e.slice == "new"} == {"correction"}
    assert {e.source for e in splits["train"] if e.slice == "old"} == {"replay"}


def test_a_decision_gets_its_dataset_once(settings: Settings, ledger: Ledger, live: Dataset) -> None:
    log_traffic(ledger, live, 400)
    first = dataset_from_traffic(settings, ledger, "decision_1")
    assert dataset_from_traffic(settings, ledger, "decision_1") == first


def test_what_was_ever_tested_is_never_trained_on(settings: Settings, ledger: Ledger, live: Dataset) -> None:
    rows = log_traffic(ledger, live, 400)
    tested = read_splits(live)["test"][:30]
    add_said(
        ledger,
        *(
            replace(rows[0], id=f"req_leak_{n}", prompt=e.text, request="", label=e.answer)
            for n, e in enumerate(tested)
        ),
    )
    dataset = dataset_from_traffic(settings, ledger, "decision_1")
    splits = read_splits(dataset)
    index = NearDuplicates([e.text for e in read_splits(live)["test"]], settings.dataset.near_duplicate_similarity)
    assert [e for e in splits["train"] + splits["validation"] if index.like(e.text)] == []
    assert dataset.report.dropped["quarantined: like a test item"] >= 30


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        (
            {"label": "hub_offline", "label_source": "label", "answer": ANSWER},
            "40 labelled, but the whole right answer is not known",
        ),
        ({"label_source": "accepted"}, "35 over dataset.max_accepted_rows"),
    ],
    ids=["a label alone", "thumbs alone"],
)
def test_rows_that_prove_little_are_dropped_and_counted(
    settings: Settings, ledger: Ledger, live: Dataset, changes: dict[str, object], reason: str
) -> None:
    capped = with_dataset(settings, max_accepted_rows=5)
    log_traffic(ledger, live, 40, **changes)
    with pytest.raises(DataError, match=reason):
        dataset_from_traffic(capped, ledger, "decision_1")


@pytest.mark.parametrize("changes", [{"status_code": 500}, {"is_partial": True}, {"label": None}])
def test_failed_cut_off_and_unlabelled_requests_are_no_rows(
    settings: Settings, ledger: Ledger, live: Dataset, changes: dict[str, object]
) -> None:
    log_traffic(ledger, live, 400, **changes)
    with pytest.raises(DataError, match="only 0 of 0 rows"):
        dataset_from_traffic(settings, ledger, "decision_1")


def test_a_retrain_keeps_users_and_near_duplicates_in_one_split(
    settings: Settings, ledger: Ledger, live: Dataset
) -> None:
    rows = log_traffic(ledger, live, 400)
    known = read_splits(live)["train"][:20]  # each asked again by a user who also asks new things
    add_said(
        ledger,
        *(
            replace(rows[n], id=f"req_known_{n}", prompt=e.text, request="", label=e.answer)
            for n, e in enumerate(known)
        ),
    )
    splits = read_splits(dataset_from_traffic(settings, ledger, "decision_1"))
    fresh = {name: {e.group for e in rows if e.slice == "new"} for name, rows in splits.items()}
    assert len(fresh["test"]) > 10
    assert not fresh["train"] & fresh["test"]
    assert not fresh["train"] & fresh["validation"]
    assert not fresh["validation"] & fresh["test"]
    learned = NearDuplicates([e.text for e in splits["train"]], settings.dataset.near_duplicate_similarity)
    assert [e.text for e in (*splits["validation"], *splits["test"]) if learned.like(e.text)] == []


def test_feedback_that_comes_late_is_still_used(settings: Settings, ledger: Ledger, live: Dataset) -> None:
    early, late = live.created_at - timedelta(days=1), live.created_at + timedelta(days=1)
    log_traffic(ledger, live, 400, created_at=early, feedback_at=late)
    assert dataset_from_traffic(settings, ledger, "decision_1").report.sources["correction"] > 300


def test_a_file_that_grew_is_built_again_and_what_was_tested_is_tested_again(
    settings: Settings, ledger: Ledger
) -> None:
    rows = seed_rows(900)
    write_rows(settings, rows[:600])
    tested = {e.id: e for e in read_splits(judged_on(ledger, build_dataset(settings, ledger)))["test"]}
    typo = [{**row, "prompt": "hi, " + str(row["prompt"])} for row in rows[:600]]
    write_rows(settings, [*rows, *typo])
    grown = build_dataset(with_dataset(settings, seed=5), ledger)
    splits = read_splits(grown)
    assert tested.keys() <= {e.id for e in splits["test"]}
    assert grown.report.tested_before >= 2 * len(tested)
    assert HeldOut(list(tested.values()), 0.9).leaks([*splits["train"], *splits["validation"]]) == []
    assert len(splits["train"]) > 600


def test_new_test_rows_are_rows_that_nothing_has_learned(settings: Settings, ledger: Ledger) -> None:
    rows = seed_rows(1200)
    write_rows(settings, rows[:600])
    learned = {e.id for e in read_splits(build_dataset(settings, ledger))["train"]}
    write_rows(settings, rows)
    splits = read_splits(build_dataset(settings, ledger))
    assert len(splits["test"]) == pytest.approx(120, abs=20)
    # A new row may resemble both a test row and a learned one; then all three are tested.
    assert len({e.id for e in splits["test"]} & learned) <= 0.1 * len(splits["test"])


@pytest.mark.parametrize("on_leak", ["drop", "refuse"])
def test_rows_like_earlier_test_rows_are_dropped_or_refused_on_request(
    settings: Settings, ledger: Ledger, on_leak: str
) -> None:
    rows = seed_rows(600)
    write_rows(settings, rows)
    tested = read_splits(judged_on(ledger, build_dataset(settings, ledger)))["test"]
    write_rows(settings, [*seed_rows(600, seed=2), {"prompt": tested[0].text.upper() + " ...", "completion": "{}"}])
    changed = with_dataset(settings, on_leak=on_leak)
    if on_leak == "refuse":
        with pytest.raises(DataError, match=r"rows leak.*seed\.jsonl:\d+ .*dataset\.on_leak"):
            build_dataset(changed, ledger)
        return
    dataset = build_dataset(changed, ledger)
    assert dataset.report.dropped["like an earlier test row"] > 1
    ids = {e.id for split in read_splits(dataset).values() for e in split}
    assert not ids & {e.id for e in tested}


def test_with_a_time_column_nothing_is_learned_that_is_newer_than_what_judges(
    settings: Settings, ledger: Ledger
) -> None:
    rows = [{**row, "at": f"2026-03-{1 + n // 50:02d}T{n % 24:02d}:00:00Z"} for n, row in enumerate(seed_rows(600))]
    write_rows(settings, [*rows, {**rows[0], "prompt": "when was this said", "at": "soon"}])
    dataset = build_dataset(with_dataset(settings, time_column="at"), ledger)
    splits, cuts = read_splits(dataset), dataset.report.time_cuts
    assert max(str(e.time) for e in splits["train"]) <= cuts["validation"] <= cuts["test"]
    assert max(str(e.time) for e in splits["validation"]) <= cuts["test"]
    assert dataset.test_rows == pytest.approx(60, abs=25)
    assert dataset.report.broken_rows == [BrokenRow("seed.jsonl:601", "has the unreadable time 'soon'")]


def test_a_retrain_splits_by_time_where_a_time_column_is_set(settings: Settings, ledger: Ledger, live: Dataset) -> None:
    log_traffic(ledger, live, 400, user_id="")
    dataset = dataset_from_traffic(with_dataset(settings, time_column="at"), ledger, "decision_1")
    splits, cut = read_splits(dataset), dataset.report.time_cuts["test"]
    assert all(e.time and e.time <= cut for e in splits["train"] if e.slice == "new")
    assert len([e for e in splits["test"] if e.slice == "new" and str(e.time) >= cut]) > 60


def test_a_user_who_was_tested_is_never_learned_from(settings: Settings, ledger: Ledger, live: Dataset) -> None:
    row = log_traffic(ledger, live, 400)[0]
    first = read_splits(judged_on(ledger, dataset_from_traffic(settings, ledger, "decision_1"), 2))
    for number, e in enumerate(messages(400, 77, "shifted")):  # the same users ask new things
        body = json.dumps({"messages": [{"role": "user", "content": e.text}]})
        add_said(ledger, replace(row, id=f"req_late_{number}", prompt=e.text, request=body, user_id=f"u{number % 97}"))
    users = {e.group for e in first["test"] if e.slice == "new"}
    later = read_splits(dataset_from_traffic(with_dataset(settings, seed=3), ledger, "decision_2"))
    assert users
    assert not users & {e.group for e in (*later["train"], *later["validation"])}


def test_what_was_taken_back_is_neither_replayed_nor_judged_by(
    settings: Settings, ledger: Ledger, live: Dataset
) -> None:
    log = log_traffic(ledger, live, 400, created_at=live.created_at + timedelta(seconds=1))
    said = {row.prompt: row for row in log}
    second = judged_on(ledger, dataset_from_traffic(settings, ledger, "decision_1"), 2)
    ledger.change(ledger.get(Alias, "support/support"), version_id="version_2")
    first = read_splits(second)
    fresh = {name: [e for e in first[name] if e.slice == "new"][:20] for name in ("train", "test")}
    taken = {e.id for rows in fresh.values() for e in rows}
    for lost in (e for rows in fresh.values() for e in rows):
        withdraw_feedback(ledger, "support", said[lost.text].id, author=person("Ann"), of="support/desk")
    for n, e in enumerate(messages(300, 77, "shifted")):
        given = answer(e) if n % 4 == 0 else ANSWER
        facts = {"prompt": e.text, "request": "", "answer": given, "label": answer(e), "user_id": ""}
        at = second.created_at + timedelta(seconds=1)
        add_said(ledger, replace(log[0], id=f"req_later_{n}", created_at=at, **facts))  # type: ignore[arg-type]
    asked_again = {e.text for e in messages(300, 77, "shifted")}
    later = dataset_from_traffic(with_dataset(settings, replay_share=5), ledger, "decision_2")
    texts = {e.text for rows in fresh.values() for e in rows} - asked_again
    found = {name: [e for e in rows if e.text in texts] for name, rows in read_splits(later).items()}
    assert found == {"train": [], "validation": [], "test": []}
    assert later.report.dropped["in the live dataset, but what was said about it was taken back"] == len(taken)
    kept = {e.id for e in read_splits(later)["test"] if e.slice == "old"}
    assert kept == {e.id for e in first["test"]} - taken


def test_a_retrain_mixes_its_rows_and_never_replays_a_copy(settings: Settings, ledger: Ledger) -> None:
    mixed = with_dataset(settings, balance="oversample", augmented_share=0.3)
    write_rows(mixed, seed_rows())
    live_on(ledger, dataset := build_dataset(mixed, ledger))
    log_traffic(ledger, dataset, 400)
    splits = read_splits(dataset_from_traffic(with_dataset(settings, replay_share=5), ledger, "decision_1"))
    replayed = [e.id for e in splits["train"] if e.source == "replay"]
    assert len(replayed) > 200
    assert len(set(replayed)) == len(replayed)
    assert not [e for e in splits["train"] if e.original]
    again = dataset_from_traffic(mixed, ledger, "decision_2")
    assert again.report.mixed["repeated for balance"] > 0
    assert again.report.sources["augmented"] > 100


def test_test_rows_of_a_refused_or_unjudged_dataset_may_be_learned_and_those_of_the_live_one_never(
    settings: Settings, ledger: Ledger, live: Dataset
) -> None:
    log_traffic(ledger, live, 400)
    refused = judged_on(ledger, dataset_from_traffic(settings, ledger, "decision_1"), 2, is_published=False)
    unjudged = dataset_from_traffic(with_dataset(settings, seed=1), ledger, "decision_2")
    later = dataset_from_traffic(with_dataset(settings, seed=2), ledger, "decision_3")
    splits, old = read_splits(later), read_splits(live)
    learned = {e.id for e in splits["train"]}
    for dataset in (refused, unjudged):
        fresh = {e.id for e in read_splits(dataset)["test"] if e.slice == "new"}
        assert len(fresh & learned) > 0.3 * len(fresh)
        assert fresh <= {e.id for rows in splits.values() for e in rows}, "none is lost"
    assert HeldOut([*old["test"], *splits["test"]], 0.9).leaks([*splits["train"], *splits["validation"]]) == []
    assert {e.id for e in old["test"]} <= {e.id for e in splits["test"]}


def test_rows_of_a_weighty_source_are_replayed_as_many_times_as_often(settings: Settings, ledger: Ledger) -> None:
    rows = seed_rows(600)
    write_rows(settings, rows[:300])
    more = "".join(json.dumps(row) + "\n" for row in rows[300:])
    settings.resolve("more.jsonl").write_text(more, encoding="utf-8")
    weighty = {str(row["prompt"]) for row in rows[300:]}
    sources = ["seed.jsonl", SourceSettings(path="more.jsonl", weight=4)]
    live_on(ledger, dataset := build_dataset(with_dataset(settings, sources=sources), ledger))
    log_traffic(ledger, dataset, 400)
    splits = read_splits(dataset_from_traffic(with_dataset(settings, replay_share=0.3), ledger, "decision_1"))
    replayed = [e.text in weighty for e in splits["train"] if e.source == "replay"]
    assert len(replayed) > 80
    assert 0.65 < sum(replayed) / len(replayed) < 0.9


def test_a_retrain_learns_what_is_new_in_the_files(settings: Settings, ledger: Ledger, live: Dataset) -> None:
    old = read_splits(live)
    rows, corrected = seed_rows(), old["train"][0]
    new = [{"prompt": e.text, "completion": answer(e)} for e in messages(300, 8, "shifted")]
    anew = [{**row, "completion": "{}"} if row["prompt"] == corrected.text else row for row in rows]
    write_rows(settings, [*anew, *new])
    log_traffic(ledger, live, 400)
    splits = read_splits(dataset := dataset_from_traffic(settings, ledger, "decision_1"))
    found = {e.text: e for rows in splits.values() for e in rows}
    unlike_tested = [row for row in new if str(row["prompt"]) in found]
    assert len(unlike_tested) > 100
    assert {found[str(row["prompt"])].slice for row in unlike_tested} == {"new"}
    assert len([e for e in splits["test"] if e.source == "files" and e.slice == "new"]) > 30
    assert [e.answer for e in splits["train"] if e.text == corrected.text] == ["{}"]
    again = {e.id for rows in old.values() for e in rows} - {corrected.id}
    from_files = [e for rows in splits.values() for e in rows if (e.slice, e.source) == ("new", "files")]
    assert not again & {e.id for e in from_files}
    assert dataset.report.sources["files"] > 100


def test_files_alone_are_enough_for_a_retrain_and_one_that_is_gone_does_not_stop_it(
    settings: Settings, ledger: Ledger, live: Dataset
) -> None:
    write_rows(settings, [*seed_rows(), *seed_rows(400, seed=8)])
    wanted = with_dataset(settings, sources=["gone.jsonl", "seed.jsonl"])
    splits = read_splits(dataset_from_traffic(wanted, ledger, "decision_1"))
    assert {e.source for e in splits["train"]} == {"files", "replay"}


def test_nothing_that_live_weights_have_learned_judges_those_that_go_on_from_them(
    settings: Settings, ledger: Ledger, live: Dataset
) -> None:
    log_traffic(ledger, live, 400, created_at=live.created_at + timedelta(microseconds=1))
    second = judged_on(ledger, dataset_from_traffic(with_dataset(settings, replay_share=0), ledger, "decision_1"), 2)
    ledger.change(ledger.get(TrainingRun, "run"), dataset_id=live.id)
    ledger.add(replace(run_stub("run_2"), dataset_id=second.id, settings={STARTED_FROM: "run"}))
    ledger.change(ledger.get(ModelVersion, "version_2"), run_id="run_2")
    ledger.change(ledger.get(Alias, "support/support"), version_id="version_2")
    learned = read_splits(live)["train"][:100]
    template = ledger.get(Traffic, "req_00000")
    later = [(e.text, answer(e)) for e in messages(300, 77, "shifted")] + [(e.text, e.answer) for e in learned]
    add_said(
        ledger,
        *(
            replace(
                template,
                id=f"req_later_{n}",
                created_at=second.created_at + timedelta(seconds=1),
                request="",
                prompt=prompt,
                answer=label if n % 4 == 0 else ANSWER,
                label=label,
                user_id="",
            )
            for n, (prompt, label) in enumerate(later)
        ),
    )
    tested = {}
    for start in ("base", "live"):
        started = settings.model_copy(update={"train": settings.train.model_copy(update={"start_from": start})})
        rows = read_splits(dataset_from_traffic(started, ledger, f"decision_{start}"))["test"]
        tested[start] = {e.id for e in rows if e.slice == "new"} & {e.id for e in learned}
    assert len(tested["base"]) > 10
    assert tested["live"] == set()


def test_a_row_that_a_weight_left_out_is_not_new_at_the_next_retrain(settings: Settings, ledger: Ledger) -> None:
    """Half of a source of weight 0.5 came back as new rows of the file at each retrain."""
    write_rows(settings, seed_rows(300))
    sources = [SourceSettings(path="seed.jsonl", weight=0.5)]
    chosen = with_dataset(settings, sources=sources)
    live_on(ledger, dataset := build_dataset(chosen, ledger))
    left_out = read_left_out(dataset)
    assert 60 < len(left_out) < 180
    log_traffic(ledger, dataset, 200)
    built = dataset_from_traffic(chosen, ledger, "decision_1")
    assert not [e for rows in read_splits(built).values() for e in rows if (e.slice, e.source) == ("new", "files")]
    assert verify(Path(dataset.path)).rows_hash == dataset.content_hash


def test_what_a_retrain_replays_or_makes_fits_the_length_that_holds_now(
    settings: Settings, ledger: Ledger, live: Dataset, tiny_base: Path
) -> None:
    log_traffic(ledger, live, 200)
    based = settings.model_copy(update={"model": settings.model.model_copy(update={"base": str(tiny_base)})})
    tokenizer = load_base_tokenizer(based.base)
    rows = [([*e.prompt, *e.completion], e.tools) for e in read_splits(live)["train"]]
    length = sorted(token_counts(tokenizer, rows))[3 * len(rows) // 4]
    chosen = based.model_copy(update={"train": based.train.model_copy(update={"max_length": length})})
    dataset = dataset_from_traffic(with_dataset(chosen, augmented_share=0.4), ledger, "decision_1")
    splits = read_splits(dataset)
    assert {e.source for e in splits["train"]} == {"correction", "replay", "augmented"}
    for split in ("train", "validation"):
        training_rows(tokenizer, splits[split], "last", length, split)
    assert dataset.report.dropped["replayed: longer than train.max_length"] > 0
