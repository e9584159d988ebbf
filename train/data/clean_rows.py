"""Cleans, deduplicates and splits rows on their way into a Dataset, and counts what is dropped."""

from collections.abc import Callable, Iterable, Sequence

from driftwheel.answers import right_label
from driftwheel.conversations import Message, text_of, with_text
from driftwheel.errors import DataError
from driftwheel.records import content_hash
from driftwheel.settings.data import DatasetSettings
from driftwheel.traffic.personal_data import redact
from train.data.cleaning import clean_answer, clean_prompt
from train.data.duplicates import text_hash
from train.data.examples import Example
from train.data.formats import Row
from train.data.splits import Deal, TimedSplits, split_by_label, split_by_time
from train.data.tally import Tally


def split(settings: DatasetSettings, deal: Deal) -> TimedSplits:
    """Split by time where the settings name its column, else by label."""
    if settings.time_column:
        return split_by_time(deal)
    return TimedSplits(split_by_label(deal, settings.seed))


def clean(settings: DatasetSettings, rows: Iterable[Row], tally: Tally) -> list[Example]:
    """Return the rows with clean texts and without repetitions; the report counts what was dropped."""
    seen: dict[str, str] = {}
    examples: list[Example] = []
    for row in rows:
        prompt = [_cleaned(settings, m, clean_prompt, tally) for m in row.prompt]
        completion = [_cleaned(settings, m, clean_answer, tally) for m in row.completion]
        answer = text_of(completion[-1])
        if not answer or not all(text_of(m) for m in prompt):
            tally.dropped["empty after cleaning"] += 1
            continue
        asked = [(m["role"], text_hash(text_of(m))) for m in prompt]
        key = content_hash([asked, row.tools] if row.tools else asked)
        if key in seen:
            tally.dropped["duplicate" if seen[key] == answer else "duplicate with another answer"] += 1
            continue
        seen[key] = answer
        examples.append(
            Example(
                id=key[:16],
                prompt=prompt,
                completion=completion,
                label=right_label(answer, settings.label_field),
                group=row.group or key[:16],
                time=row.time.isoformat(timespec="microseconds") if row.time else None,
                tools=row.tools,
                references=row.references,
            )
        )
        tally.places[examples[-1].id] = row.place
        if row.weight != 1:
            tally.weights[examples[-1].id] = row.weight
    return examples


def _cleaned(settings: DatasetSettings, message: Message, clean_text: Callable[[str], str], tally: Tally) -> Message:
    """Return a message with its text cleaned and treated; tool calls stay as they are."""
    text = message["content"]
    return message if text is None else with_text(message, _treated(settings, clean_text(text), tally))


def _treated(settings: DatasetSettings, text: str, tally: Tally) -> str:
    """Count personal data, and replace it if the settings say so."""
    redacted, found = redact(text)
    tally.personal_data += found
    return redacted if settings.redact else text


def stop_at_too_few(settings: DatasetSettings, examples: Sequence[Example], tally: Tally) -> None:
    """Raise DataError if fewer rows are left than `dataset.min_rows`."""
    if len(examples) < settings.min_rows:
        dropped = ", ".join(f"{n} {why}" for why, n in tally.dropped.items()) or "none dropped"
        raise DataError(
            f"only {len(examples)} of {tally.rows_in} rows can be used ({dropped}); dataset.min_rows asks for "
            f"{settings.min_rows}: give more rows"
        )
