"""Reads one side of a comparison: a window, what a version answered or was judged on, or a file."""

import csv
import random
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from driftwheel.cli.command import named_version
from driftwheel.errors import ConfigError, DataError, NotFoundError
from driftwheel.foreign_json import read_json
from driftwheel.records.alias_key import AliasKey
from driftwheel.records.bookkeeping import Window
from driftwheel.records.nouns import ModelVersion, Traffic
from driftwheel.settings.data import DatasetSettings
from driftwheel.store.answer_form import label_field_of
from driftwheel.store.ledger import Ledger
from driftwheel.text.answers import label_of
from driftwheel.text.conversations import last_text, text_of
from driftwheel.traffic.outcome_query import is_answered
from driftwheel.traffic.outcomes import CLIENT_LEFT, OK
from monitor.observation import Observation, observe
from monitor.references import judged_items
from monitor.windows import UNOBSERVED, Source, answered_in

PROMPTS = ("prompt", "text", "question", "input", "instruction")
ANSWERS = ("answer", "completion", "response", "output")
"""Names that a file's columns may have; the first that is there counts."""
JUDGED = "judged:"
WHAT = (
    "a file (.jsonl, .csv or .parquet), a window by its check (check_...), a version (v3) for what it answered, or "
    f"{JUDGED}v3 for what it was judged on"
)


@dataclass(frozen=True, kw_only=True)
class Side:
    """Rows to compare, and where they come from."""

    name: str
    rows: tuple[Observation, ...]
    version: ModelVersion | None = None
    """The version that answered them; None for a file's."""
    is_judged: bool = False
    """Items of an evaluation, and no traffic."""


def file_side(path: Path, label_field: str | None, most: int) -> Side:
    """Read a file's rows, evenly drawn from more than `most`, and as an unordered sample.

    Raises DataError for a file without such rows, ConfigError for one of another kind.
    """
    readers = {".jsonl": _jsonl, ".csv": _csv, ".parquet": _parquet}
    if path.suffix not in readers:
        raise ConfigError(f"{path}: cannot read {path.suffix or 'a file without an ending'}; say {WHAT}")
    try:
        found = list(readers[path.suffix](path))
    except OSError as error:
        raise DataError(f"cannot read {path}: {error.strerror or error}") from error
    except UnicodeDecodeError as error:
        raise DataError(f"{path} is no UTF-8 (byte {error.start}); save it as UTF-8") from error
    rows = [_row(path, place, raw, label_field) for place, raw in found if _is_answered(raw)]
    if not rows:
        raise DataError(f"{path} holds no rows{', but failed requests' if found else ''}")
    # Files are often sorted by label, and neighbours that are alike would be taken for a burst of traffic.
    random.Random(len(rows)).shuffle(rows)
    failed = f", {len(found) - len(rows):,} requests without an answer left out" if len(found) > len(rows) else ""
    return Side(name=f"{path.name}: {_counted(rows, most)}{failed}", rows=tuple(rows[:most]))


def stored_side(dataset: DatasetSettings, ledger: Ledger, key: AliasKey, text: str, most: int) -> Side:
    """Read a window's rows, or what a version answered or was judged on; raises NotFoundError for anything else."""
    windows = ledger.find(Window, id=text, project=key.project)
    if windows:
        version = ledger.get(ModelVersion, windows[0].version_id)
        rows = answered_in(ledger, _source(dataset, ledger, key, version), windows[0])
        return Side(name=f"window {text}: {_counted(rows, most)}", rows=rows[-most:], version=version)
    try:
        version = named_version(ledger, key.project, text.removeprefix(JUDGED))
    except NotFoundError as error:
        raise NotFoundError(f"no file, window or version {text!r}; name {WHAT}") from error
    if text.startswith(JUDGED):
        rows = judged_items(version)
        drawn = tuple(random.Random(len(rows)).sample(rows, min(most, len(rows))))  # the file is ordered by label
        return Side(name=f"test items of {text}: {_counted(rows, most)}", rows=drawn, version=version, is_judged=True)
    source = _source(dataset, ledger, key, version)
    found = ledger.find(
        Traffic,
        is_answered(),
        project=source.project,
        alias=source.alias,
        version_id=version.id,
        limit=most,
        without=UNOBSERVED,
    )
    rows = tuple(observe(row, source.label_field) for row in reversed(found))
    return Side(name=f"newest traffic of {text}: {_counted(rows, most)}", rows=rows, version=version)


def _source(dataset: DatasetSettings, ledger: Ledger, key: AliasKey, version: ModelVersion) -> Source:
    field = label_field_of(dataset, ledger, version.id)
    return Source(project=key.project, alias=key.name, version_id=version.id, label_field=field)


def _counted(rows: Any, most: int) -> str:
    drawn = f", {most:,} of them compared" if len(rows) > most else ""
    return f"{len(rows):,} rows{drawn}"


def _is_answered(raw: Mapping[str, Any]) -> bool:
    """Say whether a row is a whole answer, as far as it says: an export of traffic holds failed requests, too."""
    return raw.get("status_code", OK) == OK and not raw.get("is_partial") and raw.get("error") != CLIENT_LEFT


def _row(path: Path, place: int, raw: Mapping[str, Any], label_field: str | None) -> Observation:
    """Turn a file's row into an observation."""
    prompt = _text(next((raw[name] for name in PROMPTS if name in raw), None), of_user=True)
    answer = _text(next((raw[name] for name in ANSWERS if name in raw), ""), of_user=False)
    if not isinstance(prompt, str) or not isinstance(answer, str | None):
        raise DataError(
            f"{path}:{place}: a row needs a text in one of the columns {', '.join(PROMPTS)}, and may have an answer in "
            f"{', '.join(ANSWERS)} and a label in label; this one has {', '.join(map(str, raw)) or 'none'}"
        )
    label = raw.get("label")
    said = label if isinstance(label, str) else label_of(answer or "", label_field) if label_field else None
    return Observation(id=f"{path.name}:{place}", prompt=prompt, answer=answer or "", label=said)


def _text(value: Any, *, of_user: bool) -> Any:
    """Return the text of a conversation in the form of a Dataset's rows; what is none comes back as it is."""
    if not isinstance(value, list) or not value:
        return value
    try:
        return last_text(value) if of_user else text_of(value[-1])
    except (TypeError, KeyError, IndexError, AttributeError):
        return value


def _jsonl(path: Path) -> Iterator[tuple[int, Mapping[str, Any]]]:
    with path.open(encoding="utf-8-sig") as file:
        for place, line in enumerate(file, 1):
            if not line.strip():
                continue
            try:
                raw = read_json(line)
            except ValueError as error:
                raise DataError(f"{path}:{place}: not JSON ({error})") from error
            if not isinstance(raw, dict):
                raise DataError(f"{path}:{place}: not a JSON object")
            yield place, raw


def _csv(path: Path) -> Iterator[tuple[int, Mapping[str, Any]]]:
    with path.open(encoding="utf-8-sig", newline="") as file:
        reader = csv.DictReader(file, strict=True)
        try:
            for raw in reader:
                if None in raw or None in raw.values():
                    raise DataError(f"{path}:{reader.line_num}: this row has another number of fields than the header")
                yield reader.line_num, raw
        except csv.Error as error:
            # The number is that of the last row that was whole; a quote that nobody closes swallows all lines after it.
            raise DataError(f"{path}:{reader.line_num + 1}: not CSV ({error})") from error


def _parquet(path: Path) -> Iterator[tuple[int, Mapping[str, Any]]]:
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError as error:
        raise ConfigError("Parquet needs the extra `parquet`: pip install -e '.[parquet]'; or give JSONL") from error
    wanted = {*PROMPTS, *ANSWERS, "label", "status_code", "is_partial", "error"}
    try:
        with pyarrow.parquet.ParquetFile(path) as file:
            names = [name for name in file.schema_arrow.names if name in wanted]
            place = 0
            for batch in file.iter_batches(columns=names):
                for raw in batch.to_pylist():
                    place += 1
                    yield place, raw
    except pyarrow.ArrowInvalid as error:
        raise DataError(f"{path} is no Parquet file ({error})") from error
