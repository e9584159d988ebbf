"""Names a remedy for what a check of data files found: a setting to change, or what to mend in the files."""

from collections.abc import Mapping

from driftwheel.records.dataset_report import SharedFrame
from driftwheel.settings.data import DatasetSettings
from driftwheel.traffic.personal_data import excerpt
from train.data.checking.findings import Findings
from train.data.checking.labels_alike import said_alike
from train.data.sources.row_shapes import PLAIN

FREE_TEXT_ROWS = 5
"""With fewer rows for each different answer the answers are texts, and no labels."""
SHOWN_ONCE = 5
UNEVEN = 10
"""From so many times the rows on, a common label drowns a rare one."""

Remedies = Mapping[str, object]
"""Sentences, each with what must be true for it to be said."""


def remedies(settings: DatasetSettings, found: Findings) -> list[str]:
    """Return a sentence for each finding that a setting or an edit puts right."""
    sentences = {
        **_of_files(settings, found),
        **_of_answers(settings, found),
        **_of_prompts(settings, found),
        **_of_size(settings, found),
    }
    return [sentence for sentence, holds in sentences.items() if holds]


def _of_files(settings: DatasetSettings, found: Findings) -> Remedies:
    broken = sum(file.broken for file in found.files)
    unused = sorted({name for file in found.files for name in file.unused})
    return {
        f"A build stops: {found.missing_column}.": found.missing_column,
        f"{broken} broken rows stop a build: mend them, name their shape with dataset.format, or raise "
        "dataset.max_broken_share.": broken > settings.max_broken_share * (found.rows + broken),
        f"Nothing is learned from {', '.join(unused)}: see the table of files.": unused,
        "Plain text has no answers to learn, and stops a build: leave it out.": any(
            file.format == PLAIN for file in found.files
        ),
    }


def _of_answers(settings: DatasetSettings, found: Findings) -> Remedies:
    bad, pairs = sum(file.bad for file in found.files), sum(file.pairs for file in found.files)
    once, useless = len(found.labels_seen_once), found.useless_answers
    is_free_text = found.distinct_labels * FREE_TEXT_ROWS > found.rows
    named = ", ".join(map(excerpt, found.labels_seen_once[:SHOWN_ONCE])) + (", ..." if once > SHOWN_ONCE else "")
    most, least = max(found.labels.values(), default=1), min(found.labels.values(), default=1)
    return {
        f"{bad} answers are marked as bad and are not learned; train.objective kto learns to avoid them.": bad,
        f"Of {pairs} pairs the better answer is learned; train.objective dpo learns from both.": pairs,
        "The answers are read as free text, and judged by how like a right one they are: if they are JSON, name the "
        "label's field with dataset.label_field.": is_free_text and not settings.label_field,
        f"The commonest label has {most // least} times the rows of the rarest shown: add rows of the rare ones.": (
            not is_free_text and most > UNEVEN * least
        ),
        f"{once} labels stand on one row each: correct them if they are misspelled, else add rows ({named}).": once,
        f"{said_alike(found.labels_alike)} are different labels to a model: write each in one way.": found.labels_alike,
        f"{found.conflicts.prompts} prompts have different answers, and a build keeps the first: correct the others, "
        "or set dataset.same_prompt to references if all are right.": found.conflicts.prompts,
        f"{found.references.prompts} prompts have several answers, and all of them count as right: set "
        "dataset.same_prompt to conflict if only one is.": found.references.prompts,
        f"{useless.empty} right answers are empty: a build leaves such rows out, and an empty reference grades "
        "nothing.": useless.empty,
        f"{useless.echoed} right answers only repeat their prompt: a model that copies would be right; take them "
        "out, unless the task is to copy.": useless.echoed,
    }


def _of_prompts(settings: DatasetSettings, found: Findings) -> Remedies:
    near = found.near_duplicates
    mended, stripped = (found.cleaning[how].prompts if found.cleaning else 0 for how in ("unicode", "strip"))
    return {
        f"{mended} prompts have broken encodings or invisible characters: mend the file, or set dataset.clean to "
        "unicode; the served model is asked what users send.": mended and settings.clean == "off",
        f"{stripped} prompts hold HTML, or space around them, and stay as they are: set dataset.clean to strip if what "
        "users send has none.": stripped and settings.clean != "strip",
        f"Nearly all prompts {_shared_words(near.shared)}, and are compared without that: it belongs into a column "
        "`system` if the served model gets it as a system message.": near.shared.before or near.shared.after,
        "Near duplicates stay in one split: raise dataset.near_duplicate_similarity if the pairs shown are different "
        "questions.": near.pairs,
        f"Near duplicates were looked for among the first {near.rows_compared:,} prompts only; a build compares "
        "all.": near.rows_left_out,
        "There is personal data: set dataset.redact to true to replace it.": found.personal_data
        and not settings.redact,
        "Look at the outliers, and remove those that are not what users send.": found.outliers,
    }


def _of_size(settings: DatasetSettings, found: Findings) -> Remedies:
    cut, template = found.rows_cut_by_max_length, found.template
    return {
        f"{template.faults} of {template.rows_checked} rows looked at cannot be learned with the chat template, and "
        "stop a training: see the reasons.": template.faults,
        f"{cut} rows are longer than train.max_length and stop a build: set it to "
        f"{found.tokens.max if found.tokens else 0}, or take them out.": cut,
        f"There are fewer rows than dataset.min_rows ({settings.min_rows}): add some.": found.rows < settings.min_rows,
    }


def _shared_words(shared: SharedFrame) -> str:
    """Say what prompts begin and end with, cut to what a line holds."""
    parts = [("begin", shared.before.strip()), ("end", shared.after.strip())]
    return " and ".join(f"{verb} with {excerpt(text)!r}" for verb, text in parts if text)
