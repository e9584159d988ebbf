"""Reads plain text for continued pre-training: what stands between empty lines is one row."""

from pathlib import Path

from train.reading.opened import open_text
from train.reading.raw_rows import Found

COLUMN = "text"


def paragraphs(path: Path) -> Found:
    """Give every paragraph of a text file, with the line where it begins."""
    with open_text(path) as file:
        lines: list[str] = []
        start = 1
        for number, line in enumerate(file, 1):
            if line.strip():
                start = start if lines else number
                lines.append(line)
            elif lines:
                yield f"{path.name}:{start}", {COLUMN: "".join(lines).rstrip()}
                lines.clear()
        if lines:
            yield f"{path.name}:{start}", {COLUMN: "".join(lines).rstrip()}
