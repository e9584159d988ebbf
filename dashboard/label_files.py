"""Labels as files: those that people gave elsewhere come in, whole or not at all, and requests go out to be labelled.

A file is CSV with a line of titles, or JSONL; `id` and `label` are read, and what else it holds is left alone. So what
goes out can come back with its labels filled in, as a spreadsheet saves it: a German one writes semicolons, and
"Unicode text" is tabs in UTF-16.
"""

import codecs
import csv
import io
import json
import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass

import sqlalchemy as sa

from dashboard.labelling import NAMELESS, equals, give_label
from driftwheel.errors import ConflictError, DataError, NotFoundError
from driftwheel.foreign_json import read_json
from driftwheel.inert_text import inert_cell
from driftwheel.records.nouns import Traffic
from driftwheel.settings.serving import TrafficSettings
from driftwheel.store.any_of import any_of
from driftwheel.store.ledger import Ledger
from driftwheel.store.tables import TABLES
from driftwheel.traffic.feedback import Author, words_about
from driftwheel.traffic.feedback_summary import ANSWERING
from driftwheel.traffic.outcome_query import is_answered, is_unwatched

SEPARATORS = ",;\t|"
"""The one that the line of titles has most of stands between the columns; the first where it has none."""
UTF_16_MARKS = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)
MOST_LINES = 20_000
MOST_BYTES = 50_000_000
NAMED = 3
"""Of what is wrong, so many are named; the others are counted."""
_TRAFFIC = TABLES[Traffic].c


@dataclass(frozen=True, kw_only=True)
class LabelLine:
    """One label of a file, and the line that it stands in."""

    line: int
    id: str
    label: str


@dataclass(frozen=True, kw_only=True)
class Imported:
    """What became of a file's labels."""

    stored: int
    known: int
    """Said before by the same person, or the same by another who is as trusted: nothing was added."""
    refused: tuple[str, ...] = ()
    """Why a label was left out, where somebody else had said otherwise."""

    @property
    def text(self) -> str:
        """What became of them, in a sentence."""
        left = f", {len(self.refused)} left out: {self.refused[0]}" if self.refused else ""
        return f"{self.stored:,} labels are stored, {self.known:,} were known already{left}."


def read_labels(name: str, content: bytes) -> list[LabelLine]:
    """Return the labels of a file; raises DataError that names the line, so that nothing is taken from a broken one."""
    if len(content) > MOST_BYTES:
        raise DataError(f"{name} is larger than {MOST_BYTES // 1_000_000} MB: split it")
    try:
        text = content.decode("utf-16" if content.startswith(UTF_16_MARKS) else "utf-8-sig")
    except UnicodeDecodeError as error:
        raise DataError(f"{name} is not UTF-8 text (byte {error.start:,}): save it as UTF-8") from error
    is_json = name.lower().endswith((".jsonl", ".json", ".ndjson"))
    lines = _of_json(name, text) if is_json else _of_csv(name, text)
    filled = [line for line in lines if line.label]  # a request that went out and came back without a label
    if not filled:
        raise DataError(f"{name} holds no labels: it needs the columns id and label, and a label in at least one line")
    if len(filled) > MOST_LINES:
        raise DataError(f"{name} holds {len(filled):,} labels, and {MOST_LINES:,} at a time are taken: split it")
    return filled


def _of_csv(name: str, text: str) -> list[LabelLine]:
    separator = max(SEPARATORS, key=re.split(r"[\r\n]", text, maxsplit=1)[0].count)
    reader = csv.reader(io.StringIO(text, newline=""), strict=True, delimiter=separator)
    found, begin = [], 1
    try:
        titles = [title.strip().lower() for title in next(reader, [])]
        if "id" not in titles or "label" not in titles:
            raise DataError(f"{name}:1 has no columns id and label; it has {', '.join(titles[:8]) or 'nothing'}")
        id_at, label_at = titles.index("id"), titles.index("label")
        begin = reader.line_num + 1
        for row in reader:
            if row and len(row) <= max(id_at, label_at):
                raise DataError(f"{name}:{begin} has {len(row)} columns, and the first line has {len(titles)}")
            if row:
                found.append(LabelLine(line=begin, id=row[id_at].strip(), label=_label_in(row[label_at].strip())))
            begin = reader.line_num + 1
    except csv.Error as error:
        raise DataError(f"{name}:{begin} is no CSV ({error}); is a quote not closed?") from error
    return found


def _of_json(name: str, text: str) -> list[LabelLine]:
    found = []
    for number, line in enumerate(text.split("\n"), 1):
        if not line.strip():
            continue
        try:
            value = read_json(line)
        except ValueError as error:
            raise DataError(f"{name}:{number} is no JSON ({error})") from error
        label = value.get("label") if isinstance(value, dict) else None
        if not isinstance(value, dict) or not isinstance(value.get("id"), str) or not isinstance(label, str | None):
            raise DataError(f"{name}:{number} is no object with an id and a label, both texts")
        found.append(LabelLine(line=number, id=value["id"].strip(), label=(label or "").strip()))
    return found


def check_labels(ledger: Ledger, project: str, lines: Sequence[LabelLine], labels: Collection[str]) -> None:
    """Raise DataError that says all that is wrong: ids that are not there, labels outside the set, two labels of one.

    `labels` are those that the model learned; an empty collection takes any, as a task of free texts has none.
    """
    ids = {line.id for line in lines}
    query = sa.select(_TRAFFIC.id, _TRAFFIC.project).where(any_of(_TRAFFIC.id, sorted(ids)))
    with ledger.read() as connection:
        known = {id for id, of in connection.execute(query) if of == project}
    first: dict[str, LabelLine] = {}
    twice = [line for line in lines if first.setdefault(line.id, line).label != line.label]
    wrong = {
        f"ids that no request of {project} has": [f"{x.id!r} (line {x.line})" for x in lines if x.id not in known],
        "labels outside the set": [f"{x.label!r} (line {x.line})" for x in lines if labels and x.label not in labels],
        "requests with two labels": [f"{x.id!r} (lines {first[x.id].line} and {x.line})" for x in twice],
    }
    said = [f"{len(found):,} {what}: {_some(found)}" for what, found in wrong.items() if found]
    if said:
        raise DataError(f"nothing was stored, because the file has {'; '.join(said)}")


def _some(found: Sequence[str]) -> str:
    more = f" and {len(found) - NAMED:,} more" if len(found) > NAMED else ""
    return ", ".join(text[:120] for text in found[:NAMED]) + more


def store_labels(
    traffic: TrafficSettings, ledger: Ledger, project: str, lines: Sequence[LabelLine], *, author: Author
) -> Imported:
    """Store labels that were checked, each once; what somebody else has said otherwise stays, and is told.

    Each is a transaction: an import that breaks off has lost nothing, and the same file goes on where it ended.
    """
    stored, known, refused = 0, 0, []
    unique = {line.id: line for line in lines}
    words = words_about(ledger, list(unique))
    for id, line in unique.items():
        said = [w for w in equals(words.get(id, []), author) if w.withdrawn_at is None and w.kind in ANSWERING]
        if said and said[-1].value == line.label:
            known += 1
            continue
        # Who has a name may think again; without one it may be another person's label.
        own = [w.id for w in said if w.author == author.id != NAMELESS]
        try:
            give_label(traffic, ledger, project, id, author=author, label=line.label, own=own)
        except (ConflictError, NotFoundError) as error:
            refused.append(str(error))
        else:
            stored += 1
    return Imported(stored=stored, known=known, refused=tuple(refused))


def requests_as(form: str, ledger: Ledger, project: str, *, ids: Collection[str] = (), only_open: bool = True) -> bytes:
    """Return requests as `csv` or `jsonl`, the newest first: those with these ids, or all; at most `MOST_LINES`."""
    names = ("id", "created_at", "prompt", "answer", "label")
    conditions = [_TRAFFIC.project == project, is_answered(), sa.not_(is_unwatched())]
    conditions += [_TRAFFIC.label.is_(None)] if only_open else [_TRAFFIC.label.is_not(None)]
    if ids:
        conditions.append(any_of(_TRAFFIC.id, sorted(ids)))
    query = sa.select(*(_TRAFFIC[name] for name in names)).where(*conditions)
    with ledger.read() as connection:
        rows = connection.execute(query.order_by(_TRAFFIC.created_at.desc()).limit(MOST_LINES)).all()
    found = [
        {
            "id": row.id,
            "time": row.created_at.isoformat(),
            "prompt": row.prompt,
            "answer": row.answer,
            "label": row.label or "",
        }
        for row in rows
    ]
    if form == "jsonl":
        return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in found).encode()
    out = io.StringIO(newline="")
    writer = csv.writer(out)
    writer.writerow(["id", "time", "prompt", "answer", "label"])
    # Users wrote all three, a key its labels too; `read_labels` knows an apostrophe that stands before a formula.
    texts = ({**row, **{name: _cell(row[name]) for name in ("prompt", "answer", "label")}} for row in found)
    writer.writerows(row.values() for row in texts)
    return out.getvalue().encode("utf-8-sig")  # without the mark Excel takes it for another encoding


def _cell(text: str) -> str:
    """Return a text as a cell that no spreadsheet computes; what looks like such a cell already gets its mark, too."""
    bare = text.lstrip("'")
    return f"'{text}" if inert_cell(bare) != bare else text


def _label_in(cell: str) -> str:
    """Return the label that `_cell` wrote so."""
    return cell[1:] if cell.startswith("'") and _cell(cell[1:]) == cell else cell
