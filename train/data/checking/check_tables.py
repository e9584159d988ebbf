"""Prints the findings of a data check as tables for a person."""

from collections.abc import Iterable

from rich.console import Console
from rich.table import Table
from rich.text import Text

from driftwheel.inert_text import inert, inert_lines
from train.data.checking.findings import FileFound, Findings, NearPairs

SHOWN_TEXTS, SHOWN_PLACES = 3, 4
"""Of answers that are free text; a table of them all would say nothing."""


def print_findings(console: Console, found: Findings) -> None:
    """Print the findings, what to do about them last."""
    _print_files(console, found.files)
    kinds = ("Commonest answers", "answer") if found.is_free_text else ("Labels", "label")
    _print_table(
        console, kinds[0], (kinds[1], "rows"), list(found.labels.items())[: SHOWN_TEXTS if found.is_free_text else None]
    )
    if found.is_free_text:
        _say(console, f"free text: {found.distinct_labels} different answers")
    elif found.distinct_labels > len(found.labels):
        _say(console, f"... and {found.distinct_labels - len(found.labels)} more labels")
    lengths = [(name.replace("_", " "), n.p50, n.p95, n.max) for name, n in found.lengths().items()]
    _print_table(console, "Lengths", ("of", "median", "95 %", "longest"), lengths)
    if reason := found.tokens_not_counted:
        _say(console, f"tokens were not counted: {reason}")
    _print_table(console, "Languages", ("code", "share"), [(k, f"{v:.1%}") for k, v in found.languages.items()])
    _print_repetitions(console, found)
    pieces = [(kind, own.count, "; ".join(own.examples)) for kind, own in found.personal_data.items()]
    _print_table(console, "Personal data", ("kind", "pieces", "such as"), pieces)
    outliers = [(row.place, row.why, row.text) for row in found.outliers]
    _print_table(console, "Outliers", ("row", "why", "text"), outliers)
    if found.useless_answers.examples:
        _print_list(console, "Right answers that teach and grade nothing", found.useless_answers.examples)
    if found.template.examples:
        _print_list(console, "Rows that the chat template does not give as they are", found.template.examples)
    _say(console, "What to do", style="bold")
    for sentence in found.suggestions or ["Nothing: these rows can be built."]:
        _say(console, f"  - {sentence}")


def _print_list(console: Console, title: str, lines: list[str]) -> None:
    _say(console, title, style="bold")
    for line in lines:
        _say(console, f"  - {line}")


def _print_files(console: Console, files: list[FileFound]) -> None:
    rows = [(f.file, f.format, f.rows, f.broken, ", ".join(f.unused)) for f in files]
    title, columns = "Files (another format is set with dataset.format)", ("file", "format", "rows", "broken", "unused")
    _print_table(console, title, columns, rows)
    for file in files:
        for reason in dict.fromkeys(row.reason for row in file.broken_rows):
            places = [row.place for row in file.broken_rows if row.reason == reason]
            more = f" (so do {', '.join(places[1:SHOWN_PLACES])}{', ...' * (len(places) > SHOWN_PLACES)})"
            _say(console, f"  {places[0]} {reason}{more * (len(places) > 1)}")


def _print_repetitions(console: Console, found: Findings) -> None:
    near, several = found.near_duplicates, found.references
    right = f"{several.prompts} prompts have {several.answers} right answers"
    changed = [(f"dataset.clean: {how} would change {own.prompts} prompts", own) for how, own in found.cleaning.items()]
    for title, examples in (
        *((title, [[line] for line in own.examples]) for title, own in changed if own.prompts),
        *([(right, several.examples)] if several.prompts else []),
        (f"{found.duplicates.rows} rows repeat an earlier prompt", found.duplicates.examples),
        (f"{found.conflicts.prompts} prompts have different answers", found.conflicts.examples),
        (f"{near.pairs} pairs of near duplicates among {_compared(near)}", near.examples),
    ):
        _say(console, title, style="bold")
        for group in examples:
            for number, line in enumerate(group):
                _say(console, f"  {'-' if number == 0 else ' '} {line}")


def _compared(near: NearPairs) -> str:
    compared, left_out = near.rows_compared, near.rows_left_out
    return f"the first {compared:,} of {compared + left_out:,} prompts" if left_out else f"{compared:,} prompts"


def _print_table(console: Console, title: str, columns: tuple[str, ...], rows: Iterable[tuple[object, ...]]) -> None:
    if rows := list(rows):
        table = Table(*columns, title=title, title_justify="left")
        for row in rows:
            table.add_row(*(Text(inert(str(value))) for value in row))
        console.print(table)


def _say(console: Console, text: str, style: str | None = None) -> None:
    console.print(inert_lines(text), style=style, markup=False, highlight=False, soft_wrap=True)
