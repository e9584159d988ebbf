"""Preferences: feedback becomes rows, training widens the margin on held-out pairs, and the result merges."""

import json
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from driftwheel.errors import ConfigError, DataError
from driftwheel.records.by_whom import Trust
from driftwheel.records.nouns import Alias, Dataset, Traffic, TrainingRun
from driftwheel.settings.settings import Settings
from driftwheel.store.ledger import Ledger
from driftwheel.text.conversations import said
from tests.support.said import words_of
from tests.support.versions import add_with_parents, published_version
from train.data.examples import Example
from train.data.sources.preferences import read_preferences
from train.data.splitting.dataset_files import read_splits
from train.data.splitting.tally import Tally
from train.finetune import finetune
from train.merge import merge
from train.preference.prefer import prefer, preference_dataset
from train.preference.preference_rows import preferences
from train.retrain_state import Job, Progress
from train.worker import run_steps

WORDS = (
    "amber",
    "birch",
    "coral",
    "delta",
    "ember",
    "fjord",
    "grove",
    "haven",
    "inlet",
    "jetty",
    "karst",
    "lagoon",
    "mesa",
    "notch",
    "oasis",
    "plain",
    "quarry",
    "ridge",
    "shoal",
    "tarn",
)
RIGHT, WRONG = '{"intent": "lake"}', '{"intent": "evening"}'


def asked(number: int, **changes: Any) -> Traffic:
    values: dict[str, Any] = {
        "id": f"req_{number:03d}",
        "project": "support",
        "alias": "support",
        "version_id": "version_1",
        "route": "/v1/chat/completions",
        "status_code": 200,
        "prompt": f"where is the {WORDS[number % 20]} {number}",
        "answer": WRONG,
        "latency_seconds": 0.1,
        "user_id": f"user{number % 10}",
    }
    return Traffic(**{**values, **changes})


def add_said(ledger: Ledger, *rows: Traffic) -> None:
    """Add requests with the words of an author who is trusted."""
    ledger.add(*rows, *words_of(rows))


def corrected(number: int, text: str = RIGHT) -> Traffic:
    return asked(number, label=text, label_source="correction")


def wanting(settings: Settings, **changes: Any) -> Settings:
    train = {"max_steps": 12, "eval_steps": 4, "learning_rate": 5e-3, "bf16": False, **changes}
    return settings.model_copy(
        update={
            "train": settings.train.model_copy(update=train),
            "merge": settings.merge.model_copy(update={"dtype": "float32"}),
            "dataset": settings.dataset.model_copy(update={"validation_share": 0.3, "trusted_labels": "sampled"}),
        }
    )


@pytest.fixture
def start(train_settings: Settings, ledger: Ledger, dataset: Dataset) -> TrainingRun:
    """The supervised run that people judged."""
    return finetune(wanting(train_settings, max_steps=4), ledger, dataset.id)


def margin(folder: Path, pairs: list[dict[str, Any]]) -> float:
    """Return the mean log-probability of the chosen answers minus that of the rejected ones."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    model, tokenizer = AutoModelForCausalLM.from_pretrained(folder).eval(), AutoTokenizer.from_pretrained(folder)

    def logprob(prompt: Any, answer: Any) -> float:
        before = tokenizer.apply_chat_template(prompt, add_generation_prompt=True, return_dict=True)["input_ids"]
        ids = tokenizer.apply_chat_template([*prompt, *answer], return_dict=True)["input_ids"]
        with torch.no_grad():
            scores = model(torch.tensor([ids])).logits[0, :-1].log_softmax(-1)
        return float(sum(scores[i - 1, ids[i]] for i in range(len(before), len(ids))))

    return sum(logprob(p["prompt"], p["chosen"]) - logprob(p["prompt"], p["rejected"]) for p in pairs) / len(pairs)


def right_before_wrong(ledger: Ledger, run: TrainingRun) -> list[dict[str, Any]]:
    """Return the held-out prompts of a run, each with the right answer and the wrong one."""
    objective = run.settings["train"]["objective"]
    rows = read_preferences(Path(ledger.get(Dataset, run.dataset_id).path), objective, "validation")
    right, wrong = ([{"role": "assistant", "content": text}] for text in (RIGHT, WRONG))
    return [{"prompt": row["prompt"], "chosen": right, "rejected": wrong} for row in rows]


def test_dpo_widens_the_margin_on_pairs_that_it_never_saw(
    train_settings: Settings, ledger: Ledger, start: TrainingRun
) -> None:
    add_said(ledger, *(corrected(n) for n in range(20)))
    settings = wanting(train_settings, objective="dpo")
    run = prefer(settings, ledger)

    held_out = right_before_wrong(ledger, run)
    assert len(held_out) >= 4
    before, after = (margin(merge(settings, ledger, id), held_out) for id in (start.id, run.id))
    assert after > before + 1
    # The trainer's own margin is beta times the growth that was measured here.
    assert run.metrics.reward_margin == pytest.approx(settings.train.beta * (after - before), rel=0.05)
    assert Path(run.base_model) == Path(start.path) / "merged"


def test_kto_makes_answers_with_a_thumb_up_likelier_than_those_with_a_thumb_down(
    train_settings: Settings, ledger: Ledger, start: TrainingRun
) -> None:
    add_said(
        ledger, *(asked(n, thumb=1 if n % 4 == 0 else -1, answer=RIGHT if n % 4 == 0 else WRONG) for n in range(20))
    )
    settings = wanting(train_settings, objective="kto", max_steps=16)
    run = prefer(settings, ledger)
    pairs = right_before_wrong(ledger, run)
    assert margin(merge(settings, ledger, run.id), pairs) > margin(merge(settings, ledger, start.id), pairs) + 0.5


def test_the_dataset_keeps_the_judged_runs_rows_and_test_items_and_learns_the_corrections_too(
    train_settings: Settings, ledger: Ledger, dataset: Dataset
) -> None:
    add_said(ledger, *(corrected(n) for n in range(20)))
    settings = wanting(train_settings, objective="dpo")
    built = preference_dataset(settings, ledger, dataset)
    old, new = read_splits(dataset), read_splits(built)
    assert new["test"] == old["test"]
    added = [e for split in ("train", "validation") for e in new[split] if e.source == "correction"]
    assert {e.answer for e in added} == {RIGHT}
    assert len(added) == 20
    users = [{e.group for e in new[s] if e.source == "correction"} for s in ("train", "validation")]
    assert not users[0] & users[1]
    assert preference_dataset(settings, ledger, dataset) == built
    pair = read_preferences(Path(built.path), "dpo", "train")[0]
    assert (pair["chosen"][0]["content"], pair["rejected"][0]["content"]) == (RIGHT, WRONG)


@pytest.mark.parametrize(
    ("traffic", "kept"),
    [
        (corrected(1), True),
        (asked(1, thumb=-1), True),
        (corrected(1, WRONG), False),
        (asked(1, label="lake", label_source="label"), False),
        (asked(1, thumb=1, is_partial=True), False),
        (asked(1, thumb=1, status_code=500), False),
        (asked(1, thumb=1, project="other"), False),
        (asked(1, thumb=1, prompt="good morning test0"), False),
    ],
    ids=["corrected", "thumb", "corrected to the same", "a label only", "cut off", "failed", "other project", "test"],
)
def test_only_whole_answers_that_people_judged_are_preferences(
    train_settings: Settings, ledger: Ledger, traffic: Traffic, kept: bool
) -> None:
    add_said(ledger, traffic)
    s = train_settings
    objective = "dpo" if traffic.thumb is None else "kto"
    found = preferences(s.dataset, ledger, s.project, s.serve.alias, ["good morning test0"], objective=objective)
    assert bool(found) is kept


@pytest.mark.parametrize(
    ("trust", "kept"), [(Trust.NONE, [0, 1, 2, 10, 11]), (Trust.LABEL, [0, 1, 2, 10, 11]), (Trust.TRUSTED, None)]
)
def test_thumbs_of_keys_without_trust_count_only_so_often_whatever_user_the_body_names(
    train_settings: Settings, ledger: Ledger, trust: Trust, kept: list[int] | None
) -> None:
    """A cap by the request's `user` was none: the client chooses that field."""
    for author in (0, 10):
        rows = [asked(author + n, thumb=1, user_id=f"user {n}") for n in range(5)]
        ledger.add(*rows, *words_of(rows, author=f"support/{author}", trust=trust))
    capped = train_settings.dataset.model_copy(update={"max_rows_per_key": 3, "max_unverified_rows": 5})
    tally = Tally()
    s = train_settings
    found = preferences(capped, ledger, s.project, s.serve.alias, [], tally, objective="kto")
    numbers = [0, 1, 2, 3, 4, 10, 11, 12, 13, 14] if kept is None else kept
    assert [p.id for p in found] == [f"req_{n:03d}" for n in numbers]
    assert tally.dropped.total() == 10 - len(numbers)


def test_a_thumb_of_which_nobody_knows_whose_it_is_is_nobodys_whom_one_could_trust(
    train_settings: Settings, ledger: Ledger
) -> None:
    ledger.add(*(asked(n, thumb=1) for n in range(40)))
    s = train_settings
    found = preferences(s.dataset, ledger, s.project, s.serve.alias, [], objective="kto")
    assert len(found) == s.dataset.max_rows_per_key


@pytest.mark.parametrize(("objective", "kept"), [("dpo", 9), ("kto", 3)])
def test_what_an_untrusted_key_says_takes_no_trust_from_what_a_trusted_author_says(
    train_settings: Settings, ledger: Ledger, objective: str, kept: int
) -> None:
    rows, thumbs = [corrected(n) for n in range(9)], [asked(n, thumb=-1) for n in range(9)]
    ledger.add(*(replace(row, thumb=-1) for row in rows), *words_of(rows))
    ledger.add(*words_of(thumbs, author="support/app", trust=Trust.NONE))
    s, capped = train_settings, train_settings.dataset.model_copy(update={"max_rows_per_key": 3})
    found = preferences(capped, ledger, s.project, s.serve.alias, [], objective=objective)
    assert len(found) == kept
    assert {(p.correction, p.thumb) for p in found} == {(RIGHT, None if objective == "dpo" else -1)}


def test_a_trusted_thumb_brings_no_untrusted_correction_with_it(train_settings: Settings, ledger: Ledger) -> None:
    row = replace(corrected(1), thumb=-1)
    words = [*words_of([asked(1, thumb=-1)]), *words_of([corrected(1)], author="support/app", trust=Trust.NONE)]
    ledger.add(row, *words)
    s = train_settings
    (found,) = preferences(s.dataset, ledger, s.project, s.serve.alias, [], objective="kto")
    assert (found.correction, found.thumb) == (None, -1)


@pytest.mark.parametrize(
    ("objective", "traffic", "error", "message"),
    [
        ("dpo", [corrected(n) for n in range(9)], DataError, "only 9 corrected answers"),
        ("kto", [corrected(n) for n in range(20)], DataError, "only 0 answers with a thumb"),
        ("kto", [asked(n, thumb=1) for n in range(20)], DataError, "thumbs point up"),
        (
            "dpo",
            [asked(n, label=RIGHT, label_source="correction", user_id="one") for n in range(20)],
            DataError,
            "one conversation or user",
        ),
    ],
    ids=["too few", "none of the kind", "all one way", "one user"],
)
def test_says_what_feedback_is_missing(
    train_settings: Settings,
    ledger: Ledger,
    start: TrainingRun,
    objective: str,
    traffic: list[Traffic],
    error: type[Exception],
    message: str,
) -> None:
    add_said(ledger, *traffic)
    with pytest.raises(error, match=message):
        prefer(wanting(train_settings, objective=objective), ledger)


def test_kto_refuses_a_batch_of_one(train_settings: Settings, ledger: Ledger, start: TrainingRun) -> None:
    add_said(ledger, *(asked(n, thumb=(1, -1)[n % 2]) for n in range(20)))
    with pytest.raises(ConfigError, match="2 or more"):
        prefer(wanting(train_settings, objective="kto", per_device_train_batch_size=1), ledger)


def test_a_dataset_without_preferences_says_so(train_settings: Settings, ledger: Ledger, dataset: Dataset) -> None:
    with pytest.raises(DataError, match="no preferences for dpo"):
        finetune(wanting(train_settings, objective="dpo"), ledger, dataset.id)
    assert json.loads((Path(dataset.path) / "test.jsonl").read_text("utf-8").splitlines()[0])["id"] == "test0"


@pytest.mark.parametrize("objective", ["dpo", "kto"])
def test_a_retrain_learns_preferences_from_the_live_weights(
    train_settings: Settings, ledger: Ledger, dataset: Dataset, start: TrainingRun, objective: str
) -> None:
    add_with_parents(ledger, published_version("version_1", run_id=start.id, dataset_id=dataset.id))
    ledger.add(Alias(id="support/support", project="support", name="support", version_id="version_1", fence=1))
    labels = {"label_source": "correction"} if objective == "dpo" else {"label_source": "accepted"}
    thumbs = {"kto": (1, -1), "dpo": (None, None)}[objective]
    add_said(
        ledger,
        *(
            asked(
                n, label=RIGHT, thumb=thumbs[n % 2], created_at=dataset.created_at + timedelta(seconds=n + 1), **labels
            )
            for n in range(60)
        ),
    )
    settings = wanting(train_settings, objective=objective, max_steps=2)
    made = run_steps(Job(settings, ledger, "decision_1"), Progress(), "build_dataset", "finetune")
    run, built = ledger.get(TrainingRun, made.need("run_id")), ledger.get(Dataset, made.need("dataset_id"))
    assert (run.settings["train"]["objective"], run.settings["started_from"]) == (objective, start.id)
    assert built.report.objective == objective
    judging = read_splits(built)["test"]
    taught = read_preferences(Path(built.path), objective, "train")
    assert {e.slice for e in judging} == {"old", "new"}
    assert not {e.text for e in judging} & {row["prompt"][-1]["content"] for row in taught}


def given(dataset: Dataset, objective: str, split: str, numbers: range) -> None:
    """Put preferences of data files beside a Dataset's rows."""
    prompts = [[said("user", f"which way leads to the {WORDS[n % 20]} {n}")] for n in numbers]
    answers = [said("assistant", RIGHT)], [said("assistant", WRONG)]
    rows: list[dict[str, Any]] = [{"prompt": p, "chosen": answers[0], "rejected": answers[1]} for p in prompts]
    if objective == "kto":
        rows = [{"prompt": p, "completion": a, "label": a is answers[0]} for p in prompts for a in answers]
    path = Path(dataset.path) / f"{objective}_{split}.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")


@pytest.mark.parametrize("objective", ["dpo", "kto"])
def test_feedback_is_learned_beside_the_preferences_of_files_and_not_instead_of_them(
    train_settings: Settings, ledger: Ledger, dataset: Dataset, objective: str
) -> None:
    given(dataset, objective, "train", range(0, 12))
    given(dataset, objective, "validation", range(12, 16))
    held_out = f"Which way leads to the {WORDS[12]} 12?"
    add_said(
        ledger,
        *(replace(corrected(n), thumb=-1) for n in range(8)),
        replace(corrected(8), prompt=held_out, thumb=-1),
    )
    built = preference_dataset(wanting(train_settings, objective=objective), ledger, dataset)
    rows = {name: read_preferences(Path(built.path), objective, name) for name in ("train", "validation")}
    asked = {name: {row["prompt"][-1]["content"] for row in own} for name, own in rows.items()}
    assert {f"which way leads to the {WORDS[n]} {n}" for n in range(12)} <= asked["train"]
    assert {f"which way leads to the {WORDS[n]} {n}" for n in range(12, 16)} <= asked["validation"]
    assert len([text for own in asked.values() for text in own if text.startswith("where")]) == 8
    assert held_out not in asked["train"]


def test_a_retrain_learns_the_preferences_of_its_files(
    train_settings: Settings, ledger: Ledger, dataset: Dataset, start: TrainingRun
) -> None:
    """The worker read the better answers of such files as rows, and forgot that there were worse ones."""
    add_with_parents(ledger, published_version("version_1", run_id=start.id, dataset_id=dataset.id))
    ledger.add(Alias(id="support/support", project="support", name="support", version_id="version_1", fence=1))
    rows = [{"prompt": f"who rows to the {WORDS[n % 20]} {n}", "chosen": RIGHT, "rejected": WRONG} for n in range(80)]
    path = train_settings.resolve("seed.jsonl")
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    settings = wanting(train_settings, objective="dpo")
    made = run_steps(Job(settings, ledger, "decision_1"), Progress(), "build_dataset", "build_dataset")
    built = ledger.get(Dataset, made.need("dataset_id"))
    taught = {row["prompt"][-1]["content"] for row in read_preferences(Path(built.path), "dpo", "train")}
    judging = {e.text for e in read_splits(built)["test"]}
    assert len(taught) > 20
    assert not taught & judging


def test_feedback_is_redacted_and_cleaned_as_rows_are_and_what_is_left_out_is_counted(
    train_settings: Settings, ledger: Ledger
) -> None:
    ledger.add(
        replace(
            corrected(1, "write to ann@example.org"), prompt="<b>mail</b> bob@example.org", answer="eve@example.org"
        ),
        *(asked(n, thumb=1) for n in range(2, 6)),
        asked(7, thumb=1, prompt="good morning test0"),
        asked(8, thumb=1, answer=" \n"),
    )
    chosen = train_settings.dataset.model_copy(update={"redact": True, "clean": "strip", "max_rows_per_key": 3})
    s, tally = train_settings, Tally()
    found = preferences(chosen, ledger, s.project, s.serve.alias, ["good morning test0"], objective="dpo")
    assert [(p.prompt[0]["content"], p.answer, p.correction) for p in found] == [
        ("mail <EMAIL>", "<EMAIL>", "write to <EMAIL>")
    ]
    preferences(chosen, ledger, s.project, s.serve.alias, ["good morning test0"], tally, objective="kto")
    assert tally.dropped == {
        "unverified, over dataset.max_rows_per_key": 1,
        "feedback on a question like a test item": 1,
        "feedback on a question or an answer that is empty after cleaning": 1,
    }


def known(number: int) -> Example:
    """A row of the live Dataset: a lake, or an evening."""
    place = WORDS[number % 20]
    is_lake = number % 2 == 0
    text = f"where is the {place} {number}" if is_lake else f"tell of an evening at the {place} {number}"
    answer = RIGHT if is_lake else WRONG
    label = "lake" if is_lake else "evening"
    return Example(f"known{number}", [said("user", text)], [said("assistant", answer)], label, f"g{number}")


PROVEN = [known(n) for n in range(200)]


@pytest.mark.parametrize(
    ("objective", "row", "kept"),
    [
        ("dpo", corrected(4), True),
        ("dpo", replace(corrected(4), prompt="where is the ember 4 kestrel"), False),
        ("dpo", replace(corrected(4, WRONG), answer=RIGHT), False),
        ("kto", asked(4, thumb=1, answer=RIGHT), True),
        ("kto", asked(4, thumb=1, answer=WRONG), False),
        ("kto", asked(4, thumb=-1, answer=WRONG), True),
        ("kto", asked(4, thumb=-1, answer=RIGHT), False),
        ("kto", asked(4, thumb=1, answer=RIGHT, prompt="where is the ember 4 kestrel"), False),
        ("kto", asked(4, thumb=-1, answer=WRONG, prompt="Quo vadis"), False),
    ],
    ids=[
        "a right pair",
        "a pair with a planted word",
        "a pair that trusted rows contradict",
        "a right answer liked",
        "a wrong answer liked",
        "a wrong answer disliked",
        "a right answer disliked",
        "a liked answer to a planted word",
        "an answer disliked of which nobody knows anything",
    ],
)
def test_what_keys_without_trust_prefer_teaches_only_where_trusted_rows_say_the_same(
    train_settings: Settings, ledger: Ledger, objective: str, row: Traffic, kept: bool
) -> None:
    """Such pairs and thumbs met nothing but the caps: forty with a planted word were learned as they were."""
    rows = [replace(row, id=f"req_{n}", prompt=row.prompt + (" now" if n else "")) for n in range(2)]
    ledger.add(*rows, *words_of(rows, author="support/web", trust=Trust.NONE))
    s, tally = train_settings, Tally()
    told = s.dataset.model_copy(update={"label_field": "intent"})
    proven = [*PROVEN, replace(known(4), id="now", prompt=[said("user", "where is the ember 4 now")])]
    found = preferences(told, ledger, s.project, s.serve.alias, [], tally, objective=objective, proven=proven)
    assert len(found) == (2 if kept else 0)
    assert {p.author for p in found} <= {"support/web"}
    assert tally.dropped.total() == (0 if kept else 2)


def test_a_correction_that_is_learned_beside_a_pair_keeps_its_author_and_its_request(
    train_settings: Settings, ledger: Ledger, dataset: Dataset
) -> None:
    """It lost both, and was a trusted row of the next retrain, which no withdrawn word took out."""
    own, web = [corrected(n) for n in range(12)], [asked(12, label=RIGHT, label_source="correction", thumb=None)]
    add_said(ledger, *own)
    ledger.add(*web, *words_of(web, author="support/web", trust=Trust.NONE))
    built = preference_dataset(wanting(train_settings, objective="dpo"), ledger, dataset)
    added = [e for name in ("train", "validation") for e in read_splits(built)[name] if e.source == "correction"]
    assert {e.author for e in added if e.id != "req_012"} == {None}
    assert {e.author for e in added if e.id == "req_012"} <= {"support/web"}
    assert all(e.requests == [e.id] for e in added)
