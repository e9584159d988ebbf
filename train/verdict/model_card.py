"""Writes the model card of a ModelVersion in Markdown."""

import re
from collections.abc import Sequence
from typing import Any

from driftwheel.evidence.intervals import share_interval
from driftwheel.inert_text import inert
from driftwheel.records.gate_verdict import GateVerdict, SliceVerdict
from driftwheel.records.lineage import Lineage
from driftwheel.records.nouns import Dataset, ModelVersion, TrainingRun
from driftwheel.records.scorecard import EarlierBaseline, PromptScore, Scorecard, SliceScore, headline
from driftwheel.text.grades import MEANINGS

MEASURES = {
    "grade": "mean grade by the criterion",
    "ungraded": "answers without a grade",
    "accuracy": "accuracy",
    "exact_match": "exact match",
    "precision_macro": "precision, macro",
    "recall_macro": "recall, macro",
    "macro_f1": "F1, macro",
    "precision_micro": "precision, micro",
    "recall_micro": "recall, micro",
    "micro_f1": "F1, micro",
    "calibration_error": "expected calibration error",
    "brier": "Brier score of the confidence",
    "json_validity": "valid JSON",
    "object_match": "whole object right",
    "outside_label_set": "label unknown to training",
    "outside_schema": "field or value unknown to training",
    "outside_prompt": "answer not wholly from the prompt",
    "invented": "text with a fact that its prompt lacks",
    "prompt_overlap": "trigrams of an answer that the prompt holds",
    "rouge_1": "ROUGE-1",
    "rouge_2": "ROUGE-2",
    "rouge_l": "ROUGE-L",
    "bleu": "BLEU (0 to 100)",
    "chrf": "chrF (0 to 100)",
    "token_f1": "F1 of the words",
    "perplexity": "perplexity of the references",
    "latency_p50_seconds": "latency, median, s",
    "latency_p95_seconds": "latency, 95 %, s",
    "prompt_tokens_mean": "tokens of a prompt",
    "completion_tokens_mean": "tokens of an answer",
    "completion_tokens_per_second": "answer tokens a second, all streams",
}
MOST_LABELS = 40
"""A card with more lines would not be read; the scorecard holds every label."""


def model_card(version: ModelVersion, run: TrainingRun, dataset: Dataset) -> str:
    """Return the card's text."""
    sections = [
        f"# {_plain(version.project)} v{version.number}",
        f"`{version.id}`, {version.status.value} {version.created_at:%Y-%m-%d %H:%M} UTC",
        _what_it_is(version, run),
        _data(dataset),
        _training(run),
        _scores(version.scorecard),
        _slices(version.scorecard),
        _fields(version.scorecard),
        _labels(version.scorecard),
        _robustness(version.scorecard),
        _general(version.scorecard, version.verdict),
        _parity(version.scorecard),
        _gate(version.verdict),
        _limits(version, dataset),
        _lineage(version.lineage),
    ]
    return "\n\n".join(section for section in sections if section) + "\n"


def _what_it_is(version: ModelVersion, run: TrainingRun) -> str:
    return (
        "## What it is\n\n"
        f"{_plain(version.base_model)}, fine-tuned ({run.method}) for the project {_plain(version.project)}, "
        f"{_form(version)} and served by vLLM. "
        f"The scores below are of exactly these files (content hash `{version.manifest_hash}`)."
    )


def _form(version: ModelVersion) -> str:
    if version.lineage.served_as == "adapter":
        return "stored as an adapter, loaded beside the base model"
    return f"stored with quantization `{version.quantization}`"


def _data(dataset: Dataset) -> str:
    origin = "files" if dataset.origin == "files" else f"live traffic, asked for by `{dataset.origin}`"
    return (
        f"## Data\n\n`{dataset.id}`, from {origin}: {dataset.train_rows} rows to train on, "
        f"{dataset.validation_rows} to choose the checkpoint, {dataset.test_rows} held out for the scores.\n\n"
        f"Content hash `{dataset.content_hash}`."
    )


def _training(run: TrainingRun) -> str:
    section = run.settings.get("train", run.settings)
    wanted = ("learning_rate", "num_train_epochs", "max_steps", "per_device_train_batch_size", "lora_r", "lora_alpha")
    rows = [("method", run.method), ("seed", run.seed), *((k, section[k]) for k in wanted if k in section)]
    rows += run.metrics.known().items()
    return f"## Training\n\n`{run.id}`\n\n" + _table(["", "value"], [[_plain(k), _number(v)] for k, v in rows])


def _scores(scorecard: Scorecard) -> str:
    baseline = scorecard.baseline or {}
    prompts = list(baseline.values())
    header = ["", "this version", *(f"base model, {name.replace('_', '-')} prompt" for name in baseline)]
    rows = [["items", _number(scorecard.items), *(_number(prompt.items) for prompt in prompts)]]
    for key, title in MEASURES.items():
        if getattr(scorecard, key) is not None:
            rows.append([title, _measure(scorecard, key), *(_measure(prompt, key) for prompt in prompts)])
    notes = [f"Base model, {name}: {_plain(prompt.note)}" for name, prompt in baseline.items() if prompt.note]
    if not baseline:
        notes.append(_earlier_baseline(scorecard.earlier_baseline))
    place = f"On the test split of `{scorecard.dataset_id}`, asked greedily. In brackets 95 % intervals (Wilson)."
    if scorecard.criterion is not None:
        place += f" The criterion is `{scorecard.criterion}`: {MEANINGS[scorecard.criterion]}, from 0 to 1."
    return "\n\n".join(["## Scores", place, _table(header, rows), *notes])


def _earlier_baseline(earlier: EarlierBaseline | None) -> str:
    if earlier is None:
        return "The base model was not asked on this dataset."
    found = {name.replace("_", "-"): headline(card) for name, card in earlier.prompts.items()}
    measure = next((one.name for one in found.values() if one), "accuracy")
    reached = "; ".join(f"{name} {_with_interval(h.value, h.interval) if h else '-'}" for name, h in found.items())
    return f"The base model was asked on `{earlier.dataset_id}`, other test items; its {measure} there: {reached}."


def _slices(scorecard: Scorecard) -> str:
    is_graded = scorecard.criterion is not None
    rows = [
        [name, str(s.items), _with_interval(s.grade, s.grade_interval) if is_graded else _accuracy(s)]
        for name, s in scorecard.slices.items()
    ]
    return _table(["slice", "items", "mean grade" if is_graded else "accuracy"], rows) if len(rows) > 1 else ""


def _accuracy(part: SliceScore) -> str:
    return _with_interval(part.accuracy, share_interval(round(part.accuracy * part.items), part.items))


def _parity(scorecard: Scorecard) -> str:
    """Show how far each form of the model is from the one before it; agreement is of whole greedy answers."""
    rows = []
    for hop in scorecard.parity or ():
        row = [hop.hop, _number(hop.items), _with_interval(hop.accuracy, hop.accuracy_interval)]
        if hop.against is not None:
            gaps = hop.mean_logprob_difference, hop.max_logprob_difference
            row += [hop.against, _with_interval(hop.agreement, hop.agreement_interval), *map(_number, gaps)]
        if hop.noise is not None:
            row += [_number(hop.noise.loss_share), _with_interval(hop.noise.own_share, hop.noise.own_interval)]
        rows.append(row + ["-"] * (9 - len(row)))
    if not rows:
        return ""
    header = ["form", "items", "accuracy", "against", "same greedy answers", "mean nats apart", "most nats apart"]
    header += ["noise, share of the loss", "change beyond it"]
    text = (
        "The same prompts through each form of the model, 95 % intervals. Nats are differences of log-probabilities of "
        "the reference answers' tokens. Noise is how far the same files are from themselves when they are read twice; "
        "the interval of the change beyond it is 98 %."
    )
    passed_over = [f"Passed over: {_plain(reason)}" for hop in scorecard.parity or () for reason in hop.coarser or ()]
    return "\n\n".join(["## What is served is what was trained", text, _table(header, rows), *passed_over])


def _fields(scorecard: Scorecard) -> str:
    rows = [
        [_plain(name), str(found.items), _with_interval(found.accuracy, found.interval)]
        for name, found in (scorecard.fields or {}).items()
    ]
    return _table(["field of the answer", "items", "accuracy"], rows) if rows else ""


def _labels(scorecard: Scorecard) -> str:
    """Show the labels with the lowest F1 first: those are what a reader looks for."""
    worst = sorted((scorecard.labels or {}).items(), key=lambda entry: entry[1].f1)[:MOST_LABELS]
    rows = [
        [
            _plain(name),
            str(found.items),
            _with_interval(found.precision, found.precision_interval),
            _with_interval(found.recall, found.recall_interval),
            _number(found.f1),
        ]
        for name, found in worst
    ]
    return _table(["label, worst first", "items", "precision", "recall", "F1"], rows) if rows else ""


def _robustness(scorecard: Scorecard) -> str:
    kinds = scorecard.robustness or {}
    rows = [
        [
            kind.replace("_", " "),
            str(found.items),
            _with_interval(found.accuracy_before, found.accuracy_before_interval),
            _with_interval(found.accuracy, found.accuracy_interval),
            _with_interval(found.drop, found.drop_interval),
            _with_interval(found.same_answer, found.same_answer_interval),
        ]
        for kind, found in kinds.items()
        if found.items
    ]
    if not rows:
        return ""
    header = ["the same questions with", "items", "accuracy before", "accuracy", "drop", "same answer"]
    notes = [f"{kind}: {_plain(found.note)}" for kind, found in kinds.items() if found.note]
    return "\n\n".join(["## Robustness", _table(header, rows), *notes])


def _general(scorecard: Scorecard, verdict: GateVerdict) -> str:
    """Return what the version can do beside its task, and how that differs from the live version's."""
    changes = verdict.general or {}
    rows = [
        [_plain(task), _plain(metric), *map(_number, (found.get("items"), *score)), *map(_number, change)]
        for task, found in (scorecard.general or {}).items()
        for metric, score in found.items()
        if isinstance(score, tuple)
        for change in [changes.get(task, {}).get(metric, (None, None))]
    ]
    header = ["task", "metric", "items", "score", "standard error", "against the live version", "standard error"]
    return f"## General tasks\n\n{_table(header, rows)}" if rows else ""


def _gate(verdict: GateVerdict) -> str:
    text = f"## Gate\n\n**{verdict.verdict or 'not judged'}**: {_plain(verdict.reason)}"
    if verdict.override is not None:
        who, why = _plain(verdict.override.by), _plain(verdict.override.reason)
        text += f"\n\n**Overridden** by {who} at {verdict.override.at}: {why}"
    header = ["slice", "asked", "items", "this version", "against", "difference", "interval", "limit", "verdict"]
    watched = verdict.watched.worst if verdict.watched else ()
    rows = [_gate_row(entry) for entry in (*verdict.slices, *(e for e in watched if e.verdict != "REJECT"))]
    parts = [text, _table(header, rows) if rows else "", *map(_plain, verdict.notes)]
    return "\n\n".join(part for part in parts if part)


def _gate_row(entry: SliceVerdict) -> list[str]:
    numbers = entry.items, entry.candidate_accuracy, entry.live_accuracy, entry.difference
    return [
        _plain(entry.slice),
        entry.role,
        *map(_number, numbers),
        " to ".join(map(_number, entry.interval or ())),
        _number(entry.margin),
        entry.verdict,
    ]


def _limits(version: ModelVersion, dataset: Dataset) -> str:
    lines = [
        "It was scored on requests like those of its dataset; on others it is untested.",
        "Latency was measured on the machine that evaluated it, with many requests in flight.",
    ]
    if dataset.test_rows < 100:
        lines.append(f"The test split has only {dataset.test_rows} rows: every score is uncertain by many points.")
    if version.scorecard.unanswered:
        lines.append(f"{version.scorecard.unanswered} items were refused (too long) and count as wrong.")
    if version.status.value == "rejected":
        lines.append("The gate turned it down: it may not serve traffic and is kept for the record.")
    return "## Limits\n\n" + "\n".join(f"- {line}" for line in lines)


def _lineage(lineage: Lineage) -> str:
    facts = {name: value for name, value in vars(lineage).items() if isinstance(value, str | int)}
    rows = [[name.replace("_", " "), _code(value)] for name, value in facts.items()]
    rows += [[name, _code(number)] for name, number in lineage.libraries.items()]
    return "## Lineage\n\n" + _table(["", "value"], rows)


def _table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def _measure(card: Scorecard | PromptScore, key: str) -> str:
    return _with_interval(getattr(card, key, None), (card.intervals or {}).get(key))


def _with_interval(value: float | None, interval: Sequence[float] | None) -> str:
    return _number(value) if interval is None else f"{_number(value)} [{interval[0]:.3g}, {interval[1]:.3g}]"


def _number(value: Any) -> str:
    if value is None:
        return "-"
    return f"{value:.4g}" if isinstance(value, float) else _plain(str(value))


def _code(value: Any) -> str:
    """Show a value verbatim; backslashes would be shown too, so what would end the code is replaced."""
    return "`" + inert(" ".join(str(value).split())).translate({ord("`"): "'", ord("|"): "/"}) + "`"


def _plain(text: str) -> str:
    """Keep a name or message from becoming markup or a second table cell."""
    return re.sub(r"([\\`*_<>\[\]|])", r"\\\1", inert(" ".join(text.split())))
