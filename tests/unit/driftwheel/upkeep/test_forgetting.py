"""Who is forgotten stands nowhere any more, and what learned from them is named."""

import html
import json
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest
import sqlalchemy as sa

from driftwheel.cli.main import main
from driftwheel.errors import DataError, NotFoundError
from driftwheel.files.artifacts import is_complete, verify, writing
from driftwheel.records.bookkeeping import Switch
from driftwheel.records.by_whom import Action, Cause, Event, Feedback, Trust
from driftwheel.records.check_details import SignalDetails
from driftwheel.records.nouns import Dataset, DriftKind, DriftSignal, DriftVerdict, ModelVersion, Traffic, TrainingRun
from driftwheel.records.predictions import Prediction, write_predictions
from driftwheel.records.probe_answers import Fingerprint, ProbeAnswer
from driftwheel.records.scorecard import Scorecard
from driftwheel.settings.settings import Settings
from driftwheel.store.events import events_of
from driftwheel.store.ledger import Ledger
from driftwheel.store.tables import TABLES
from driftwheel.traffic.export import export_traffic, note_export
from driftwheel.traffic.feedback import Author, give_feedback
from driftwheel.traffic.redaction import rules_of
from driftwheel.upkeep.forgetting import Target, forget
from driftwheel.upkeep.forgotten_record import BEGUN, Forgotten, was_forgotten
from driftwheel.upkeep.forgotten_texts import FEW, Finder, Needles
from driftwheel.upkeep.leftovers import collect_leftovers
from driftwheel.upkeep.verifying import verify_loop
from monitor.references import judged_items
from tests.support.whole_loop import add_built, add_dataset, add_run, add_version, request_row

SECRET = 'my card "4929" was lost in Zürich <today>'
OTHER = "where is the parcel that I sent?"
ITEM = Prediction(
    id="0",
    slice="old",
    prompt="",
    expected="a",
    answer="a",
    label="a",
    predicted="a",
    is_correct=True,
    latency_seconds=0.1,
    mean_logprob=None,
)
ANN = Cause(actor="person:ann", reason="she asked for it")


def dataset_row(id: str, prompt: str, group: str, source: str = "correction") -> dict[str, object]:
    return {
        "id": id,
        "prompt": [{"role": "user", "content": prompt}],
        "completion": [{"role": "assistant", "content": "card_lost"}],
        "label": "card_lost",
        "group": group,
        "source": source,
        "slice": "new",
    }


@pytest.fixture
def loop(settings: Settings) -> Iterator[Ledger]:
    """Ann's three requests among others', and everything that was made of them."""
    with closing(Ledger(settings.database_url, root=settings.root)) as ledger:
        add_version(ledger, settings)
        version = ledger.newest(ModelVersion, "support")
        hers = [
            request_row(version.id, n, prompt=f"{SECRET} {n}", user_id="ann", key_id="support/shop") for n in range(3)
        ]
        others = [request_row(version.id, n, prompt=OTHER, user_id="bob", key_id="support/app") for n in range(3, 6)]
        quoting = json.dumps(
            {"messages": [{"role": "user", "content": f"{SECRET} 0"}, {"role": "user", "content": "and?"}]}
        )
        ledger.add(*hers, *others, request_row(version.id, 6, prompt="and now?", request=quoting, key_id="support/app"))
        rows = (
            dataset_row("a" * 16, f"{SECRET} 0".upper(), "x"),
            dataset_row("b" * 16, "something else of hers", "ann"),
            dataset_row("c" * 16, "reworded", "y") | {"original": "a" * 16},
            dataset_row("d" * 16, OTHER, "bob"),
            dataset_row("e" * 16, f"{SECRET} 0", "z", "files"),
        )
        add_dataset(ledger, settings, "dataset_2", rows)
        second = add_built(ledger, settings, 2, "dataset_2")
        third = add_run(ledger, settings, "run_3", "dataset_1")
        ledger.change(third, settings={"started_from": "run_2"})
        ledger.add(replace(second, id="version_3", number=3, run_id="run_3", dataset_id="dataset_1"))
        quote_her(ledger, settings)
        yield ledger


def quote_her(ledger: Ledger, settings: Settings) -> None:
    """Let her words stand in a signal, a fingerprint, reports, an evaluation, a log and exports."""
    text = f"{SECRET} 1"
    messages = ({"role": "user", "content": text},)
    probe = ProbeAnswer(messages=messages, tokens=("a",), logprobs=(-1.0,))  # type: ignore[arg-type]  # a message
    ledger.change(ledger.get(ModelVersion, "version_2"), fingerprint=Fingerprint(probes=(probe,)))
    signal = DriftSignal(
        id="signal_1",
        project="support",
        version_id="version_1",
        kind=DriftKind.INPUT,
        feature="all",
        method="m",
        score=1,
        threshold=1,
        reference_rows=1,
        current_rows=1,
        verdict=DriftVerdict.STEADY,
        check_id="check_1",
        details=SignalDetails(strangest_prompts=[text, OTHER]),
    )
    ledger.add(signal)
    for name, content in {
        "reports/check_1/report.html": html.escape(text),
        "reports/check_1/report.json": "{}",
        "reports/check_2/report.html": OTHER,
        "logs/worker.log": f"learned {json.dumps(text)}\nkept\n",
        "runs/run_2/job.json": json.dumps({"texts": [text]}),
        "paraphrases.jsonl": json.dumps({"text": text}) + "\n" + json.dumps({"text": OTHER}) + "\n",
    }.items():
        path = settings.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content, encoding="utf-8")
    with writing(settings.root / "evaluations" / "one", {}) as made:
        (made / "predictions.jsonl").write_text(json.dumps({"prompt": text}), encoding="utf-8")


def forget_in(settings: Settings, ledger: Ledger, kind: str, name: str, *, dry_run: bool = False) -> Forgotten:
    target = Target(kind=kind, name=name)  # type: ignore[arg-type]  # one of the three
    return forget(settings.traffic, ledger, "support", settings.root, target, ANN, dry_run=dry_run)


def places_of(settings: Settings, *texts: str) -> set[str]:
    """Return the files of the storage folder in whose bytes one of the texts stands, in any form."""
    forms = {f for t in texts for f in (t, json.dumps(t)[1:-1], json.dumps(json.dumps(t)[1:-1])[1:-1], html.escape(t))}
    forms |= {json.dumps(t, ensure_ascii=False)[1:-1] for t in texts}
    return {
        str(path.relative_to(settings.root))
        for path in settings.root.rglob("*")
        if path.is_file() and any(form.encode() in path.read_bytes() for form in forms)
    }


def test_a_user_who_is_forgotten_stands_nowhere(loop: Ledger, settings: Settings, tmp_path: Path) -> None:
    export = tmp_path / "export.jsonl"
    note_export(settings.root, export, export_traffic(loop, "support", export))
    assert {"ledger.db", "reports/check_1/report.html", "logs/worker.log"} < {
        *places_of(settings, SECRET),
        *(["ledger.db"] if "ledger.db-wal" in places_of(settings, SECRET) else []),
    }
    before = {path.name for path in settings.root.rglob("*")}
    dry = forget_in(settings, loop, "user", "ann", dry_run=True)
    assert {path.name for path in settings.root.rglob("*")} - {"upkeep.lock"} == before - {"upkeep.lock"}
    found = forget_in(settings, loop, "user", "ann")
    assert (dry.requests, dry.versions, dry.files) == (found.requests, found.versions, found.files)
    # Bob's later request quotes her, and the data file that held the same words is the operator's own.
    allowed = {"ledger.db", "ledger.db-wal", "ledger.db-shm", f"datasets/{found.datasets[0].replaced_by}/train.jsonl"}
    assert places_of(settings, SECRET) <= allowed
    assert places_of(settings, f"{SECRET} 1", f"{SECRET} 2", "something else of hers", "reworded") == set()
    assert loop.count(Traffic, user_id="ann") == 0
    assert loop.count(Traffic) == 4
    assert [json.loads(line)["id"] for line in export.read_text().splitlines()] == [f"req_{n:05d}" for n in range(3, 7)]
    assert loop.get(DriftSignal, "signal_1").details.strangest_prompts == ["(forgotten)", OTHER]
    assert loop.get(ModelVersion, "version_2").fingerprint.probes == ()
    assert not (settings.root / "reports" / "check_1").exists()
    assert (settings.root / "reports" / "check_2").exists()
    assert (settings.logs / "worker.log").read_text() == "kept\n"
    assert verify_loop(loop, "support", settings.root).faults == ()


EARLIER = "I live at 12 Long Lane,\nsecond floor"
BATCHED, LEARNED = "my passport ends in 55121", "my mother's name was Rosalind"
PARTS = ("the code of my door is 8841", "and I was born in May of 1970")


def conversation(*turns: object, end: str = "and now?") -> dict[str, object]:
    """Return a request's fields in which a user said some turns, each answered, before the last."""
    answered = [turn for said in turns for turn in ({"role": "user", "content": said}, {"role": "assistant"})]
    return {"prompt": end, "request": json.dumps({"messages": [*answered, {"role": "user", "content": end}]})}


def test_what_was_said_in_earlier_turns_stands_in_no_file_either(loop: Ledger, settings: Settings) -> None:
    asked: tuple[dict[str, object], ...] = (
        conversation(EARLIER, [{"type": "text", "text": PARTS[0]}, {"type": "image_url"}]),
        {
            "prompt": "?",
            "request": json.dumps({"input": [{"role": "user", "content": text} for text in (PARTS[1], "?")]}),
        },
        {"prompt": "?", "request": json.dumps({"prompt": [BATCHED, "?"]})},
    )
    for number, fields in enumerate(asked, start=50):
        loop.add(request_row("version_1", number, user_id="eve", **fields))
    (settings.logs / "worker.log").write_text(
        f"before\nsaw {EARLIER} of eve\nkept\n{json.dumps(PARTS[0])}\n{BATCHED}\n"
    )
    for name, text in (("check_8", PARTS[1]), ("check_9", EARLIER)):
        (settings.root / "reports" / name).mkdir()
        (settings.root / "reports" / name / "report.html").write_text(html.escape(text))
    turns = json.loads(str(conversation(LEARNED, "?")["request"]))["messages"]
    add_dataset(loop, settings, "dataset_9", (dataset_row("f" * 16, "", "eve") | {"prompt": turns},))
    (settings.logs / "monitor.log").write_text(f"{LEARNED}\nkept\n")
    forget_in(settings, loop, "user", "eve")
    assert places_of(settings, EARLIER, BATCHED, LEARNED, *PARTS) == set()
    assert [(settings.logs / f"{name}.log").read_text() for name in ("worker", "monitor")] == [
        "before\nkept\n",
        "kept\n",
    ]


def test_the_requests_of_a_users_conversation_that_name_nobody_go_too(loop: Ledger, settings: Settings) -> None:
    loop.add(request_row("version_1", 50, user_id="eve", conversation_id="talk", prompt=PARTS[0]))
    loop.add(request_row("version_1", 51, conversation_id="talk", **conversation(PARTS[0])))
    loop.add(request_row("version_1", 52, conversation_id="", prompt="nobody's"))
    loop.add(request_row("version_1", 53, conversation_id="talk", user_id="bob"))
    assert forget_in(settings, loop, "user", "eve").requests == 2
    assert loop.count(Traffic, id=["req_00052", "req_00053"]) == 2
    assert places_of(settings, *PARTS) == set()


def test_the_examples_that_an_application_puts_before_each_question_are_nobodys(
    loop: Ledger, settings: Settings
) -> None:
    """Else each fingerprint would lose all its probes, and each evaluation its answers, by one user's wish."""
    loop.add(*(request_row("version_1", n, user_id=f"user {n}", **conversation(EARLIER)) for n in range(50, 80)))
    loop.add(request_row("version_1", 80, user_id="eve", **conversation(EARLIER, PARTS[0])))
    (settings.logs / "worker.log").write_text(f"{EARLIER}\n{PARTS[0]}\n")
    forget_in(settings, loop, "user", "eve")
    assert (settings.logs / "worker.log").read_text() == f"{EARLIER}\n"


def test_what_learned_from_them_is_named_and_marked(loop: Ledger, settings: Settings) -> None:
    found = forget_in(settings, loop, "user", "ann")
    assert found.versions == ("version_2", "version_3")  # the third went on from the second's weights
    marked = {v.id: v.lineage.forgotten_at is not None for v in loop.find(ModelVersion)}
    assert marked == {"version_1": False, "version_2": True, "version_3": True}
    [cleared] = found.datasets
    assert (cleared.id, cleared.rows, cleared.learned) == ("dataset_2", 3, 3)
    new, old = loop.get(Dataset, cleared.replaced_by), loop.get(Dataset, "dataset_2")
    assert (new.train_rows, new.report.forgotten, old.path, old.train_rows) == (2, 3, new.path, 2)
    lines = (Path(new.path) / "train.jsonl").read_text(encoding="utf-8").splitlines()
    assert [json.loads(line)["id"] for line in lines] == ["d" * 16, "e" * 16]
    verify(Path(new.path))
    assert loop.count(TrainingRun, dataset_id=new.id) == 0  # so that `driftwheel train` trains anew


def test_the_record_proves_it_without_keeping_what_was_deleted(loop: Ledger, settings: Settings) -> None:
    found = forget_in(settings, loop, "user", "ann")
    for name in ("ann", "req_00001"):
        assert was_forgotten(loop, "support", name) == [found.id]
    assert was_forgotten(loop, "support", "bob") == []
    record = loop.switch("support", found.id) or ""
    assert not any(word in record for word in ("ann", "req_0000", "card"))
    [event] = events_of(loop, "support", actions=[Action.FORGET])
    assert (event.actor, event.object_id, event.reason) == ("person:ann", found.id, "she asked for it")
    with pytest.raises(NotFoundError, match="nothing of the user 'ann'"):
        forget_in(settings, loop, "user", "ann")


def test_of_one_request_what_repeats_it_goes_too(loop: Ledger, settings: Settings) -> None:
    found = forget_in(settings, loop, "request", "req_00000")
    assert found.requests == 2
    assert {row.id for row in loop.find(Traffic)} == {f"req_{n:05d}" for n in (1, 2, 3, 4, 5)}
    assert [c.rows for c in found.datasets] == [2]  # her other row stays


def test_of_a_key_its_words_about_others_go_and_what_is_right_without_them_counts(
    loop: Ledger, settings: Settings
) -> None:
    shop, app = Author(id="support/shop", trust=Trust.LABEL), Author(id="support/app", trust=Trust.LABEL)
    give_feedback(settings.traffic, loop, "support", "req_00003", author=app, label="parcel")
    give_feedback(settings.traffic, loop, "support", "req_00003", author=shop, label="poisoned")
    assert loop.get(Traffic, "req_00003").label == "poisoned"
    found = forget_in(settings, loop, "key", "support/shop")
    assert (found.requests, found.words) == (3, 1)
    assert loop.get(Traffic, "req_00003").label == "parcel"
    assert {word.author for word in loop.find(Feedback)} == {"support/app"}


def test_the_history_names_no_key_and_what_it_alone_taught_goes_too(loop: Ledger, settings: Settings) -> None:
    shop, app = Author(id="support/shop", trust=Trust.LABEL), Author(id="support/app", trust=Trust.LABEL)
    for id, author, said in (("3", shop, "hers alone"), ("4", shop, "both"), ("4", app, "both")):
        give_feedback(settings.traffic, loop, "support", f"req_0000{id}", author=author, label=said)
    taught = [
        dataset_row(f"taught {n}", f"{OTHER} {n}", "bob") | {"requests": [f"req_0000{n}"], "label": said}
        for n, said in ((3, "hers alone"), (4, "both"), (5, "nobody"))
    ]
    by_key = dataset_row("taught 6", f"{OTHER} 6", "bob") | {"author": "support/shop"}
    add_dataset(loop, settings, "dataset_9", (*taught, by_key))
    found = forget_in(settings, loop, "key", "support/shop")
    new = loop.get(Dataset, next(c.replaced_by for c in found.datasets if c.id == "dataset_9"))
    assert [row["id"] for row in rows_of(new)] == ["taught 4", "taught 5"]
    assert not [event for event in loop.find(Event) if "shop" in f"{event.actor}{event.object_id}{event.after}"]


def rows_of(dataset: Dataset) -> list[dict[str, object]]:
    lines = (Path(dataset.path) / "train.jsonl").read_text(encoding="utf-8").splitlines()
    return [json.loads(line) for line in lines]


def test_two_who_are_forgotten_one_after_the_other_leave_every_dataset_whole(loop: Ledger, settings: Settings) -> None:
    [first] = forget_in(settings, loop, "user", "ann").datasets
    second = forget_in(settings, loop, "user", "bob")
    # The first one's new Dataset shares its files with the old one, and both are without bob.
    assert {cleared.id for cleared in second.datasets} == {"dataset_2", first.replaced_by}
    assert verify_loop(loop, "support", settings.root).faults == ()
    assert [row["id"] for row in rows_of(loop.get(Dataset, "dataset_2"))] == ["e" * 16]
    assert second.versions == ("version_2", "version_3")


def test_a_forgetting_that_broke_off_says_all_when_it_is_repeated(loop: Ledger, settings: Settings) -> None:
    table = TABLES[Traffic].name
    refusal = f"CREATE TRIGGER full BEFORE DELETE ON {table} BEGIN SELECT RAISE(ABORT, 'the disk is full'); END"
    with loop.write() as connection:
        connection.exec_driver_sql(refusal)
    with pytest.raises(sa.exc.IntegrityError):  # when Datasets and files are cleared, and the requests are there
        forget_in(settings, loop, "user", "ann")
    with loop.write() as connection:
        connection.exec_driver_sql("DROP TRIGGER full")
    assert was_forgotten(loop, "support", "ann") == []
    found = forget_in(settings, loop, "user", "ann")
    assert (found.requests, found.versions) == (3, ("version_2", "version_3"))
    [cleared] = found.datasets
    assert cleared.replaced_by == Path(loop.get(Dataset, "dataset_2").path).name
    assert was_forgotten(loop, "support", "ann") == was_forgotten(loop, "support", "req_00001") == [found.id]
    assert [switch.id for switch in loop.find(Switch) if BEGUN in switch.id] == []


def test_what_taught_is_found_when_the_log_has_let_go_of_the_requests(loop: Ledger, settings: Settings) -> None:
    by_request = dataset_row("f" * 16, "said in the first request", "y") | {"requests": ["req_00001"]}
    add_dataset(loop, settings, "dataset_9", (by_request,))
    with loop.write() as connection:
        connection.execute(sa.delete(TABLES[Traffic]))
    found = forget_in(settings, loop, "user", "ann")
    assert ([c.id for c in found.datasets], found.versions) == (["dataset_2"], ("version_2", "version_3"))
    assert [c.id for c in forget_in(settings, loop, "request", "req_00001").datasets] == ["dataset_9"]


def test_no_file_of_a_model_goes_because_a_question_reads_like_it(loop: Ledger, settings: Settings) -> None:
    merged = settings.root / "runs" / "run_1" / "merged"
    (merged / "tokenizer_config.json").write_text('{"bos_token": "<|im_start|>"}')
    (merged / "config.json").write_text('{"architectures": ["Qwen3ForCausalLM"]}')
    for number, text in enumerate(("<|im_start|>", "architectures"), start=20):
        loop.add(request_row("version_1", number, prompt=text, user_id="eve"))
    forget_in(settings, loop, "user", "eve")
    assert {path.name for path in merged.iterdir()} >= {"tokenizer_config.json", "config.json"}


@pytest.mark.parametrize("count", [1, FEW, FEW + 1, 500])
def test_many_texts_are_found_where_each_of_them_would_be(count: int) -> None:
    texts = [f"how do I get card {number}" for number in range(count)]
    finder, in_bytes = Finder(texts), Finder([text.encode() for text in texts])
    for held in (
        "",
        "how do I get",
        f"so {texts[-1]}",
        f"how do how do I get card {count} back",
        "HOW DO I GET CARD 0",
    ):
        assert finder.is_in(held) is in_bytes.is_in(held.encode()) is any(text in held for text in texts)
    needles = Needles.of(texts)
    for value in ("how do I get...", "how do I gex…", "how do", texts[0], texts[0][:-1]):
        cut = value.rstrip(".…")
        expected = any(text in value or (len(cut) >= 12 and text.startswith(cut)) for text in texts)
        assert needles.are_in({"a": [value]}) is expected


def test_a_log_that_is_written_meanwhile_keeps_its_file_and_what_came_since(loop: Ledger, settings: Settings) -> None:
    with (settings.logs / "worker.log").open("a", encoding="utf-8") as log:
        forget_in(settings, loop, "user", "ann")
        log.write("and on\n")
    assert (settings.logs / "worker.log").read_text() == "kept\nand on\n"


def test_a_live_version_keeps_the_answers_that_its_traffic_is_compared_with(loop: Ledger, settings: Settings) -> None:
    """The monitor could else look at nothing any more until somebody evaluates and publishes the version again."""
    said = [replace(ITEM, id=str(n), prompt=prompt) for n, prompt in enumerate((f"{SECRET} 1", OTHER))]
    with writing(settings.root / "evaluations" / "live", {"artifact": "h"}) as made:
        write_predictions(made, said)
    card = Scorecard(predictions_path=str(settings.root / "evaluations" / "live" / "predictions.jsonl"))
    loop.change(loop.get(ModelVersion, "version_1"), scorecard=card)
    forget_in(settings, loop, "user", "ann")
    assert [item.prompt for item in judged_items(loop.get(ModelVersion, "version_1"))] == [OTHER]
    assert not is_complete(settings.root / "evaluations" / "live"), "its scores are not those of what is left"
    left = collect_leftovers(loop, settings.root, keep_days=0, dry_run=True)
    assert "live" not in {leftover.path.name for leftover in left}


def test_an_export_that_cannot_be_cleared_is_named(loop: Ledger, settings: Settings, tmp_path: Path) -> None:
    export, broken = tmp_path / "export.jsonl", tmp_path / "broken.jsonl"
    note_export(settings.root, export, export_traffic(loop, "support", export))
    note_export(settings.root, broken, export_traffic(loop, "support", broken))
    with export.open("a", encoding="utf-8") as file:
        file.write("\n[1]\nno JSON\n")
    broken.write_bytes(broken.read_bytes() + b"\xff\n")
    with (settings.root / "exports.jsonl").open("a") as file:
        file.write('{"file": "/half')
    found = forget_in(settings, loop, "user", "ann")
    assert found.exports == (f"{settings.root / 'exports.jsonl'}, where a line names no file", str(broken))
    assert SECRET.split('"')[0] not in "".join(export.read_text().splitlines()[:3])
    assert "no JSON" in export.read_text()


@pytest.mark.parametrize("kind", ["user", "key", "request"])
def test_nobody_is_forgotten_where_no_one_is_named(loop: Ledger, settings: Settings, kind: str) -> None:
    loop.add(request_row("version_1", 9, user_id="", key_id=""))
    with pytest.raises(DataError, match="is empty"):
        forget_in(settings, loop, kind, "")
    assert loop.count(Traffic) == 8


def test_the_name_of_a_user_is_found_where_rows_keep_its_hash(loop: Ledger, settings: Settings) -> None:
    traffic = settings.traffic.model_copy(update={"redact": ["email"]})
    rules = rules_of(traffic)
    assert rules is not None
    hashed = rules.clean_name("ann@example.com")
    loop.add(request_row("version_1", 9, user_id=hashed))
    target = Target(kind="user", name="ann@example.com")
    assert forget(traffic, loop, "support", settings.root, target, ANN, dry_run=False).requests == 1


def test_the_verb_says_what_is_left_to_do(loop: Ledger, settings: Settings, capsys: pytest.CaptureFixture[str]) -> None:
    config = ["--config", str(settings.path)]
    (settings.root / "ledger.db.revision-1.x").write_text("x")
    assert main(["forget", "--user", "ann", "--dry-run", *config]) == 0
    assert loop.count(Traffic, user_id="ann") == 3
    assert main(["forget", "--user", "ann", "--reason", "asked", *config]) == 0
    assert main(["forget", "--was", "ann", *config]) == 0
    told = capsys.readouterr().out
    assert "3 requests and 0 words about them would be deleted" in told
    assert "version_2 learned from it, and cannot unlearn it" in told
    assert "ledger.db.revision-1.x" in told
    assert main(["forget", "--user", "nobody", *config]) == 1
    assert main(["forget", "--was", "nobody", *config]) == 1
