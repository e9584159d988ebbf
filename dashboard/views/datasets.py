"""Datasets: what went in, what was dropped and why, and how the rows look."""

from pathlib import Path

import streamlit as st

from dashboard import charts, files, queries
from dashboard.views import page
from driftwheel.records.dataset_report import DatasetReport
from driftwheel.records.nouns import Dataset

LENGTHS = {"p50": "median", "p95": "95 % are below", "max": "longest"}


def show_report(dataset: Dataset) -> None:
    """Draw the numbers of the dataset's report."""
    report = dataset.report
    columns = st.columns(5)
    values = {
        "Rows in": report.rows_in,
        "Broken": report.broken,
        "Train": dataset.train_rows,
        "Validation": dataset.validation_rows,
        "Test": dataset.test_rows,
    }
    for column, (name, value) in zip(columns, values.items(), strict=True):
        column.metric(name, "unknown" if value is None else f"{value:,}", border=True)
    left, right = st.columns([3, 2])
    with left:
        st.subheader("Label balance", anchor=False)
        if report.labels:
            st.altair_chart(charts.counts(report.labels, "label"), alt="Rows of each label")
        else:
            st.text("The report counts no labels.")
    with right:
        st.subheader("Dropped, and why", anchor=False)
        page.table([{"rows": v, "reason": k} for k, v in report.dropped.items()])
        st.subheader("Lengths", anchor=False)
        lengths = [
            {"of": name.replace("_", " "), **length_row(vars(value))} for name, value in report.lengths().items()
        ]
        page.table(lengths)
        st.subheader("Where the rows come from", anchor=False)
        page.table([{"source": k, "rows": v} for k, v in report.sources.items()])
    show_warnings(report)
    if report.broken_rows:
        st.subheader("Broken rows", anchor=False)
        page.table([vars(row) for row in report.broken_rows])


def length_row(found: dict[str, object]) -> dict[str, object]:
    """Return the lengths of a text's column under names that a person reads."""
    return {LENGTHS.get(name, name): value for name, value in found.items()}


def show_warnings(report: DatasetReport) -> None:
    """List what a person should know before trusting the rows."""
    personal = ", ".join(f"{count} {kind}" for kind, count in report.personal_data.items())
    mixed = ", ".join(f"{count} {how}" for how, count in report.mixed.items() if count)
    cuts = ", ".join(f"{name} after {moment}" for name, moment in report.time_cuts.items())
    facts = {
        "personal data": personal and f"{personal} ({'replaced' if report.is_redacted else 'left in the rows'})",
        "labels of one row": ", ".join(report.labels_seen_once),
        "rows tested again, because they are like an earlier test row": report.tested_before,
        "split by time": cuts,
        "training rows": mixed,
    }
    if any(facts.values()):
        st.subheader("Worth knowing", anchor=False)
        page.facts({name: value for name, value in facts.items() if value})


settings, ledger = page.start(__file__, "The examples that versions learn from and are tested on, newest first.")
datasets = queries.newest(ledger, Dataset, settings.project)
if not datasets:
    page.nothing_yet("There is no dataset yet.", "driftwheel data build")
    st.stop()
names = queries.dataset_names(ledger, settings.project)
dataset = page.choose("Dataset", datasets, lambda d: names[d.id], key="dataset")
show_report(dataset)
st.subheader("Rows", anchor=False)
split = st.segmented_control("Split", ["train", "validation", "test"], default="train", key="split") or "train"
rows = files.sample_rows(Path(dataset.path), split)
if rows:
    page.table(rows)
else:
    st.text(f"No {split} rows can be read from the dataset's folder.")
st.subheader("Identity", anchor=False)
page.facts(
    {
        "id": dataset.id,
        "created": dataset.created_at,
        "origin": dataset.origin,
        "folder": dataset.path,
        "content hash": dataset.content_hash,
    }
)
