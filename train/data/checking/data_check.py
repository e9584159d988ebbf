"""Checks the rows of data files before training: what is in them, and what a training would stumble over.

Nothing is changed and nothing is recorded; the base model is only asked for its tokenizer.
"""

from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from driftwheel.errors import ConfigError, NotFoundError
from driftwheel.settings.data import Base, DatasetSettings
from driftwheel.text.answers import right_label
from driftwheel.text.conversations import text_of
from driftwheel.traffic.personal_data import excerpt, find_personal_data
from train.base_model import base_ends, load_base_tokenizer
from train.data.checking.cleaning_preview import preview
from train.data.checking.findings import (
    AnswersFound,
    Conflicts,
    Duplicates,
    FileFound,
    Findings,
    NearPairs,
    Outlier,
    PersonalDataFound,
    References,
    TemplateFound,
)
from train.data.checking.labels_alike import labels_alike
from train.data.checking.remedies import FREE_TEXT_ROWS, remedies
from train.data.cleaning import clean_answer, clean_prompt, folded
from train.data.examples import Example
from train.data.near_duplicates.duplicates import NearDuplicates
from train.data.sources.formats import Row, read_sources
from train.data.sources.row_shapes import PLAIN
from train.data.splitting.clean_rows import with_own_text
from train.data.splitting.same_prompts import are_references
from train.data.splitting.shared_frame import Compared, measured
from train.data.splitting.source_rows import nowhere
from train.data.splitting.tally import SHOWN_UNUSED, Tally, labels_seen_once, measure, quantiles, shown_broken
from train.data.splitting.template_check import faults, templated
from train.data.tokens.learned_tokens import Learn, each_learned

SHOWN_EXAMPLES, SHOWN_LABELS, SHOWN_ONCE, SHOWN_OUTLIERS = 5, 20, 50, 50
"""What a person reads on a screen or two; the counts beside them are of all rows."""
LANGUAGE_ROWS, LANGUAGE_CHARACTERS, LANGUAGE_SHARE = 2000, 20, 0.01
"""Languages are told from so many rows at most, of so many characters at least; rarer ones are mistaken short texts."""
OUTLIER_FACTOR, NEAR_EMPTY_LETTERS, ODD_SHARE = 4, 3, 0.3
"""An outlier is so many times the 95th percentile long, has fewer letters, or so large a share of odd characters."""
NEAR_DUPLICATE_ROWS = 200_000
"""Near duplicates are looked for among the first so many rows, which takes minutes; a build looks among all."""
TEMPLATE_ROWS = 2000
"""The chat template is tried on about so many rows, which takes some seconds; a training tries it on all."""


@dataclass(frozen=True)
class PlacedRow:
    """A cleaned row and where it stands."""

    place: str
    example: Example


def check_files(
    settings: DatasetSettings,
    base: Base,
    max_length: int,
    sources: Sequence[str | Path],
    compared_rows: int = NEAR_DUPLICATE_ROWS,
    learn: Learn = "last",
) -> Findings:
    """Return all findings about some files; raises DataError if one cannot be read."""
    files, rows, prompts, columns = [], list[PlacedRow](), list[tuple[str, str]](), set[str]()
    for reading in read_sources(settings, sources):
        columns |= reading.columns
        counts = {"rows": len(reading.rows), "broken": len(reading.broken)}
        shown = shown_broken(reading.broken)
        counts |= {"pairs": sum(row.rejected is not None for row in reading.rows)}
        counts |= {"bad": sum(row.is_good is False for row in reading.rows)}
        unused = sorted(reading.unused)[:SHOWN_UNUSED]
        files.append(FileFound(file=reading.name, format=reading.format, **counts, broken_rows=shown, unused=unused))
        if reading.format != PLAIN:
            learned = [row for row in reading.rows if row.is_good is not False]
            rows += [_placed(settings, row) for row in learned]
            prompts += [(row.place, text_of(m)) for row in learned for m in row.prompt if m["role"] != "assistant"]
    examples, labels = [row.example for row in rows], Counter(str(row.example.label) for row in rows)
    is_free_text = len(labels) * FREE_TEXT_ROWS > len(rows) and not settings.label_field
    repeated = _repeated(rows)
    all_right = are_references(settings, [example.answer for example in examples])
    found = Findings(
        files=files,
        rows=len(rows),
        labels=dict(labels.most_common(SHOWN_LABELS)),
        distinct_labels=len(labels),
        labels_seen_once=labels_seen_once(examples)[:SHOWN_ONCE],
        labels_alike=[] if is_free_text else labels_alike(labels),
        is_free_text=is_free_text,
        missing_column=nowhere(settings, columns) if rows else None,
        **(vars(measure(base, max_length, examples, Tally())) if rows else {}),
        languages=_languages(rows),
        duplicates=_duplicates(repeated),
        conflicts=_conflicts([] if all_right else repeated),
        references=_references(repeated if all_right else []),
        cleaning=preview(prompts),
        useless_answers=_useless_answers(rows),
        near_duplicates=_near_pairs(settings, repeated, compared_rows),
        personal_data=_personal_data(rows),
        outliers=_outliers(rows),
        template=_template(base, rows, learn),
    )
    return replace(found, suggestions=remedies(settings, found))


def _placed(settings: DatasetSettings, row: Row) -> PlacedRow:
    prompt = [
        m if m["role"] == "assistant" else with_own_text(m, partial(clean_prompt, how=settings.clean))
        for m in row.prompt
    ]
    completion = [with_own_text(m, clean_answer) for m in row.completion]
    references = [clean_answer(text) for text in row.references]
    example = Example(
        row.place, prompt, completion, None, row.group or row.place, tools=row.tools, references=references
    )
    label = None if "tool_calls" in completion[-1] else right_label(example.answer, settings.label_field)
    return PlacedRow(row.place, replace(example, label=label))


def _languages(rows: Sequence[PlacedRow]) -> dict[str, float]:
    """Return the share of prompts in each language, the likeliest for each row, by ISO 639-1 code."""
    import py3langid

    texts = [row.example.text for row in rows if len(row.example.text) >= LANGUAGE_CHARACTERS]
    texts = texts[:: max(1, len(texts) // LANGUAGE_ROWS)]
    found = Counter(py3langid.classify(text)[0] for text in texts)
    shares = {language: count / len(texts) for language, count in found.most_common()}
    return {language: round(share, 3) for language, share in shares.items() if share >= LANGUAGE_SHARE}


def _repeated(rows: Sequence[PlacedRow]) -> list[list[PlacedRow]]:
    """Return the rows in groups of the same conversation, whatever their case, accents and punctuation."""
    same: dict[tuple[str, ...], list[PlacedRow]] = defaultdict(list)
    for row in rows:
        same[tuple(f"{m['role']} {folded(text_of(m))}" for m in row.example.prompt)].append(row)
    return list(same.values())


def _duplicates(groups: Sequence[Sequence[PlacedRow]]) -> Duplicates:
    repeated = [group for group in groups if len(group) > 1]
    return Duplicates(rows=sum(len(group) - 1 for group in repeated), examples=_shown(repeated))


def _conflicts(groups: Sequence[Sequence[PlacedRow]]) -> Conflicts:
    conflicts = [group for group in groups if len({row.example.answer for row in group}) > 1]
    return Conflicts(prompts=len(conflicts), examples=_shown(conflicts))


def _references(groups: Sequence[Sequence[PlacedRow]]) -> References:
    several = [group for group in groups if len({row.example.answer for row in group}) > 1]
    answers = sum(len({row.example.answer for row in group}) for group in several)
    return References(prompts=len(several), answers=answers, examples=_shown(several))


def _useless_answers(rows: Sequence[PlacedRow]) -> AnswersFound:
    """Return the rows of which a right answer is empty, or the prompt again whatever its case and punctuation."""
    empty = [row.place for row in rows if not all(text.strip() for text in row.example.answers)]
    echoed = [
        row.place
        for row in rows
        if (asked := folded(row.example.text)) and any(folded(text) == asked for text in row.example.answers)
    ]
    shown = [f"{place} empty" for place in empty] + [f"{place} the prompt again" for place in echoed]
    return AnswersFound(empty=len(empty), echoed=len(echoed), examples=shown[:SHOWN_EXAMPLES])


def _near_pairs(settings: DatasetSettings, groups: Sequence[Sequence[PlacedRow]], compared_rows: int) -> NearPairs:
    firsts = [group[0] for group in groups][:compared_rows]
    conversations = [row.example.conversation for row in firsts]
    shared = measured(conversations)
    pairs = NearDuplicates(Compared(shared).texts(conversations), settings.near_duplicate_similarity).pairs()
    return NearPairs(
        shared=shared,
        pairs=len(pairs),
        rows_compared=len(firsts),
        rows_left_out=len(groups) - len(firsts),
        examples=_shown([[firsts[m.asked], firsts[m.found]] for m in pairs]),
    )


def _shown(groups: Sequence[Sequence[PlacedRow]]) -> list[list[str]]:
    return [
        [f"{row.place} {excerpt(row.example.text)!r} -> {row.example.answer[:40]}" for row in group[:3]]
        for group in groups[:SHOWN_EXAMPLES]
    ]


def _personal_data(rows: Sequence[PlacedRow]) -> dict[str, PersonalDataFound]:
    """Return, for each kind, how many pieces there are and some of them, masked."""
    pieces: dict[str, list[str]] = defaultdict(list)
    for row in rows:
        for text in (*(text_of(m) for m in row.example.prompt), row.example.answer):
            for piece in find_personal_data(text):
                pieces[piece.kind].append(f"{row.place} {piece.masked}")
    return {k: PersonalDataFound(count=len(own), examples=own[:SHOWN_EXAMPLES]) for k, own in pieces.items()}


def _template(base: Base, rows: Sequence[PlacedRow], learn: Learn) -> TemplateFound:
    """Return what the base's template does with the rows: some of each order of roles, and others evenly."""
    try:
        tokenizer = load_base_tokenizer(base)
    except (ConfigError, NotFoundError):
        return TemplateFound()  # the lengths say why
    kinds = {tuple(m["role"] for m in row.example.prompt): row for row in reversed(rows)}
    chosen = {id(row): row for row in (*kinds.values(), *rows[:: len(rows) // TEMPLATE_ROWS + 1])}.values()
    said = [templated(turn, row.place) for row in chosen for turn in each_learned([row.example], learn)]
    by_row = {fault.row: fault for fault in faults(tokenizer, base_ends(base, tokenizer), said)}
    found = list(by_row.values())
    return TemplateFound(
        rows_checked=len(chosen),
        faults=len(found),
        examples=[f"{fault.row} {fault.reason}" for fault in found[:SHOWN_EXAMPLES]],
    )


def _outliers(rows: Sequence[PlacedRow]) -> list[Outlier]:
    """Return rows that are much longer than the others, nearly empty, or made of odd characters."""
    if not rows:
        return []
    longest_prompt = OUTLIER_FACTOR * max(quantiles([len(r.example.text) for r in rows]).p95, 20)
    longest_answer = OUTLIER_FACTOR * max(quantiles([len(r.example.answer) for r in rows]).p95, 20)
    found = list[Outlier]()
    for row in rows:
        text, answer = row.example.text, row.example.answer
        odd = sum(not (c.isalnum() or c.isspace() or c in ".,;:!?'\"()[]{}<>/-+*=%&@#$€£_|\\`~^") for c in text)
        reasons = {
            "its prompt is much longer than the others": len(text) > longest_prompt,
            "its answer is much longer than the others": len(answer) > longest_answer,
            "its prompt is nearly empty": sum(map(str.isalnum, text)) < NEAR_EMPTY_LETTERS,
            "its answer is empty": not answer,
            "its prompt has broken or odd characters": "\ufffd" in text or odd > ODD_SHARE * max(1, len(text)),
        }
        found += [Outlier(place=row.place, why=why, text=excerpt(text)) for why, holds in reasons.items() if holds]
    return found[:SHOWN_OUTLIERS]
