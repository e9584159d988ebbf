"""Says in a few lines what became of the rows that a Dataset was built of, and what comes next."""

from driftwheel.records.dataset_report import DatasetReport

SHOWN = 3


def what_happened(report: DatasetReport) -> list[str]:
    """Return lines for a person: rows read, left out and added by the reason, and the next command."""
    lines = [f"read             {report.rows_in or 0} rows"]
    if report.broken:
        shown = "; ".join(f"{row.place} {row.reason}" for row in report.broken_rows[:SHOWN])
        lines.append(f"broken           {report.broken}: {shown}{'; ...' if report.broken > SHOWN else ''}")
    for name, counts in (("left out", report.dropped), ("added, left out", report.mixed)):
        if told := ", ".join(f"{count} {why}" for why, count in counts.items() if count):
            lines.append(f"{name:<15}  {told}")
    return [*lines, "next: driftwheel train"]
