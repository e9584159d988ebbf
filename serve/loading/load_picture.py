"""Draws measured loads as one SVG file: three panels of curves over the number of streams.

Written by hand, because what draws pictures here (plotly, altair) makes web pages, and stands in extras of other
stages; three panels of lines are less than either.
"""

import html
from collections.abc import Sequence

from serve.loading.vllm_client import Measured

WIDTH, HEIGHT, GAP, TOP, BOTTOM = 300.0, 210.0, 60.0, 50.0, 40.0
INK, BLUE, RED = "#1d2730", "#2f6db5", "#c0392b"
FONT = "Segoe UI, Helvetica, Arial, sans-serif"
Curve = tuple[str, str, list[float]]
"""Its name, its color, and a value for each load."""


def picture(measured: Sequence[Measured], title: str) -> str:
    """Return the SVG text; there is at least one load."""
    panels: list[tuple[str, list[Curve]]] = [
        ("time to first token, ms", _two(measured, "first_token_p50_ms", "first_token_p99_ms")),
        ("time per token, ms", _two(measured, "per_token_p50_ms", "per_token_p99_ms")),
        ("output tokens a second", [("", BLUE, [m.output_tokens_per_second for m in measured])]),
    ]
    width, height = 3 * (WIDTH + GAP) + GAP / 2, TOP + HEIGHT + BOTTOM + 20
    streams = [str(m.streams) for m in measured]
    drawn = [_panel(GAP + n * (WIDTH + GAP), name, curves, streams) for n, (name, curves) in enumerate(panels)]
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:g} {height:g}" font-family="{FONT}">'
        f'<rect width="{width:g}" height="{height:g}" fill="#ffffff"/>{_text(GAP, 22, title, size=15)}'
        f"{''.join(drawn)}</svg>\n"
    )


def _two(measured: Sequence[Measured], half: str, most: str) -> list[Curve]:
    return [
        ("p50", BLUE, [getattr(m, half) for m in measured]),
        ("p99", RED, [getattr(m, most) for m in measured]),
    ]


def _panel(left: float, name: str, curves: Sequence[Curve], streams: Sequence[str]) -> str:
    highest = max(value for _, _, values in curves for value in values) or 1.0
    places = [left + WIDTH * (n + 0.5) / len(streams) for n in range(len(streams))]
    bottom = TOP + HEIGHT
    parts = [
        _text(left, TOP - 8, name, size=13),
        f'<path d="M{left:g} {TOP:g}V{bottom:g}H{left + WIDTH:g}" fill="none" stroke="{INK}"/>',
        _text(left + WIDTH / 2, bottom + 34, "requests at once", anchor="middle"),
        _text(left - 6, TOP + 10, f"{highest:.4g}", anchor="end"),
        _text(left - 6, bottom, "0", anchor="end"),
    ]
    parts += [_text(x, bottom + 17, label, anchor="middle") for x, label in zip(places, streams, strict=True)]
    for label, color, values in curves:
        points = [(x, bottom - 0.95 * HEIGHT * value / highest) for x, value in zip(places, values, strict=True)]
        line = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
        parts.append(f'<polyline points="{line}" fill="none" stroke="{color}" stroke-width="2"/>')
        parts += [f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3.5" fill="{color}"/>' for x, y in points]
        parts.append(_text(points[-1][0] + 8, points[-1][1] + 4, label, color=color))
    return "".join(parts)


def _text(x: float, y: float, text: str, *, size: int = 12, anchor: str = "start", color: str = INK) -> str:
    place = f'x="{x:.1f}" y="{y:.1f}" font-size="{size}" text-anchor="{anchor}" fill="{color}"'
    return f"<text {place}>{html.escape(text)}</text>"
