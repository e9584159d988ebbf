"""Lays scorecards out as table rows and columns, without Streamlit."""

from collections.abc import Iterable, Mapping, Sequence
from typing import TypeAlias

from driftwheel.evidence.intervals import share_interval
from driftwheel.records.gate_verdict import SliceVerdict
from driftwheel.records.json_form import as_json
from driftwheel.records.nouns import ModelVersion
from driftwheel.records.scorecard import FaultScore, FieldScore, LabelScore, PromptScore, Scorecard, headline

Row: TypeAlias = dict[str, str | int | float | None]
"""A row of a table on a page, by column."""


def scorecard_columns(versions: list[ModelVersion]) -> dict[str, dict[str, str]]:
    """Return the numbers of each scorecard side by side, the base model's baselines first, by column title."""
    columns: dict[str, dict[str, str]] = {}
    for version in versions:
        for name, prompt in (version.scorecard.baseline or {}).items():
            columns.setdefault(f"base, {name.replace('_', '-')}", _numbers(prompt))
    for version in versions:
        columns[f"v{version.number}"] = _numbers(version.scorecard) | _by_slice(version.scorecard)
    return columns


def version_rows(versions: Sequence[ModelVersion], stages: Mapping[str, str]) -> list[Row]:
    """Return each version as a row: what it is now, how well it was judged, and why it was let in or not.

    `stages` says by version id what the gateway does with it, such as `live` or `canary, 10%`.
    """
    return [
        {
            "version": f"v{version.number}",
            "now": stages.get(version.id, str(version.status)),
            "judged": _headline_text(version),
            "made (UTC)": f"{version.created_at:%Y-%m-%d %H:%M}",
            "why": version.verdict.reason,
        }
        for version in versions
    ]


def _headline_text(version: ModelVersion) -> str:
    found = headline(version.scorecard)
    if found is None:
        return "never"
    reach = f" ({found.reach})" if found.reach else ""
    return f"{found.name} {found.text}{reach}"


def slice_rows(slices: Iterable[SliceVerdict]) -> list[Row]:
    """Return the gate's verdict slice by slice; shares in percent, differences in points of a hundred."""
    return [
        {
            "slice": entry.slice,
            "items": entry.items,
            "candidate": "" if entry.candidate_accuracy is None else f"{entry.candidate_accuracy:.1%}",
            "live": "" if entry.live_accuracy is None else f"{entry.live_accuracy:.1%}",
            "difference, points": _points(entry.difference),
            "interval, points": " to ".join(map(_points, entry.interval or ())),
            "must exceed": _points(entry.margin),
            "won": entry.gained,
            "lost": entry.lost,
            "verdict": entry.verdict.lower(),
            "why": entry.reason,
        }
        for entry in slices
    ]


def _points(share: float | None) -> str:
    return "" if share is None else f"{100 * share:+.1f}"


def _numbers(card: Scorecard | PromptScore) -> dict[str, str]:
    """Return a scorecard's single numbers in words, shares with their intervals."""
    intervals = card.intervals or {}
    return {
        name: share_text(value, intervals.get(name))
        for name, value in vars(card).items()
        if isinstance(value, int | float) and not isinstance(value, bool)
    }


def _by_slice(card: Scorecard) -> dict[str, str]:
    if card.criterion is not None:
        return {f"grade, {name} items": share_text(s.grade, s.grade_interval) for name, s in card.slices.items()}
    return {
        f"accuracy, {name} items": share_text(
            part.accuracy, share_interval(round(part.accuracy * part.items), part.items)
        )
        for name, part in card.slices.items()
    }


def share_text(value: float | None, interval: Sequence[float] | None) -> str:
    """Return a share in percent with its interval; a number without one is no share and stays as it is."""
    if value is None:
        return ""
    return f"{value:.1%} [{interval[0] * 100:.1f}, {interval[1] * 100:.1f}]" if interval else f"{value:.4g}"


def table_of_shares(parts: Mapping[str, LabelScore | FieldScore | FaultScore]) -> list[Row]:
    """Return a scorecard's labels, fields or faults as table rows; `NAME_interval` goes behind `NAME`."""
    rows = []
    for name, part in parts.items():
        found = as_json(part)
        row: Row = {"name": name}
        for key, value in found.items():
            if key in ("items", "note"):
                row[key] = value
            elif not key.endswith("interval"):
                interval = found.get(f"{key}_interval", found.get("interval"))
                row[key.replace("_", " ")] = share_text(value, interval)
        rows.append(row)
    return rows


def parity_rows(version: ModelVersion) -> list[Row]:
    """Return how far each form of a version is from the one before it, as table rows with 95 % intervals."""
    return [
        {
            "form": hop.hop,
            "items": hop.items,
            "accuracy": share_text(hop.accuracy, hop.accuracy_interval),
            "against": hop.against,
            "same greedy answers": share_text(hop.agreement, hop.agreement_interval),
            "mean nats apart": hop.mean_logprob_difference,
            "most nats apart": hop.max_logprob_difference,
        }
        for hop in version.scorecard.parity or ()
    ]
