"""`init` reads the file that it is given, says what is in it, and writes settings with which the next step works."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from driftwheel.cli.main import main
from driftwheel.settings.load import load_settings
from examples.support.world import answer, messages
from train.data.sources.formats import read_sources

Initialized = Callable[..., tuple[Path, str]]
LABELS = ("refund", "delivery", "other")


@pytest.fixture
def initialized(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Initialized:
    """Write a file, run `init` on it in its folder, and return the settings file and what was said."""
    monkeypatch.chdir(tmp_path)

    def run(name: str, text: str, *flags: str) -> tuple[Path, str]:
        Path(name).write_text(text, encoding="utf-8")
        status = main(["init", name, *flags])
        captured = capsys.readouterr()
        assert status == 0, captured.err
        return tmp_path / "driftwheel.yaml", captured.out

    return run


def rows(count: int = 60) -> str:
    return "".join(f"where is parcel {n},{LABELS[n % 3]}\n" for n in range(count))


@pytest.mark.parametrize(
    "header", ["prompt,completion", "text,label", "Question,Answer", "message,intent"], ids=lambda h: h
)
def test_a_csv_of_ones_own_works_at_once(initialized: Initialized, header: str) -> None:
    config, said = initialized("My Tickets.csv", f"{header}\n{rows()}")
    settings = load_settings(config, environ={})
    reading = read_sources(settings.dataset, [settings.resolve("My Tickets.csv")])[0]
    assert {row.answer for row in reading.rows} == set(LABELS)
    assert "60 rows of My Tickets.csv" in said
    assert "labels   3: refund (20), delivery (20), other (20)" in said
    assert (settings.project, settings.serve.alias) == ("my-tickets", "my-tickets")
    assert "(--base chooses another)" in said


def test_a_base_that_is_nowhere_is_told_at_once(initialized: Initialized) -> None:
    """It was found by `data check` at the earliest, and by `train` after a whole build."""
    _, said = initialized("t.csv", f"text,label\n{rows()}", "--base", "models/no/such")
    assert "base     models/no/such\n         is no folder here, and no hub name" in said


def test_the_label_field_of_json_answers_is_found(initialized: Initialized) -> None:
    lines = [
        {"prompt": m.text, "completion": json.dumps({"intent": LABELS[n % 3], "note": f"n{n}"})}
        for n, m in enumerate(messages(60, 1, "steady"))
    ]
    config, said = initialized("t.jsonl", "".join(json.dumps(line) + "\n" for line in lines), "--base", "a/b")
    assert load_settings(config, environ={}).dataset.label_field == "intent"
    assert "answers  JSON with intent, note, label_field intent" in said


def test_two_fields_that_could_be_the_label_are_not_guessed_at(initialized: Initialized) -> None:
    lines = [{"prompt": m.text, "completion": answer(m)} for m in messages(200, 1, "steady")]
    text = "".join(json.dumps(line) + "\n" for line in lines)
    config, said = initialized("t.jsonl", text)
    assert load_settings(config, environ={}).dataset.label_field is None
    assert "--label-field" in said


@pytest.mark.parametrize(
    ("objects", "field", "candidates"),
    [
        ([{"name": f"n{n}", "amount": n, "version": 1} for n in range(60)], None, ""),
        ([{"name": f"n{n}", "tags": [], "note": None} for n in range(60)], None, ""),
        ([{"name": f"n{n}", "currency": "EUR" if n % 9 else "USD"} for n in range(60)], None, "(currency)"),
        ([{"name": f"n{n}", "sentiment": n % 3} for n in range(60)], "sentiment", ""),
        ([{"is_spam": n % 2 == 0} for n in range(60)], "is_spam", ""),
    ],
    ids=["one value", "no plain values", "unusual name", "usual name", "sole field"],
)
def test_a_field_is_taken_for_the_label_only_where_it_is_clear(
    initialized: Initialized, objects: list[dict[str, object]], field: str | None, candidates: str
) -> None:
    lines = [{"prompt": f"question {n}", "completion": json.dumps(value)} for n, value in enumerate(objects)]
    config, said = initialized("t.jsonl", "".join(json.dumps(line) + "\n" for line in lines))
    assert load_settings(config, environ={}).dataset.label_field == field
    assert (f"--label-field names it {candidates}" in said) == bool(candidates)


def test_long_answers_get_room(initialized: Initialized) -> None:
    config, said = initialized("t.csv", "prompt,completion\n" + "".join(f"q{n},{f'a{n} ' * 99}\n" for n in range(60)))
    assert load_settings(config, environ={}).evaluate.max_tokens == 256
    assert "free text, 60 different ones" in said


def test_columns_of_unknown_names_are_asked_for_by_flags(initialized: Initialized, tmp_path: Path) -> None:
    config, said = initialized("t.csv", f"foo,bar\n{rows()}")
    assert "t.csv has the columns bar, foo: say which hold prompt and right answer with --prompt-column and" in said
    config.unlink()
    config, said = initialized("t.csv", f"foo,bar\n{rows()}", "--prompt-column", "foo", "--completion-column", "bar")
    settings = load_settings(config, environ={})
    assert len(read_sources(settings.dataset, [tmp_path / "t.csv"])[0].rows) == 60


def test_paths_are_written_as_the_settings_file_sees_them(initialized: Initialized, tmp_path: Path) -> None:
    (tmp_path / "base").mkdir()
    (tmp_path / "loops").mkdir()
    initialized("t.csv", f"prompt,completion\n{rows()}", "--config", "loops/a.yaml", "--base", "base")
    settings = load_settings(tmp_path / "loops" / "a.yaml", environ={})
    assert settings.resolve(settings.dataset.weighted_sources()[0].path) == tmp_path / "t.csv"
    assert settings.base_model() == str(tmp_path / "base")


def test_few_rows_are_told(initialized: Initialized) -> None:
    assert "too few to split: dataset.min_rows asks for 50" in initialized("t.csv", f"prompt,completion\n{rows(9)}")[1]


@pytest.mark.parametrize(
    ("words", "message"), [([], "name a file"), (["none.csv"], "no data file at none.csv")], ids=["none", "missing"]
)
def test_without_a_file_it_says_what_to_type(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, words: list[str], message: str
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["init", *words]) == 1
    assert message in capsys.readouterr().err


def test_a_folder_is_read_as_all_its_files(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A folder of two files was told to be read once it were one file."""
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "Ticket data"
    folder.mkdir()
    (folder / "a.csv").write_text(f"text,label\n{rows(30)}", encoding="utf-8")
    lines = [json.dumps({"prompt": f"hello {n}", "completion": LABELS[n % 3]}) for n in range(30)]
    (folder / "b.jsonl").write_text("\n".join(lines), encoding="utf-8")
    assert main(["init", "Ticket data"]) == 0
    said = capsys.readouterr().out
    assert "60 rows of 2 files of Ticket data" in said
    assert "columns  format labelled_text, prompt_completion" in said
    settings = load_settings(tmp_path / "driftwheel.yaml", environ={})
    assert (settings.project, settings.dataset.sources) == ("ticket-data", ["Ticket data"])


def test_a_data_set_of_the_hub_is_named_as_it_is(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """`hf://` was taken for a file that is not there; what stands for the hub here is a folder, as in its own tests."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "Bank.77").mkdir()
    (tmp_path / "Bank.77" / "train.csv").write_text(f"text,label\n{rows()}", encoding="utf-8")
    source = f"hf://{tmp_path}/Bank.77:train"
    assert main(["init", source, "--base", "a/b"]) == 0
    assert "60 rows of Bank.77:train" in capsys.readouterr().out
    settings = load_settings(tmp_path / "driftwheel.yaml", environ={})
    assert (settings.project, settings.dataset.sources) == ("bank", [source])


def test_a_project_that_is_no_name_is_one_clear_error(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a.csv").write_text(f"text,label\n{rows()}", encoding="utf-8")
    assert main(["init", "a.csv", "--project", "Support Desk"]) == 1
    assert "small letters, digits, - and _ are allowed, 63 at most; such as support-desk" in capsys.readouterr().err
    assert not (tmp_path / "driftwheel.yaml").exists()


def test_flags_after_a_file_that_could_not_be_read_write_the_settings_anew(
    initialized: Initialized, capsys: pytest.CaptureFixture[str]
) -> None:
    """The first `init` left a file behind that the second, which it asked for, was refused for."""
    config, said = initialized("t.csv", f"Nachricht,Kategorie \n{rows()}")
    assert "next: mend the file, or name its columns: driftwheel init" in said
    flags = ("--prompt-column", " nachricht", "--completion-column", "Kategorie ")
    config, said = initialized("t.csv", f"Nachricht,Kategorie \n{rows()}", *flags)
    dataset = load_settings(config, environ={}).dataset
    assert (dataset.prompt_column, dataset.completion_column) == ("Nachricht", "Kategorie")
    assert main(["init", "t.csv", *flags]) == 1
    assert "exists already" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (b"\xff\xfea\x00\x00\xd8" * 9, "UTF-16"),
        (b'{"messages": []}\n' * 60, "0 rows of t.jsonl, 60 broken"),
        (b"", "no rows"),
    ],
    ids=["no text", "every row broken", "empty"],
)
def test_a_file_of_which_no_row_can_be_read_ends_with_an_error(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, content: bytes, why: str
) -> None:
    """A script went on with it, and was told to train next."""
    monkeypatch.chdir(tmp_path)
    Path("t.jsonl").write_bytes(content)
    assert main(["init", "t.jsonl", "--base", "a/b"]) == 1
    said = capsys.readouterr()
    assert why in said.out
    assert "next: mend the file" in said.out
    assert said.err.startswith("error: no row of t.jsonl can be read")
    assert Path("driftwheel.yaml").is_file()


def test_settings_that_a_person_changed_are_never_written_anew(
    initialized: Initialized, capsys: pytest.CaptureFixture[str]
) -> None:
    config, _ = initialized("t.csv", f"foo,bar\n{rows()}")
    config.write_text(config.read_text().replace("port: 8000", "port: 8001"), encoding="utf-8")
    assert main(["init", "t.csv", "--prompt-column", "foo", "--completion-column", "bar"]) == 1
    assert "exists already" in capsys.readouterr().err


@pytest.mark.parametrize("header", ["foo,bar", "text,label"])
def test_a_column_that_is_not_there_is_an_error_and_no_guess(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, header: str
) -> None:
    """Where the file had columns of usual names, these were learned in spite of the flag."""
    monkeypatch.chdir(tmp_path)
    Path("t.csv").write_text(f"{header}\n{rows()}", encoding="utf-8")
    assert main(["init", "t.csv", "--prompt-column", header.partition(",")[0], "--completion-column", "taem"]) == 1
    assert "no column 'taem'" in (said := capsys.readouterr().err) or "no row has the column 'taem'" in said
    assert not Path("driftwheel.yaml").exists()


def test_labels_that_only_read_alike_are_told(initialized: Initialized) -> None:
    text = "".join(f"q {n},{('Refund', 'Other')[n % 2]}\n" for n in range(60)) + "q 60,refund\nq 61,Refund \n"
    said = initialized("t.csv", f"text,label\n{text}")[1]
    assert "labels   3: Refund (31), Other (30), refund (1)" in said
    assert "'Refund' and 'refund' are different labels to a model" in said
