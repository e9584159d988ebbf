"""The command answers fast, and says what is wrong in one line."""

import argparse
import errno
import importlib
import json
import os
import socket
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import yaml

from driftwheel.cli.main import OTHER_NAMES, STAGE_VERBS, VERBS, main
from driftwheel.cli.process import run_command
from driftwheel.records.nouns import DecisionStatus
from driftwheel.settings.settings import Settings
from driftwheel.store.ledger import Ledger
from tests.support.retrains import ask_for_retrain

ROOT = Path(__file__).resolve().parents[4]
HEAVY = (
    *("torch", "transformers", "peft", "trl", "vllm", "evidently", "streamlit", "sqlalchemy", "pydantic", "yaml"),
    "structlog",
)
PROGRAMS = ("driftwheel.cli.main", "train.__main__", "serve.__main__", "monitor.__main__")


@pytest.mark.parametrize("program", PROGRAMS)
def test_help_imports_nothing_heavy(program: str) -> None:
    code = (
        f"import sys\nfrom {program} import main\n"
        "try:\n    main(['--help'])\nexcept SystemExit:\n    pass\n"
        f"print([m for m in {HEAVY!r} if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.startswith("usage: ")
    assert done.stdout.splitlines()[-1] == "[]"


def test_the_version_is_the_one_that_the_project_file_names(capsys: pytest.CaptureFixture[str]) -> None:
    """An environment that was set up for an older version fails here: `make setup` brings it up to date."""
    with pytest.raises(SystemExit) as ended:
        main(["--version"])
    assert ended.value.code == 0
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert capsys.readouterr().out == f"driftwheel {project['version']}\n"


def test_each_verb_is_a_file_of_its_own_with_arguments_and_main() -> None:
    modules = [importlib.import_module(module) for module, _ in VERBS.values()]
    assert [module.__name__ for module in modules] == [f"driftwheel.cli.{name}" for name in VERBS]
    assert all(callable(module.add_arguments) and callable(module.main) for module in modules)


def test_help_lists_each_verb(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["--help"])
    listed = {line.split()[0] for line in capsys.readouterr().out.splitlines() if line.startswith("    ")}
    assert {*VERBS, *STAGE_VERBS} <= listed


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["retrain", "--reason", "caf\udce9"], r"argument 'caf\udce9' is not UTF-8"),
        (
            ["traffic", "export", "x.jsonl", "--since", "garbage"],
            "argument --since: 'garbage' is not a time in ISO 8601",
        ),
        (["traffic", "export", "x.jsonl", "--since", "0001-01-01T00:00+12:00"], "is not a time in ISO 8601"),
    ],
    ids=["not UTF-8", "no time", "before all times"],
)
def test_an_argument_that_cannot_be_read_is_one_line_and_exit_status_2(
    capsys: pytest.CaptureFixture[str], arguments: list[str], words: str
) -> None:
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    assert ended.value.code == 2
    assert words in capsys.readouterr().err.splitlines()[-1]


@pytest.mark.parametrize("name", ["nowhere/x.jsonl", "driftwheel.yaml/x.parquet", "folder.jsonl"])
def test_an_export_that_cannot_be_written_is_one_line(
    settings: Settings, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    (settings.path.parent / "folder.jsonl").mkdir()
    path = settings.path.parent / name
    assert main(["traffic", "export", str(path), "--config", str(settings.path)]) == 1
    assert capsys.readouterr().err.splitlines()[-1].startswith(f"error: cannot write {path}: ")


def test_a_missing_settings_file_is_one_line_and_exit_status_1(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["status", "--config", str(tmp_path / "none.yaml")]) == 1
    captured = capsys.readouterr()
    assert captured.err.startswith("error: no settings file")
    assert captured.err.count("\n") == 1


def test_wrong_usage_is_exit_status_2(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main(["nosuchverb"])
    assert caught.value.code == 2
    assert "nosuchverb" in capsys.readouterr().err


def test_init_writes_a_file_that_loads_and_never_overwrites(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data, config = tmp_path / "rows.jsonl", tmp_path / "driftwheel.yaml"
    data.write_text("{}\n")
    said = {"--project": "triage", "--data": str(data), "--base": "Qwen/Qwen3-0.6B", "--config": str(config)}
    arguments = ["init", *(part for pair in said.items() for part in pair)]
    assert main(arguments) == 0
    assert yaml.safe_load(config.read_text())["serve"]["alias"] == "triage"
    assert main(["status", "--config", str(config)]) == 0
    assert "nothing yet" in capsys.readouterr().out
    assert main(arguments) == 1
    assert "exists already" in capsys.readouterr().err


def test_pause_shows_in_status(settings: Settings, capsys: pytest.CaptureFixture[str]) -> None:
    flags = ["--config", str(settings.path)]
    assert main(["pause", *flags]) == 0
    assert main(["status", *flags]) == 0
    assert "PAUSED" in capsys.readouterr().out


@pytest.mark.parametrize("verb", [*VERBS, *STAGE_VERBS])
def test_a_verb_calls_itself_what_the_user_typed(verb: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main([verb, "--help"])
    assert ended.value.code == 0
    assert capsys.readouterr().out.startswith(f"usage: driftwheel {verb} ")


@pytest.mark.parametrize("action", ["keys create", "keys list", "traffic show", "traffic export"])
def test_an_action_of_a_verb_calls_itself_what_the_user_typed(action: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main([*action.split(), "--help"])
    assert ended.value.code == 0
    assert capsys.readouterr().out.startswith(f"usage: driftwheel {action} ")


SILENT = ("up", "worker", "serve", "dashboard")


@pytest.mark.parametrize("verb", SILENT)
def test_a_verb_that_prints_no_result_offers_no_json(verb: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main([verb, "--help"])
    assert caught.value.code == 0
    assert "--config" in (said := capsys.readouterr().out)
    assert "--json" not in said


def test_pause_and_resume_say_as_json_whether_retraining_is_paused(
    settings: Settings, capsys: pytest.CaptureFixture[str]
) -> None:
    for verb, is_paused in (("pause", True), ("resume", False)):
        assert main([verb, "--config", str(settings.path), "--json"]) == 0
        assert json.loads(capsys.readouterr().out) == {"is_paused": is_paused}


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["finetune"], "no verb 'finetune' (did you mean train?); `driftwheel --help` lists all"),
        (["Fine-Tune"], "no verb 'Fine-Tune' (did you mean train?); `driftwheel --help` lists all"),
        (["STATUS"], "no verb 'STATUS' (did you mean status?); `driftwheel --help` lists all"),
        (["stauts"], "no verb 'stauts' (did you mean status?); `driftwheel --help` lists all"),
        (["tran"], "did you mean train?"),
        (["status", "--confg", "x"], "unrecognized arguments: --confg (did you mean --config?)"),
        (["train", "--datset=d"], "(did you mean --dataset?)"),
        (["keys", "create", "n", "--scop", "ask", "--nmae"], "--nmae"),
    ],
    ids=[
        "word of others",
        "hyphen",
        "capitals",
        "verb",
        "verb of a stage",
        "option",
        "option of a stage",
        "option of an action",
    ],
)
def test_a_word_that_is_nearly_known_is_asked_about(
    capsys: pytest.CaptureFixture[str], words: list[str], said: str
) -> None:
    with pytest.raises(SystemExit) as ended:
        main(words)
    assert ended.value.code == 2
    assert said in capsys.readouterr().err


def test_without_a_verb_the_command_says_what_goes_on_or_how_to_begin(
    settings: Settings, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(settings.path.parent)
    assert main([]) == 0
    assert "nothing yet; next: driftwheel data build" in capsys.readouterr().out
    settings.path.unlink()
    assert main([]) == 0
    assert "next: driftwheel init YOUR_DATA.csv" in capsys.readouterr().out


@pytest.mark.parametrize(("verb", "status"), [("approve", "open"), ("refuse", "refused")])
def test_the_only_retrain_that_waits_needs_no_name(
    settings: Settings, ledger: Ledger, capsys: pytest.CaptureFixture[str], verb: str, status: str
) -> None:
    flags = ["--config", str(settings.path), "--json"]
    assert main([verb, *flags]) == 1
    assert "no retrain of 'support' waits for approval" in capsys.readouterr().err
    waiting = ask_for_retrain(settings, ledger, "drift")
    ledger.change(waiting, status=DecisionStatus.AWAITING_APPROVAL)
    assert main([verb, *flags]) == 0
    told = json.loads(capsys.readouterr().out)
    assert (told["id"], told["status"]) == (waiting.id, status)


def test_up_says_which_port_is_taken_before_it_starts_anything(
    settings: Settings, capsys: pytest.CaptureFixture[str]
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        ports = [f"serve.port={port}", f"monitor.port={port + 1}", f"dashboard.port={port + 1}"]
        flags = [word for override in ports for word in ("--set", override)]
        assert main(["up", "--config", str(settings.path), *flags]) == 1
    said = capsys.readouterr()
    assert f"serve.port {port} on 127.0.0.1 (Address already in use)" in said.err
    assert f"dashboard.port {port + 1} on 127.0.0.1 (monitor.port is the same)" in said.err
    assert said.out == ""
    assert not settings.logs.exists()


def test_what_a_verb_is_called_elsewhere_is_no_verb_here_and_means_one() -> None:
    verbs = {*VERBS, *STAGE_VERBS}
    assert not verbs & OTHER_NAMES.keys()
    assert {meant.partition(" ")[0] for meant in OTHER_NAMES.values()} <= verbs


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["keys"], "say what to do: there are create, list, disable, rotate"),
        (["keys", "creat", "bot"], "no action 'creat' (did you mean create?); there are create, list"),
        (["data"], "say what to do: there are check, build, show, diff"),
        (["data", "buidl"], "no action 'buidl' (did you mean build?)"),
        (["feedback"], "say what to do: there are "),
        (["--config", "a.yaml", "status"], "--config comes after the verb: driftwheel VERB --config ..."),
    ],
)
def test_a_verb_without_its_action_says_which_there_are(
    capsys: pytest.CaptureFixture[str], arguments: list[str], words: str
) -> None:
    """It said `the following arguments are required: ACTION`; an option before the verb listed fifty verbs."""
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    assert ended.value.code == 2
    assert words in capsys.readouterr().err.splitlines()[-1]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["promote", "v9"], "`driftwheel versions` lists what there is"),
        (["approve", "x"], "no decision 'x'; `driftwheel decisions` lists what there is"),
        (["feedback", "show", "x"], "no request 'x'; an answer's id stands in its header x-request-id"),
        (["traffic", "show", "--id", "x"], "no request 'x'; an answer's id stands in its header x-request-id"),
    ],
    ids=lambda x: x[0],
)
def test_what_is_not_there_names_where_it_would_stand(
    settings: Settings, capsys: pytest.CaptureFixture[str], arguments: list[str], said: str
) -> None:
    """Of a request it said "no req 'x'; `driftwheel status` lists what there is", and that lists no request."""
    assert main([*arguments, "--config", str(settings.path)]) == 1
    assert said in capsys.readouterr().err


def test_no_keys_yet_names_the_command_that_makes_one(settings: Settings, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["keys", "list", "--config", str(settings.path)]) == 0
    assert capsys.readouterr().err.endswith("there are none yet; next: driftwheel keys create NAME\n")


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EROFS, errno.EACCES], ids=errno.errorcode.get)
def test_what_the_disk_refuses_anywhere_is_one_line(number: int, capsys: pytest.CaptureFixture[str]) -> None:
    """`gc` on a mounted copy, and any verb on a full disk, ended in a traceback."""

    def write(_: argparse.Namespace) -> None:
        raise OSError(number, os.strerror(number), "/loop/upkeep.lock")

    assert run_command("test", write, argparse.Namespace()) == 1
    said = capsys.readouterr().err
    assert said.startswith(f"error: /loop/upkeep.lock: {os.strerror(number)}; ")
    assert said.count("\n") == 1


def test_another_error_of_the_system_is_a_bug_and_keeps_its_traceback() -> None:
    def write(_: argparse.Namespace) -> None:
        raise OSError(errno.ENOTDIR, os.strerror(errno.ENOTDIR))

    with pytest.raises(NotADirectoryError):
        run_command("test", write, argparse.Namespace())
