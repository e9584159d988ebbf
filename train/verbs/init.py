"""Read a data file, say what is in it, and write the settings file of a new loop for it.

    driftwheel init tickets.csv
    driftwheel init tickets.csv --base Qwen/Qwen3-0.6B --project support

What the file does not say is asked on a terminal; elsewhere a flag says it, or the default that is printed holds.
"""

import argparse
import difflib
import os
import re
import sys
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import yaml

from driftwheel.errors import ConfigError, DataError
from driftwheel.settings.artifact import EvaluateSettings
from driftwheel.settings.data import HUB, DatasetSettings
from driftwheel.settings.settings import Settings
from driftwheel.text.answers import as_label, parse_object
from train.base_model import is_folder_or_hub_name
from train.data.checking.labels_alike import labels_alike, said_alike
from train.data.cleaning import clean_answer
from train.data.sources.formats import Reading, read_sources
from train.data.splitting.source_rows import nowhere

DEFAULT_BASE = "Qwen/Qwen3-0.6B"
PROMPT_NAMES = ("prompt", "question", "text", "input", "message", "query", "utterance", "sentence", "instruction")
ANSWER_NAMES = ("completion", "answer", "response", "output", "reply", "label", "intent", "category", "class", "target")
HEADER = "# The whole loop in one file; `driftwheel doctor` checks it.\n"
UNREAD_HEADER = (
    "# Not whole yet: the data cannot be read as it is; `driftwheel init` with the columns' names writes this anew.\n"
)
ROWS_PER_LABEL = 5
"""Answers that are said this often on average are labels, and not free text."""
LABEL_FIELDS = ("label", "intent", "category", "class", "sentiment", "topic", "type", "kind", "queue", "team", "target")
"""How a field of an answer is called that is the label; another is one only where it is the sole field, or named."""
SHOWN_LABELS = 8
USUAL_TOKENS, LONGEST_TOKENS = (EvaluateSettings.model_fields["max_tokens"].default, 1024)
FEWEST_ROWS: int = DatasetSettings.model_fields["min_rows"].default


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the verb's arguments."""
    what = f"examples: JSONL, JSON, CSV or Parquet, a folder of them, or {HUB}OWNER/NAME:SPLIT"
    parser.add_argument("data_file", nargs="?", metavar="FILE", help=what)
    parser.add_argument("--data", metavar="FILE", help="the same, as a flag")
    parser.add_argument("--project", help="name of the loop, such as support (the file's name)")
    parser.add_argument("--base", metavar="MODEL", help=f"folder or hub name of the base model ({DEFAULT_BASE})")
    parser.add_argument("--prompt-column", metavar="NAME", help="column with the prompt (found by its name)")
    parser.add_argument("--completion-column", metavar="NAME", help="column with the right answer (found by its name)")
    parser.add_argument("--label-field", metavar="FIELD", help="field of a JSON answer that is the label")
    parser.add_argument("--config", default="driftwheel.yaml", metavar="FILE", help="file to write (driftwheel.yaml)")


def main(arguments: argparse.Namespace) -> None:
    """Write the file; raises ConfigError if it exists, or the data does not."""
    path, named = Path(arguments.config), arguments.data_file or arguments.data
    if path.exists() and not (columns_of(arguments) and is_unread(path)):
        raise ConfigError(f"{path} exists already; give another name with --config, or remove it")
    if named is None:
        raise ConfigError("name a file with examples: driftwheel init YOUR_DATA.csv")
    if not named.startswith(HUB) and not Path(named).exists():
        raise ConfigError(f"no data file at {named}; name a file, a folder or a data set that is there")
    project = _checked(arguments.project) if arguments.project else project_name(named)
    found = look(named, columns_of(arguments))
    for line in found.said:
        sys.stdout.write(line + "\n")
    base = arguments.base or _ask(f"base model, a folder or a hub name [{DEFAULT_BASE}]: ") or DEFAULT_BASE
    sys.stdout.write(f"base     {base}" + ("" if arguments.base else " (--base chooses another)") + "\n")
    if not is_folder_or_hub_name(base):
        sys.stdout.write(
            "         is no folder here, and no hub name such as Qwen/Qwen3-0.6B: nothing trains without one\n"
        )
    dataset = {"sources": [named if named.startswith(HUB) else _beside(Path(named), path)], **found.keys}
    if label_field := arguments.label_field or found.label_field:
        dataset["label_field"] = label_field
    local = _beside(Path(base), path) if Path(base).is_dir() else base
    text = settings_text(project, local, dataset, found.max_tokens, header=HEADER if found.is_read else UNREAD_HEADER)
    path.write_text(text, encoding="utf-8")
    steps = "driftwheel doctor, driftwheel data check, driftwheel train, driftwheel publish"
    mend = "mend the file, or name its columns: driftwheel init with --prompt-column and --completion-column"
    sys.stdout.write(f"wrote    {path}\nnext: {steps if found.is_read else mend}\n")
    if not found.is_read and not found.asks_for_columns:  # a script that goes on would learn from nothing
        sys.stdout.flush()
        raise DataError(f"no row of {named} can be read, see above; {path} is written for when they can")


@dataclass(kw_only=True)
class Found:
    """What a data file says by itself."""

    keys: dict[str, object] = field(default_factory=dict)
    """Keys of the dataset section without which the file could not be read."""
    label_field: str | None = None
    max_tokens: int | None = None
    """Longest answer to generate, where that is more than the default."""
    said: list[str] = field(default_factory=list)
    """Lines for a person."""
    is_read: bool = True
    asks_for_columns: bool = False
    """It cannot be read only until somebody says which columns are meant."""


def _checked(project: str) -> str:
    """Return a project's name; raises ConfigError with one that is allowed, for it is the alias' name, too."""
    (pattern,) = (m.pattern for m in Settings.model_fields["project"].metadata if hasattr(m, "pattern"))
    if not re.fullmatch(pattern, project):
        near = re.sub(r"[^a-z0-9_-]+", "-", project.lower()).strip("-_")[:63] or "loop"
        raise ConfigError(
            f"--project {project!r} is no name for a loop: small letters, digits, - and _ are allowed, 63 at most; "
            f"such as {near}"
        )
    return project


def columns_of(arguments: argparse.Namespace) -> dict[str, object]:
    """Return the columns that flags name, as keys of the dataset section."""
    given = {"prompt_column": arguments.prompt_column, "completion_column": arguments.completion_column}
    return {key: name for key, name in given.items() if name}


def is_unread(path: Path) -> bool:
    """Ask whether a settings file is as `init` left it for data that it could not read: nobody wrote in it."""
    text = path.read_text(encoding="utf-8")
    if not text.startswith(UNREAD_HEADER):
        return False
    held = yaml.safe_load(text)
    tokens = held.get("evaluate", {}).get("max_tokens")
    return text == settings_text(held["project"], held["model"]["base"], held["dataset"], tokens, header=UNREAD_HEADER)


def look(data: str, columns: dict[str, object]) -> Found:
    """Read a file as its columns are called, and return what it holds; one that cannot be read is told, not refused."""
    found = Found(keys=columns)
    try:
        reading = _read(data, found)
    except DataError as error:
        found.is_read, found.asks_for_columns = False, "--prompt-column" in str(error)
        found.said.append(f"data     {error}")
        found.said.append("         once it can be read, `driftwheel data check` says what is in it")
        return found
    broken = "".join(f", {len(reading.broken)} broken ({b.place} {b.reason})" for b in reading.broken[:1])
    found.said.append(f"data     {len(reading.rows)} rows of {reading.name}{broken}")
    columns = {"format": reading.format, **found.keys}
    found.said.append("columns  " + ", ".join(f"{key} {value}" for key, value in columns.items()))
    found.is_read = bool(reading.rows)
    if len(reading.rows) < FEWEST_ROWS:
        found.said.append(f"         too few to split: dataset.min_rows asks for {FEWEST_ROWS}")
    _look_at_answers([row.answer for row in reading.rows], found)
    return found


def _read(data: str, found: Found) -> Reading:
    """Read a file; where its columns have other names, take those that are most usual, or ask."""
    try:
        return _together(data, found.keys)
    except DataError as error:
        names = re.search(r"it has (.+?), and no row is of a known format", str(error))
        if names is None:
            raise
        columns = names[1].split(", ")
        found.keys = {key: _meant(str(name), columns, key) for key, name in found.keys.items()}
        prompt = found.keys.get("prompt_column") or _column(columns, PROMPT_NAMES, "prompt")
        answer = found.keys.get("completion_column") or _column(columns, ANSWER_NAMES, "right answer")
        if not prompt or not answer:
            raise DataError(
                f"{_name(data)} has the columns {', '.join(columns)}: say which hold prompt and right answer with "
                "--prompt-column and --completion-column"
            ) from error
        found.keys = {"prompt_column": prompt, "completion_column": answer}
        return _together(data, found.keys)


def _meant(named: str, columns: Sequence[str], key: str) -> str:
    """Return the column that a flag means, whatever its case and the space around it; raises ConfigError for none."""
    folded = {column.strip().casefold(): column for column in columns}
    if named.strip().casefold() in folded:
        return folded[named.strip().casefold()]
    near = difflib.get_close_matches(named.casefold(), folded, n=1)
    hint = f" (did you mean {folded[near[0]]!r}?)" if near else ""
    raise ConfigError(f"--{key.replace('_', '-')}: no column {named!r}{hint}; there are {', '.join(columns)}")


def _name(data: str) -> str:
    """Return what a source is called in messages: `.` is the folder that it stands for."""
    return Path(data).name or Path(data).resolve().name


def _together(data: str, keys: dict[str, object]) -> Reading:
    """Read a source as one, however many files it has; raises DataError for one without rows, as a build does."""
    settings = DatasetSettings.model_validate({"sources": [data], **keys})
    files = read_sources(settings, [data])
    if unknown := nowhere(settings, {name for file in files for name in file.columns}):
        raise ConfigError(
            unknown.replace("dataset.prompt_column", "--prompt-column").replace(
                "dataset.completion_column", "--completion-column"
            )
        )
    formats = ", ".join(dict.fromkeys(file.format for file in files))
    name = _name(data) if len(files) == 1 else f"{len(files)} files of {_name(data)}"
    rows = [row for file in files for row in file.rows]
    return Reading(rows=rows, broken=[b for file in files for b in file.broken], format=formats, name=name)


def _column(columns: Sequence[str], usual: Sequence[str], what: str) -> str | None:
    """Return the column with the most usual name for something, else the one that a person names."""
    named = [column for name in usual for column in columns if column.lower() == name]
    if named:
        return named[0]
    said = _ask(f"which column holds the {what}? ({', '.join(columns)}): ")
    return said if said in columns else None


def _look_at_answers(answers: Sequence[str], found: Found) -> None:
    """Say which labels the answers are, or that they are free text, and how long they get."""
    objects = [value for answer in answers if (value := parse_object(answer)) is not None]
    if answers and len(objects) == len(answers):
        fields = Counter(key for value in objects for key in value)
        labels = {key: seen for key in fields if (seen := _values([value.get(key) for value in objects]))}
        usable = list(labels)
        is_clear = len(usable) == 1 and (len(fields) == 1 or usable[0].lower() in LABEL_FIELDS)
        found.label_field = usable[0] if is_clear else _asked_field(usable)
        chosen = f", label_field {found.label_field}" if found.label_field else ""
        if usable and not found.label_field:
            chosen = f"; which one is the label, if one is? --label-field names it ({', '.join(usable)})"
        found.said.append(f"answers  JSON with {', '.join(fields)}{chosen}")
        if found.label_field:
            found.said.append(_labels(labels[found.label_field]))
    elif answers:
        seen = Counter(map(clean_answer, answers))
        is_text = len(seen) * ROWS_PER_LABEL > len(answers)
        found.said.append(f"answers  free text, {len(seen)} different ones" if is_text else _labels(seen))
        if alike := [] if is_text else labels_alike(seen):
            found.said.append(f"         {said_alike(alike)} are different labels to a model: make each pair one")
    longest = max(map(len, answers), default=0)
    tokens = USUAL_TOKENS
    while tokens < longest / 2 and tokens < LONGEST_TOKENS:  # a token is two letters or more, but for rare scripts
        tokens *= 2
    found.max_tokens = tokens if tokens > USUAL_TOKENS else None


def _values(values: Sequence[object]) -> Counter[str] | None:
    """Count a field's values; None where they are no labels: one in all, hardly any twice, or not all plain."""
    texts = [value if isinstance(value, str) else as_label(value) for value in values]
    seen = Counter(text for text in texts if text is not None)
    is_usable = len(seen) > 1 and len(seen) * ROWS_PER_LABEL <= len(values) == seen.total()
    return seen if is_usable else None


def _asked_field(usable: Sequence[str]) -> str | None:
    if not usable:
        return None
    said = _ask(f"which field of the answers is the label? ({', '.join(usable)}; none): ")
    return said if said in usable else None


def _labels(seen: Counter[str]) -> str:
    shown = ", ".join(f"{label} ({count})" for label, count in seen.most_common(SHOWN_LABELS))
    return f"labels   {len(seen)}: {shown}{', ...' if len(seen) > SHOWN_LABELS else ''}"


def _ask(question: str) -> str | None:
    """Ask a person; None where nobody sits at a terminal."""
    if not (sys.stdin.isatty() and sys.stdout.isatty()):
        return None
    try:
        return input(question).strip() or None
    except EOFError:
        return None


def project_name(data: str) -> str:
    """Return a name for the loop of a source of data: the file's, folder's or data set's, as far as names allow."""
    of_hub = data.removeprefix(HUB).partition(":")[0].partition("@")[0] if data.startswith(HUB) else data
    name = re.sub(r"[^a-z0-9_-]+", "-", Path(of_hub).resolve().name.partition(".")[0].lower()).strip("-_")
    return name[:63] or "loop"


def _beside(path: Path, config: Path) -> str:
    """Return a path as the settings file names it: from its own folder, or absolute where that is far away."""
    relative = os.path.relpath(path.resolve(), config.resolve().parent)
    return str(path.resolve()) if relative.startswith(os.pardir) else relative


def settings_text(
    project: str, base: str, dataset: dict[str, object], max_tokens: int | None, header: str = HEADER
) -> str:
    """Return the YAML of a new loop; every key left out has the default of the settings table."""
    sections: dict[str, object] = {
        "project": project,
        "model": {"base": base},
        "dataset": dataset,
        "train": {"method": "lora", "num_train_epochs": 3, "learning_rate": 2e-4},
        "quantize": {"scheme": "auto"},
        **({"evaluate": {"max_tokens": max_tokens}} if max_tokens else {}),
        "serve": {"alias": project, "port": 8000},
        "policy": {"approval": "retrain"},
    }
    return header + yaml.safe_dump(sections, sort_keys=False)
