"""Scorecards become table rows and columns, without Streamlit."""

from collections.abc import Sequence
from typing import Any

from driftwheel.intervals import share_interval
from driftwheel.records import ModelVersion


def scorecard_columns(versions: list[ModelVersion]) -> dict[str, dict[str, str]]:
    """Return the numbers of each scorecard side by side, the base model's baselines first, by column title."""
    columns: dict[str, dict[str, str]] = {}
    for version in versions:
        for name, card in (version.scorecard.get("baseline") or {}).items():
            if isinstance(card, dict):
                columns.setdefault(f"base, {name.replace('_', '-')}", _numbers(card))
    for version in versions:
        columns[f"v{version.number}"] = _numbers(version.scorecard)
    return columns


def _numbers(card: dict[str, Any]) -> dict[str, str]:
    """Return a scorecard's single numbers in words, shares with their intervals."""
    intervals = card.get("intervals") or {}
    flat = {
        k: share_text(v, intervals.get(k))
        for k, v in card.items()
        if isinstance(v, int | float) and not isinstance(v, bool)
    }
    for name, part in (card.get("slices") or {}).items():
        if isinstance(part, dict) and part.get("accuracy") is not None:
            right = round(part["accuracy"] * part.get("items", 0))
            interval = share_interval(right, part.get("items", 0))
            flat[f"accuracy, {name} items"] = share_text(part["accuracy"], interval)
    return flat


def share_text(value: float | None, interval: Sequence[float] | None) -> str:
    """Return a share in percent with its interval; a number without one is no share and stays as it is."""
    if value is None:
        return ""
    return f"{value:.1%} [{interval[0] * 100:.1f}, {interval[1] * 100:.1f}]" if interval else f"{value:.4g}"


def table_of_shares(parts: dict[str, dict[str, Any]]) -> list[dict[str, Any]]:
    """Return a scorecard's labels, fields or faults as table rows; `NAME_interval` goes behind `NAME`."""
    rows = []
    for name, found in parts.items():
        row: dict[str, Any] = {"name": name}
        for key, value in found.items():
            if key in ("items", "note"):
                row[key] = value
            elif not key.endswith("interval"):
                interval = found.get(f"{key}_interval", found.get("interval"))
                row[key.replace("_", " ")] = share_text(value, interval)
        rows.append(row)
    return rows


def parity_rows(version: ModelVersion) -> list[dict[str, Any]]:
    """Return how far each form of a version is from the one before it, as table rows with 95 % intervals."""
    return [
        {
            "form": hop["hop"],
            "items": hop["items"],
            "accuracy": share_text(hop.get("accuracy"), hop.get("accuracy_interval")),
            "against": hop.get("against"),
            "same greedy answers": share_text(hop.get("agreement"), hop.get("agreement_interval")),
            "mean nats apart": hop.get("mean_logprob_difference"),
            "most nats apart": hop.get("max_logprob_difference"),
        }
        for hop in version.scorecard.get("parity") or []
    ]
