"""A check finds what was planted in a file, shows it masked, and says what to do."""

import argparse
import json
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from driftwheel.cli.main import main
from driftwheel.errors import DataError
from driftwheel.settings.data import Base, TemplateSettings
from driftwheel.settings.settings import Settings
from driftwheel.store.ledger import Ledger
from examples.support.world import answer, messages
from tests.support.shipped_templates import save_tokenizer
from train.data.checking.check_tables import print_findings
from train.data.checking.data_check import check_files
from train.data.checking.findings import PersonalDataFound
from train.data.splitting.dataset_files import read_splits
from train.dataset import build_dataset
from train.verbs import data

CARD = "4111 1111 1111 1111"


@pytest.fixture
def path(settings: Settings) -> Path:
    """A file of 200 good rows and of one row with each fault."""
    rows: list[dict[str, Any]] = [{"prompt": e.text, "completion": answer(e)} for e in messages(200, 1, "steady")]
    label = rows[0]["completion"]
    rows += [
        {"prompt": rows[3]["prompt"].upper(), "completion": '{"intent":"another"}'},
        {"prompt": "x " * 3000, "completion": label},
        {"prompt": "?", "completion": label},
        {"prompt": "\ufffd\ufffd where is \ufffd my parcel", "completion": label},
        {"prompt": f"my card {CARD} was charged, write to ann@example.com", "completion": label},
        {"prompt": f"My card {CARD} was charged, write to ann@example.com!", "completion": label},
        {"prompt": "no answer"},
    ]
    rows += [
        {"prompt": f"wo ist mein paket nummer {n}, es sollte gestern kommen", "completion": label} for n in range(40)
    ]
    found = settings.resolve("seed.jsonl")
    found.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return found


def test_right_answers_that_are_empty_or_the_prompt_again_are_found(settings: Settings, tmp_path: Path) -> None:
    rows: list[dict[str, Any]] = [
        {"prompt": f"say fact {n}", "completion": f"The fact is number {n}."} for n in range(20)
    ]
    rows += [
        {"prompt": "Copy this, please", "completion": "copy this please!"},
        {"prompt": "two texts", "completion": "a right text", "references": ["another right text", "  "]},
        {"prompt": "nothing to say", "completion": " "},
    ]
    path = tmp_path / "texts.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    found = check_files(settings.dataset, settings.base, settings.train.max_length, [path])
    assert (found.useless_answers.empty, found.useless_answers.echoed) == (2, 1)
    assert found.useless_answers.examples == [
        "texts.jsonl:22 empty",
        "texts.jsonl:23 empty",
        "texts.jsonl:21 the prompt again",
    ]
    assert any("2 right answers are empty" in sentence for sentence in found.suggestions)
    assert any("1 right answers only repeat their prompt" in sentence for sentence in found.suggestions)
    console = Console(file=StringIO(), width=120)
    print_findings(console, found)
    assert "texts.jsonl:21 the prompt again" in console.file.getvalue()  # type: ignore[attr-defined]


def test_a_reason_is_told_once_and_a_common_one_hides_no_other(settings: Settings, tmp_path: Path) -> None:
    """Twenty lines said the same, and a last row that was broken otherwise was among those not shown."""
    path = tmp_path / "texts.jsonl"
    rows = [*({"messages": []} for _ in range(30)), {"other": "hi"}]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    found = check_files(settings.dataset, settings.base, settings.train.max_length, [path])
    console = Console(file=StringIO(), width=160)
    print_findings(console, found)
    lines = console.file.getvalue().splitlines()  # type: ignore[attr-defined]
    told = [line for line in lines if line.startswith("  texts.jsonl:")]
    assert [line.split()[0] for line in told] == ["texts.jsonl:1", "texts.jsonl:31"]
    assert told[0].endswith("(so do texts.jsonl:2, texts.jsonl:3, texts.jsonl:4, ...)")


def test_what_was_planted_is_found(settings: Settings, path: Path) -> None:
    found = check_files(settings.dataset, settings.base, settings.train.max_length, [path])
    (file,) = found.files
    assert (file.file, file.format, file.rows, file.broken) == ("seed.jsonl", "prompt_completion", 246, 1)
    assert [row.place for row in file.broken_rows] == ["seed.jsonl:207"]
    assert found.conflicts.prompts == 1
    assert [line.split()[0] for line in found.conflicts.examples[0]] == ["seed.jsonl:4", "seed.jsonl:201"]
    assert {(row.place, row.why) for row in found.outliers} == {
        ("seed.jsonl:202", "its prompt is much longer than the others"),
        ("seed.jsonl:203", "its prompt is nearly empty"),
        ("seed.jsonl:204", "its prompt has broken or odd characters"),
    }
    assert found.labels_seen_once == ["another"]
    assert found.languages["de"] == pytest.approx(40 / 244, abs=0.03)
    assert found.personal_data == {
        "CARD": PersonalDataFound(count=2, examples=["seed.jsonl:205 41...11", "seed.jsonl:206 41...11"]),
        "EMAIL": PersonalDataFound(count=2, examples=["seed.jsonl:205 an...om", "seed.jsonl:206 an...om"]),
    }


def test_each_finding_comes_with_a_remedy_that_names_its_setting(settings: Settings, path: Path) -> None:
    said = " ".join(check_files(settings.dataset, settings.base, settings.train.max_length, [path]).suggestions)
    for name in ("dataset.redact", "dataset.near_duplicate_similarity", "misspelled", "different answers", "outliers"):
        assert name in said
    assert "dataset.max_broken_share" not in said, "one broken row is allowed"


def test_what_each_choice_of_cleaning_would_change_is_counted_and_shown(settings: Settings) -> None:
    path = settings.resolve("mixed.jsonl")
    prompts = ["a plain question", "<b>bold</b> question", "schÃ¶ne Frage", "全角、記号！？"]
    lines = [json.dumps({"prompt": p, "completion": f"answer {n}"}) + "\n" for n, p in enumerate(prompts)]
    path.write_text("".join(lines), encoding="utf-8")
    found = check_files(settings.dataset, settings.base, settings.train.max_length, [path])
    assert {how: own.prompts for how, own in found.cleaning.items()} == {"off": 0, "unicode": 1, "strip": 2}
    assert found.cleaning["unicode"].examples == ["mixed.jsonl:3 'schÃ¶ne Frage' -> 'schöne Frage'"]
    console = Console(record=True, width=200, file=StringIO())
    print_findings(console, found)
    assert "dataset.clean: strip would change 2 prompts" in console.export_text()


@pytest.mark.parametrize(("said", "conflicts", "references"), [("auto", 0, 1), ("conflict", 1, 0)])
def test_texts_for_one_prompt_are_references_and_no_conflict(
    settings: Settings, said: str, conflicts: int, references: int
) -> None:
    path = settings.resolve("meanings.jsonl")
    rows = [{"prompt": f"name[{n}{n}]", "completion": f"This is {n}."} for n in "abcdef"]
    rows.append({"prompt": "name[aa]", "completion": "A it is."})
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    dataset = settings.dataset.model_copy(update={"same_prompt": said, "label_field": None})
    found = check_files(dataset, settings.base, settings.train.max_length, [path])
    assert (found.conflicts.prompts, found.references.prompts) == (conflicts, references)
    assert found.references.answers == 2 * references


@pytest.mark.parametrize("as_json", [False, True])
def test_the_verb_prints_tables_for_a_person_and_json_for_a_machine(
    settings: Settings, path: Path, capsys: pytest.CaptureFixture[str], as_json: bool
) -> None:
    parser = argparse.ArgumentParser()
    data.add_arguments(parser)
    data.main(parser.parse_args(["check", "--config", str(settings.path), *(["--json"] if as_json else [])]))
    out = capsys.readouterr().out
    assert CARD not in out
    if as_json:
        assert json.loads(out)["rows"] == 246
    else:
        assert "What to do" in out
        assert "set dataset.redact to true" in out


@pytest.mark.parametrize("is_redacted", [False, True])
def test_a_build_counts_personal_data_and_replaces_it_on_request(
    settings: Settings, ledger: Ledger, path: Path, is_redacted: bool
) -> None:
    wanted = settings.model_copy(update={"dataset": settings.dataset.model_copy(update={"redact": is_redacted})})
    dataset = build_dataset(wanted, ledger, [path])
    assert dataset.report.personal_data == {"CARD": 2, "EMAIL": 2}
    texts = [e.text for rows in read_splits(dataset).values() for e in rows]
    assert ("my card <CARD> was charged, write to <EMAIL>" in texts) is is_redacted
    assert any(CARD in text for text in texts) is not is_redacted


@pytest.mark.parametrize(("compared_rows", "said"), [(50, "among the first 50 of"), (10_000, "")], ids=["some", "all"])
def test_the_report_says_where_near_duplicates_were_not_looked_for(
    settings: Settings, path: Path, compared_rows: int, said: str
) -> None:
    found = check_files(settings.dataset, settings.base, settings.train.max_length, [path], compared_rows)
    near, console = found.near_duplicates, Console(record=True, width=200, file=StringIO())
    print_findings(console, found)
    text = console.export_text()
    assert near.rows_compared + near.rows_left_out == 246 - found.duplicates.rows
    assert ("of near duplicates among the first" in text) is bool(said)
    assert said in text
    assert ("among the first 50 prompts only" in text) is bool(said)


def test_rows_that_the_chat_template_does_not_give_as_they_are_are_shown(settings: Settings, tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    asked = {"role": "user", "content": "where is it?"}
    conversations = [[asked]] * 30 + [[{"role": "system", "content": "You triage."}, asked], [asked, asked]]
    rows = [{"messages": [*turns, {"role": "assistant", "content": "card"}]} for turns in conversations]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    base = Base(name="gemma", source=str(save_tokenizer(tmp_path / "gemma", "gemma")))
    found = check_files(settings.dataset, base, settings.train.max_length, [path])
    assert (found.template.rows_checked, found.template.faults) == (32, 2)
    assert sorted(line.split()[0] for line in found.template.examples) == ["rows.jsonl:31", "rows.jsonl:32"]
    assert "System role not supported" in str(found.tokens_not_counted)
    page = StringIO()
    print_findings(Console(file=page, width=200), found)
    text = page.getvalue()
    assert "2 of 32 rows looked at cannot be learned with the chat template" in text
    assert "rows.jsonl:31 the chat template refuses a conversation of system, user: System role not supported" in text
    takes_systems = Base(name="gemma", source=base.source, template=TemplateSettings(file="trl:gemma3"))
    assert check_files(settings.dataset, takes_systems, settings.train.max_length, [path]).template.faults == 1


def test_labels_that_read_alike_are_named(settings: Settings, tmp_path: Path) -> None:
    """`refund` beside `Refund` was one of the labels of one row, and nobody said which."""
    rows = [{"text": f"question {n}", "label": ("Refund", "Cancel")[n % 2]} for n in range(60)]
    rows += [{"text": "question 60", "label": "refund"}]
    path = tmp_path / "t.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    plain = settings.dataset.model_copy(update={"label_field": None})
    found = check_files(plain, settings.base, settings.train.max_length, [path])
    assert found.labels_alike == [["Refund", "refund"]]
    assert "'Refund' and 'refund' are different labels to a model: write each in one way." in found.suggestions
    assert any("else add rows (refund)" in sentence for sentence in found.suggestions)


def test_free_text_is_no_table_of_labels(settings: Settings, tmp_path: Path) -> None:
    """Each of 60 descriptions stood there as a label of one row."""
    rows = [{"prompt": f"describe {n}", "completion": f"A chair with {n} legs"} for n in range(60)]
    path = tmp_path / "t.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    plain = settings.dataset.model_copy(update={"label_field": None})
    found, out = check_files(plain, settings.base, settings.train.max_length, [path]), StringIO()
    print_findings(Console(file=out, width=200), found)
    assert "free text: 60 different answers" in out.getvalue()
    assert "Labels" not in out.getvalue()
    assert out.getvalue().count("legs") < 10


@pytest.mark.parametrize("key", ["prompt_column", "completion_column"])
def test_a_column_that_the_settings_name_and_no_row_has_stops_a_build(
    settings: Settings, ledger: Ledger, tmp_path: Path, key: str
) -> None:
    """Columns of usual names were learned instead of the one that was meant, and nothing was said."""
    rows = [{"text": f"question {n}", "label": ("a", "b")[n % 2], "team": ("x", "y")[n % 2]} for n in range(60)]
    path = tmp_path / "seed.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    wrong = settings.dataset.model_copy(update={"label_field": None, key: "taem"})
    said = f"no row has the column 'taem' that dataset.{key} names"
    found = check_files(wrong, settings.base, settings.train.max_length, [path])
    assert any(said in sentence for sentence in found.suggestions)
    with pytest.raises(DataError, match=said):
        build_dataset(settings.model_copy(update={"dataset": wrong}), ledger)


def test_a_build_says_what_became_of_the_rows(settings: Settings, capsys: pytest.CaptureFixture[str]) -> None:
    """Broken and repeated rows stood in a line of JSON that was cut before them."""
    rows = [{"prompt": f"question {n}", "completion": ("a", "b")[n % 2]} for n in range(60)]
    rows += [{"prompt": "question 1", "completion": "b"}, {"prompt": "", "completion": "a"}]
    text = "".join(json.dumps(row) + "\n" for row in rows)
    settings.resolve("seed.jsonl").write_text(text, encoding="utf-8")
    assert main(["data", "build", "--config", str(settings.path), "--set", "dataset.max_broken_share=0.1"]) == 0
    said = capsys.readouterr().out
    assert "read             62 rows\n" in said
    assert "broken           1: seed.jsonl:62 " in said
    assert "left out         1 duplicate" in said
    assert said.endswith("next: driftwheel train\n")
