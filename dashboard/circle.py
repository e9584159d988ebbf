"""Draws the loop and where it stands as one SVG, without Streamlit.

Every text from outside goes through `html.escape` before it enters the SVG.
"""

import html
import math
from collections.abc import Sequence

from dashboard.charts import BLUE, COLORS
from dashboard.standing import Station

LAMP_WORDS = {"green": "steady", "amber": "drift suspected", "red": "drift", "gray": "not known yet"}
LONGEST_TEXT = 28
INKS = {False: ("#1d2730", "#ffffff"), True: ("#e4e9ee", "#12181e")}
BAD_STATUSES = ("failed", "rejected", "drifted")


def draw(stations: Sequence[Station], lamp: str, live: str, *, is_dark: bool = False) -> str:
    """Return the loop as SVG: the stations clockwise from the top, the drift lamp in the middle.

    It is shown as an image, where `currentColor` does not reach: `is_dark` chooses the ink.
    """
    ink, paper = INKS[is_dark]
    width, height, across, down = 920, 470, 350.0, 180.0
    angles = [math.tau * i / len(stations) - math.pi / 2 for i in range(len(stations))]
    points = [(width / 2 + across * math.cos(a), height / 2 + down * math.sin(a)) for a in angles]
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" height="{height}" '
        f'color="{ink}" font-family="Source Sans Pro, Segoe UI, Helvetica, Arial, sans-serif">',
        f'<ellipse cx="{width / 2}" cy="{height / 2}" rx="{across}" ry="{down}" fill="none" stroke="currentColor" '
        'stroke-opacity="0.25" stroke-width="2"/>',
        *(_arrow(a, math.tau / len(stations), width / 2, height / 2, across, down) for a in angles),
        *(_station(station, x, y, paper) for station, (x, y) in zip(stations, points, strict=True)),
        _lamp(lamp, live, width / 2, height / 2),
        "</svg>",
    ]
    return "".join(parts)


def _arrow(angle: float, gap: float, center_x: float, center_y: float, across: float, down: float) -> str:
    a = angle + gap / 2
    x, y = center_x + across * math.cos(a), center_y + down * math.sin(a)
    turn = math.degrees(math.atan2(down * math.cos(a), -across * math.sin(a)))
    return (
        f'<path d="M -6 -6 L 6 0 L -6 6" fill="none" stroke="currentColor" stroke-opacity="0.55" stroke-width="2" '
        f'transform="translate({x:.1f} {y:.1f}) rotate({turn:.1f})"/>'
    )


def _station(station: Station, x: float, y: float, paper: str) -> str:
    color = COLORS["gray"] if station.id is None else BLUE
    if any(word in station.status for word in BAD_STATUSES):
        color = COLORS["red"]
    lines = (
        (-20, "12", "0.75", "400", station.noun),
        (1, "15", "1", "600", station.title),
        (21, "12", "0.85", "400", station.status),
    )
    texts = "".join(
        f'<text y="{dy}" text-anchor="middle" font-size="{size}" font-weight="{weight}" fill="currentColor" '
        f'fill-opacity="{opacity}">{html.escape(_cut(text))}</text>'
        for dy, size, opacity, weight, text in lines
    )
    return (
        f'<g transform="translate({x:.1f} {y:.1f})"><title>{html.escape(station.id or "nothing yet")}</title>'
        f'<rect x="-92" y="-42" width="184" height="76" rx="9" fill="{paper}"/>'
        f'<rect x="-92" y="-42" width="184" height="76" rx="9" fill="{color}" fill-opacity="0.12" stroke="{color}" '
        f'stroke-width="1.5"/>{texts}</g>'
    )


def _lamp(lamp: str, live: str, x: float, y: float) -> str:
    color = COLORS[lamp]
    return (
        f'<g transform="translate({x} {y})"><circle cy="-28" r="26" fill="{color}" fill-opacity="0.2"/>'
        f'<circle cy="-28" r="16" fill="{color}"/><text y="24" text-anchor="middle" font-size="15" '
        f'font-weight="600" fill="currentColor">{html.escape(LAMP_WORDS[lamp])}</text><text y="46" '
        f'text-anchor="middle" font-size="13" fill="currentColor" fill-opacity="0.8">{html.escape(_cut(live, 40))}'
        "</text></g>"
    )


def _cut(text: str, longest: int = LONGEST_TEXT) -> str:
    return text if len(text) <= longest else text[: longest - 3] + "..."
