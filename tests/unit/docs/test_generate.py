"""The generated tables are whole: a row for each setting, with its whole sentence."""

from docs import generate
from driftwheel.settings.artifact import QuantizeSettings


def test_each_line_of_the_settings_table_is_a_whole_row() -> None:
    lines = generate.settings_table().splitlines()
    assert [line for line in lines if not (line.startswith("| ") and line.endswith(" |"))] == []
    assert {line.replace("\\|", "").count("|") for line in lines} == {4}


def test_a_sentence_of_two_lines_stands_in_one_row() -> None:
    description = QuantizeSettings.model_fields["scheme"].description or ""
    assert "\n" in description, "the case that this test is about is gone; take another setting with two lines"
    row = next(line for line in generate.settings_table().splitlines() if line.startswith("| `quantize.scheme` "))
    assert " ".join(description.split()) in row


def test_the_tree_names_each_file_of_the_product_with_what_it_does() -> None:
    lines = generate.tree().splitlines()
    assert any(line.strip().startswith("ledger.py ") for line in lines)
    assert [line for line in lines if line.strip().endswith(".py")] == []
