"""Draw the pictures of the papers as SVG: boxes and arrows, with the numbers that the settings have now.

make docs

The committed files in docs/img are what this draws; a test compares them.
"""

import html
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

from driftwheel.records.nouns import NOUNS
from driftwheel.settings.artifact import GateSettings
from driftwheel.settings.serving import ServeSettings
from driftwheel.settings.watching import DashboardSettings, MonitorSettings

IMAGES = Path(__file__).with_name("img")
INK, PAPER, BLUE, GREEN, AMBER, RED, GRAY = "#1d2730", "#ffffff", "#2f6db5", "#2e8b57", "#c98a1b", "#c0392b", "#7b8794"
FONT = "Segoe UI, Helvetica, Arial, sans-serif"
ACTIONS = ("TRL fine-tunes", "merge, quantize, gate", "proof, swap", "gateway logs", "monitor", "policy", "worker")
"""What turns each noun into the next one, in the order of the circle."""


@dataclass(frozen=True, kw_only=True)
class Box:
    """A rectangle around its middle, with a title and lines below it."""

    x: float
    y: float
    title: str
    lines: Sequence[str] = ()
    color: str = BLUE
    width: float = 176
    height: float = 60

    def draw(self) -> str:
        """Return the rectangle and its words."""
        first = self.y + 5 - 9 * len(self.lines)
        words = [_text(self.x, first, self.title, size=15, weight=600)]
        words += [_text(self.x, first + 18 * n, line, size=12) for n, line in enumerate(self.lines, start=1)]
        left, top = self.x - self.width / 2, self.y - self.height / 2
        shape = f'x="{left:g}" y="{top:g}" width="{self.width:g}" height="{self.height:g}" rx="8"'
        return (
            f'<rect {shape} fill="{PAPER}"/>'
            f'<rect {shape} fill="{self.color}" fill-opacity="0.12" stroke="{self.color}" stroke-width="1.5"/>'
            + "".join(words)
        )


def loop() -> str:
    """Draw the seven nouns as a circle, with what turns each into the next."""
    width, height, across, down = 900.0, 460.0, 345.0, 180.0
    angles = [math.tau * n / len(NOUNS) - math.pi / 2 for n in range(len(NOUNS))]
    boxes, words = [], []
    for noun, action, angle in zip(NOUNS, ACTIONS, angles, strict=True):
        x, y = width / 2 + across * math.cos(angle), height / 2 + down * math.sin(angle)
        boxes.append(Box(x=x, y=y, title=noun.__name__, width=150, height=44).draw())
        half = angle + math.pi / len(NOUNS)
        x, y = width / 2 + 0.66 * across * math.cos(half), height / 2 + 0.7 * down * math.sin(half)
        words.append(_text(x, y + 4, action, size=13, color=GRAY))
    ring = f'<ellipse cx="{width / 2:g}" cy="{height / 2:g}" rx="{across:g}" ry="{down:g}" {_stroke(GRAY)}/>'
    heads = [_head_on_ellipse(a + math.pi / len(NOUNS), width / 2, height / 2, across, down) for a in angles]
    middle = _text(width / 2, height / 2 + 5, "stages meet in the ledger", size=15, weight=600)
    return _picture(width, height, [ring, *heads, *words, *boxes, middle])


def gate() -> str:
    """Draw how the gate comes to its verdict."""
    settings = GateSettings()
    margins = f"{settings.max_regression:.0%}, a slice over {settings.max_slice_regression:.0%}"
    level = f"{settings.false_promotion / settings.candidates:g} for each candidate"
    shared = ("answers of the candidate", "and of the live version")
    items = Box(x=120, y=170, title="The same items", lines=shared, width=190, height=80, color=GRAY)
    wide = _sized(300, 80)
    questions = (
        wide(60, "Target: fresh items", "must win, by an exact test at", level),
        wide(170, "Kept: old items, big slices", f"shown not to lose over {margins},", "nor half of what was won"),
        wide(280, "Watched: small slices", "a sure loss rejects"),
    )
    verdicts = (
        Box(x=760, y=60, title="PROMOTE", lines=("all said yes",), color=GREEN, width=210),
        Box(x=760, y=170, title="INCONCLUSIVE", lines=("says how many items it needs",), color=AMBER, width=210),
        Box(x=760, y=280, title="REJECT", lines=("one said no",), color=RED, width=210),
    )
    arrows = [_arrow(216, 170, box.x - box.width / 2 - 4, box.y) for box in questions]
    arrows += [_arrow(590, 170, 650, verdict.y) for verdict in verdicts]
    looks = f"The same items judge {settings.max_looks} candidates at most; then they are spent."
    row = f"Budget: of {settings.candidates} candidates in a row that are no better, even one is promoted"
    budget = f"{row} with a chance of at most {settings.false_promotion:.0%}."
    words = [_text(450, 348, looks, size=13, color=GRAY), _text(450, 372, budget, size=13, color=GRAY)]
    gather = f'<path d="M 572 60 H 590 V 280 H 572 M 572 170 H 590" {_stroke(GRAY)}/>'
    boxes = [box.draw() for box in (items, *questions, *verdicts)]
    return _picture(900, 396, [gather, *arrows, *boxes, *words])


def windows() -> str:
    """Draw windows of traffic against a reference, their scores, and the alarm."""
    settings = MonitorSettings()
    scores, threshold, base = (0.3, 0.24, 0.36, 0.28, 0.55, 0.8, 0.86, 0.9), 0.62, 300.0
    parts = [
        Box(
            x=105, y=62, title="Reference", lines=(f"{settings.reference_rows} requests",), width=160, color=GRAY
        ).draw()
    ]
    over = 0
    for number, score in enumerate(scores):
        x = 250 + 78 * number
        over = over + 1 if score > threshold else 0
        color = RED if over >= settings.persistence else AMBER if over else GREEN
        parts.append(Box(x=x, y=62, title=f"{settings.window_rows}", width=70, height=44, color=color).draw())
        top = base - 170 * score
        parts.append(
            f'<rect x="{x - 20}" y="{top:g}" width="40" height="{base - top:g}" fill="{color}" fill-opacity="0.7"/>'
        )
        if over:
            parts.append(
                _text(x, top - 8, "alarm" if over >= settings.persistence else "suspected", size=12, color=color)
            )
    line = base - 170 * threshold
    often = f"{settings.false_alarms_per_month:g} false alarm a month at {settings.windows_per_day} windows a day"
    parts += [
        f'<path d="M 205 {line:g} L 850 {line:g}" {_stroke(INK)} stroke-dasharray="6 5"/>',
        _text(520, base + 28, f"threshold: {often}", size=13),
        _text(520, 24, "traffic of the live version, cut into windows", size=13, color=GRAY),
        _text(105, line + 4, "score", size=13, color=GRAY),
        f'<path d="M 205 {base:g} L 850 {base:g}" {_stroke(GRAY)}/>',
    ]
    return _picture(900, 350, parts)


def request() -> str:
    """Draw a request's way through the gateway."""
    way = (
        Box(x=90, y=90, title="Client", lines=("OpenAI's API",), width=120, color=GRAY),
        Box(x=262, y=90, title="HTTP", lines=("deadlines, limits",), width=140),
        Box(x=444, y=90, title="Admission", lines=("key, scope, rate limit",), width=150),
        Box(x=626, y=90, title="Route", lines=("alias, canary, replica",), width=150),
        Box(x=806, y=90, title="Relay", lines=("bytes pass on",), width=130),
    )
    back = (
        Box(x=806, y=220, title="Engine", lines=("vLLM, proved",), width=130, color=GREEN),
        Box(x=560, y=220, title="Capture", lines=("answer becomes a row",), width=170),
        Box(
            x=310,
            y=220,
            title="Durable row",
            lines=("on disk before", "the answer ends"),
            width=170,
            height=72,
            color=AMBER,
        ),
        Box(x=90, y=220, title="Answer", lines=("with its request id",), width=140, color=GRAY),
    )
    arrows = [_arrow(a.x + a.width / 2 + 2, a.y, b.x - b.width / 2 - 4, b.y) for a, b in pairwise(way)]
    arrows += [_arrow(a.x - a.width / 2 - 2, a.y, b.x + b.width / 2 + 4, b.y) for a, b in pairwise(back)]
    arrows += [_arrow(806, 122, 806, 186), _arrow(90, 188, 90, 124)]
    refusals = [
        _text(262, 44, "400 408 413 431", size=12, color=RED),
        _text(444, 44, "401 403 404 429 503", size=12, color=RED),
        _text(626, 44, "503 with Retry-After", size=12, color=RED),
        _text(310, 282, "not writable: 503, no answer", size=12, color=RED),
    ]
    return _picture(900, 306, [*arrows, *(b.draw() for b in (*way, *back)), *refusals])


def processes() -> str:
    """Draw the processes with their default ports, and the ledger in which they meet."""
    serve, monitor, dashboard = ServeSettings(), MonitorSettings(), DashboardSettings()
    supervisor = Box(x=450, y=50, title="driftwheel up", lines=("starts and restarts these",), color=GRAY, width=170)
    children = (
        Box(x=130, y=160, title="Gateway", lines=(f"port {serve.port}",), width=210),
        Box(x=340, y=160, title="Monitor", lines=(f"metrics on port {monitor.port}",), width=170),
        Box(x=560, y=160, title="Worker", lines=("no port",), width=170),
        Box(x=780, y=160, title="Dashboard", lines=(f"port {dashboard.port}",), width=170),
    )
    below = (
        Box(x=110, y=290, title="Engines", lines=("vLLM, free local ports",), color=GREEN, width=170),
        Box(x=560, y=290, title="Heavy steps", lines=("train, quantize, evaluate",), color=GREEN, width=170),
    )
    ledger = Box(
        x=450, y=400, title="Ledger and storage folder", lines=("all of them meet here",), color=AMBER, width=720
    )
    arrows = [_arrow(450, 84, box.x, box.y - 36) for box in children]
    arrows += [_arrow(110, 194, 110, 254), _arrow(560, 194, 560, 254)]
    arrows += [_arrow(x, top, x, 366) for x, top in ((215, 194), (340, 194), (560, 324), (780, 194))]
    words = _text(58, 229, "starts, asks", size=12, color=GRAY) + _text(616, 229, "starts", size=12, color=GRAY)
    return _picture(900, 444, [*arrows, words, *(box.draw() for box in (supervisor, *children, *below, ledger))])


def curve(points: Sequence[tuple[float, float]], title: str) -> str:
    """Draw points as a line, the largest value at the top; the notebook shows the loss of a training so."""
    width, height, left, top = 640.0, 220.0, 60.0, 40.0
    most, last = max(y for _, y in points), max(x for x, _ in points)
    places = [(left + (width - 90) * x / last, height - 30 - (height - 80) * y / most) for x, y in points]
    path = " L ".join(f"{x:.1f} {y:.1f}" for x, y in places)
    parts = [
        f'<path d="M {path}" {_stroke(BLUE)}/>',
        f'<path d="M {left} {top} V {height - 30} H {width - 30}" {_stroke(GRAY)}/>',
        _text(width / 2, 24, title, size=14, weight=600),
        _text(34, top + 14, f"{most:.2f}", size=12, color=GRAY),
        _text(width - 40, height - 10, f"{last:g}", size=12, color=GRAY),
    ]
    return _picture(width, height, parts)


def bars(entries: Sequence[tuple[str, float, str]], title: str, threshold: float | None = None) -> str:
    """Draw a bar for each name with its value in a color, and a dashed line at the threshold."""
    height, base, row = 220.0, 180.0, 72.0
    width = max(320.0, 80 + row * len(entries))
    most = max([*(value for _, value, _ in entries), threshold or 0.0])
    parts = [_text(width / 2, 24, title, size=14, weight=600)]
    for number, (name, value, color) in enumerate(entries):
        x, tall = 50 + row * (number + 0.5), 120 * value / most
        shape = f'x="{x - 20:g}" y="{base - tall:.1f}" width="40" height="{tall:.1f}"'
        parts.append(f'<rect {shape} fill="{color}" fill-opacity="0.7"/>')
        parts.append(_text(x, base - tall - 6, f"{value:.3g}", size=11, color=GRAY))
        parts.append(_text(x, base + 18, name, size=11))
    if threshold is not None:
        line = base - 120 * threshold / most
        parts.append(f'<path d="M 40 {line:.1f} H {width - 20:g}" {_stroke(INK)} stroke-dasharray="6 5"/>')
    return _picture(width, height, parts)


PICTURES = {"loop": loop, "gate": gate, "windows": windows, "request": request, "processes": processes}


def main() -> None:
    """Write every picture."""
    IMAGES.mkdir(exist_ok=True)
    for name, draw in PICTURES.items():
        (IMAGES / f"{name}.svg").write_text(draw(), encoding="utf-8")


def _sized(width: float, height: float) -> Callable[..., Box]:
    """Return what makes boxes of one size in the middle column."""
    return lambda y, title, *lines: Box(x=420, y=y, title=title, lines=lines, width=width, height=height)


def _picture(width: float, height: float, parts: Sequence[str]) -> str:
    """Return an SVG on paper of its own, so that it can be read on a dark page too."""
    return "\n".join(
        (
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:g} {height:g}" width="{width:g}" '
            f'height="{height:g}" font-family="{FONT}">',
            f'<rect width="{width:g}" height="{height:g}" rx="10" fill="{PAPER}"/>',
            *parts,
            "</svg>\n",
        )
    )


def _text(x: float, y: float, words: str, *, size: int, weight: int = 400, color: str = INK) -> str:
    return (
        f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="middle" font-size="{size}" font-weight="{weight}" fill="{color}">'
        f"{html.escape(words)}</text>"
    )


def _stroke(color: str) -> str:
    return f'stroke="{color}" stroke-width="1.6" fill="none"'


def _arrow(from_x: float, from_y: float, to_x: float, to_y: float) -> str:
    angle = math.degrees(math.atan2(to_y - from_y, to_x - from_x))
    return (
        f'<path d="M {from_x:g} {from_y:g} L {to_x:g} {to_y:g}" {_stroke(GRAY)}/>'
        f'<path d="M -7 -5 L 2 0 L -7 5" {_stroke(GRAY)} transform="translate({to_x:g} {to_y:g}) rotate({angle:.1f})"/>'
    )


def _head_on_ellipse(angle: float, x: float, y: float, across: float, down: float) -> str:
    turn = math.degrees(math.atan2(down * math.cos(angle), -across * math.sin(angle)))
    x, y = x + across * math.cos(angle), y + down * math.sin(angle)
    return f'<path d="M -7 -6 L 5 0 L -7 6" {_stroke(GRAY)} transform="translate({x:.1f} {y:.1f}) rotate({turn:.1f})"/>'


if __name__ == "__main__":
    main()
