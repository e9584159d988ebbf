"""The command answers fast, and says what is wrong in one line."""

import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from driftwheel.cli.main import STAGE_VERBS, main

HEAVY = ("torch", "transformers", "peft", "trl", "vllm", "evidently", "streamlit", "sqlalchemy", "pydantic")


def test_help_imports_nothing_heavy() -> None:
    code = (
        "import sys\nfrom driftwheel.cli.main import STAGE_VERBS, main\n"
        "try:\n    main(['--help'])\nexcept SystemExit:\n    pass\n"
        f"print([m for m in {HEAVY!r} if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"


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
    arguments = [
        "init",
        "--project",
        "triage",
        "--data",
        str(data),
        "--base",
        "Qwen/Qwen3-0.6B",
        "--config",
        str(config),
    ]
    assert main(arguments) == 0
    assert yaml.safe_load(config.read_text())["serve"]["alias"] == "triage"
    assert main(["status", "--config", str(config)]) == 0
    assert "nothing yet" in capsys.readouterr().out
    assert main(arguments) == 1
    assert "exists already" in capsys.readouterr().err


def test_pause_shows_in_status(settings: object, capsys: pytest.CaptureFixture[str]) -> None:
    flags = ["--config", str(settings.path)]  # type: ignore[attr-defined]
    assert main(["pause", *flags]) == 0
    assert main(["status", *flags]) == 0
    assert "PAUSED" in capsys.readouterr().out


@pytest.mark.parametrize("verb", STAGE_VERBS)
def test_a_stages_verb_calls_itself_what_the_user_typed(verb: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main([verb, "--help"])
    assert ended.value.code == 0
    assert capsys.readouterr().out.startswith(f"usage: driftwheel {verb} ")
