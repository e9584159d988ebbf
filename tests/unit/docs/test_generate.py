"""The generated tables are whole: a row for each setting, with its whole sentence."""

from pathlib import Path

import pytest

from docs import generate
from driftwheel.settings.artifact import QuantizeSettings


def test_each_line_of_the_settings_table_is_a_whole_row() -> None:
    lines = [line for line in generate.settings_tables().splitlines() if line and not line.startswith("## ")]
    assert [line for line in lines if not (line.startswith("| ") and line.endswith(" |"))] == []
    assert {line.replace("\\|", "").count("|") for line in lines} == {4}


def test_a_sentence_of_two_lines_stands_in_one_row() -> None:
    description = QuantizeSettings.model_fields["scheme"].description or ""
    assert "\n" in description, "the case that this test is about is gone; take another setting with two lines"
    row = next(line for line in generate.settings_tables().splitlines() if line.startswith("| `quantize.scheme` "))
    assert " ".join(description.split()) in row


def test_the_tree_names_each_file_of_the_product_with_what_it_does() -> None:
    lines = generate.tree().splitlines()
    assert any(line.strip().startswith("ledger.py ") for line in lines)
    assert [line for line in lines if line.strip().endswith((".py", "/"))] == []


def test_a_folder_stands_before_its_files_in_the_tree() -> None:
    names = [line.split()[0] for line in generate.tree().splitlines() if line.strip() and not line.startswith("`")]
    assert names.index("store/") < names.index("ledger.py") < names.index("revisions/")
    assert names.index("driftwheel/") < names.index("errors.py") < names.index("cli/") < names.index("doctor.py")


def test_a_package_that_says_nothing_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "silent").mkdir()
    (tmp_path / "silent" / "__init__.py").touch()
    with pytest.raises(LookupError, match=r"silent/__init__\.py has no docstring"):
        generate.tree(tmp_path, ["silent"])


def test_the_verbs_are_told_with_their_own_verbs_and_arguments() -> None:
    told = generate.verbs()
    assert "## promote\n" in told
    assert "### keys create\n" in told
    assert "| `--grace-hours GRACE_HOURS` | how long the old key works on (24) |" in told
    assert told.count("| `--config FILE` | settings file") == 1, "what every verb takes is told once"


def test_a_parser_is_found_without_running_the_verb() -> None:
    parser, rest = generate.parser_of(["promote", "v2", "--canary", "0.1"])
    assert parser.parse_args(rest).canary == [0.1]


def test_metrics_and_routes_of_both_servers_are_told() -> None:
    metrics = generate.metrics()
    assert "| `driftwheel_requests_total` | counter | gateway |" in metrics
    assert "| `driftwheel_drift_score` | gauge | monitor |" in metrics
    assert "| `POST /v1/feedback` | `feedback` | **`request_id`**, `thumb`" in generate.routes()
    assert "| 429 |" in generate.refusals()


def test_every_decision_is_in_the_list_newest_day_first() -> None:
    told, folder = generate.decisions(), generate.ROOT / "docs" / "decisions"
    assert [path.name for path in folder.glob("2*.md") if f"({path.name})" not in told] == []
    days = [line.removeprefix("## ") for line in told.splitlines() if line.startswith("## ")]
    assert days == sorted(days, reverse=True)
