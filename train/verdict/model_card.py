"""A ModelVersion with its run and dataset becomes a model card in Markdown."""

import re
from collections.abc import Mapping, Sequence
from typing import Any

from driftwheel.intervals import share_interval
from driftwheel.records import Dataset, ModelVersion, TrainingRun

MEASURES = {
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
    if version.lineage.get("served_as") == "adapter":
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


def _scores(scorecard: Mapping[str, Any]) -> str:
    baseline: Mapping[str, Any] = scorecard.get("baseline") or {}
    names = list(baseline)
    header = ["", "this version", *(f"base model, {name.replace('_', '-')} prompt" for name in names)]
    rows = [["items", _number(scorecard.get("items")), *(_number(baseline[n].get("items")) for n in names)]]
    for key, title in MEASURES.items():
        if scorecard.get(key) is not None:
            rows.append([title, *(_measure(card, key) for card in (scorecard, *(baseline[n] for n in names)))])
    notes = [f"Base model, {n}: {_plain(baseline[n]['note'])}" for n in names if baseline[n].get("note")]
    if not baseline:
        notes.append(_earlier_baseline(scorecard.get("earlier_baseline")))
    place = (
        f"On the test split of `{scorecard.get('dataset_id')}`, asked greedily. In brackets 95 % intervals (Wilson)."
    )
    return "\n\n".join(["## Scores", place, _table(header, rows), *notes])


def _earlier_baseline(earlier: Mapping[str, Any] | None) -> str:
    if not earlier:
        return "The base model was not asked on this dataset."
    reached = "; ".join(
        f"{name.replace('_', '-')} {_measure(card, 'accuracy')}" for name, card in earlier["prompts"].items()
    )
    return f"The base model was asked on `{earlier['dataset_id']}`, other test items; its accuracy there: {reached}."


def _slices(scorecard: Mapping[str, Any]) -> str:
    slices: Mapping[str, Any] = scorecard.get("slices") or {}
    rows = [
        [
            name,
            str(s["items"]),
            _with_interval(s["accuracy"], share_interval(round(s["accuracy"] * s["items"]), s["items"])),
        ]
        for name, s in slices.items()
    ]
    return _table(["slice", "items", "accuracy"], rows) if len(rows) > 1 else ""


def _parity(scorecard: Mapping[str, Any]) -> str:
    """Show how far each form of the model is from the one before it; agreement is of whole greedy answers."""
    rows = []
    for hop in scorecard.get("parity") or []:
        row = [hop["hop"], _number(hop["items"]), _with_interval(hop.get("accuracy"), hop.get("accuracy_interval"))]
        if "against" in hop:
            gaps = (hop.get("mean_logprob_difference"), hop.get("max_logprob_difference"))
            row += [
                hop["against"],
                _with_interval(hop.get("agreement"), hop.get("agreement_interval")),
                *map(_number, gaps),
            ]
        rows.append(row + ["-"] * (7 - len(row)))
    if not rows:
        return ""
    header = ["form", "items", "accuracy", "against", "same greedy answers", "mean nats apart", "most nats apart"]
    return (
        "## What is served is what was trained\n\nThe same prompts through each form of the model, 95 % intervals. "
        "Nats are differences of log-probabilities of the reference answers' tokens.\n\n" + _table(header, rows)
    )


def _fields(scorecard: Mapping[str, Any]) -> str:
    fields: Mapping[str, Any] = scorecard.get("fields") or {}
    rows = [[_plain(name), str(f["items"]), _with_interval(f["accuracy"], f["interval"])] for name, f in fields.items()]
    return _table(["field of the answer", "items", "accuracy"], rows) if rows else ""


def _labels(scorecard: Mapping[str, Any]) -> str:
    """Show the labels with the lowest F1 first: those are what a reader looks for."""
    labels: Mapping[str, Any] = scorecard.get("labels") or {}
    worst = sorted(labels.items(), key=lambda entry: entry[1]["f1"])[:MOST_LABELS]
    rows = [
        [
            _plain(name),
            str(found["items"]),
            _with_interval(found["precision"], found["precision_interval"]),
            _with_interval(found["recall"], found["recall_interval"]),
            _number(found["f1"]),
        ]
        for name, found in worst
    ]
    return _table(["label, worst first", "items", "precision", "recall", "F1"], rows) if rows else ""


def _robustness(scorecard: Mapping[str, Any]) -> str:
    kinds: Mapping[str, Any] = scorecard.get("robustness") or {}
    rows = [
        [
            kind.replace("_", " "),
            str(found["items"]),
            *(
                _with_interval(found[k], found[f"{k}_interval"])
                for k in ("accuracy_before", "accuracy", "drop", "same_answer")
            ),
        ]
        for kind, found in kinds.items()
        if found["items"]
    ]
    if not rows:
        return ""
    header = ["the same questions with", "items", "accuracy before", "accuracy", "drop", "same answer"]
    notes = [f"{kind}: {_plain(found['note'])}" for kind, found in kinds.items() if found.get("note")]
    return "\n\n".join(["## Robustness", _table(header, rows), *notes])


def _general(scorecard: Mapping[str, Any], verdict: Mapping[str, Any]) -> str:
    """Return what the version can do beside its task, and how that differs from the live version's."""
    changes = verdict.get("general") or {}
    rows = [
        [_plain(task), _plain(metric), *map(_number, (found["items"], *score)), *map(_number, change)]
        for task, found in (scorecard.get("general") or {}).items()
        for metric, score in found.items()
        if metric != "items"
        for change in [changes.get(task, {}).get(metric, (None, None))]
    ]
    header = ["task", "metric", "items", "score", "standard error", "against the live version", "standard error"]
    return f"## General tasks\n\n{_table(header, rows)}" if rows else ""


def _gate(verdict: Mapping[str, Any]) -> str:
    text = f"## Gate\n\n**{verdict.get('verdict', 'not judged')}**: {_plain(str(verdict.get('reason', '')))}"
    header = ["slice", "asked", "items", "this version", "against", "difference", "interval", "limit", "verdict"]
    rows = [_gate_row(entry) for entry in verdict.get("slices", [])]
    rows += [_gate_row(e) for e in (verdict.get("watched") or {}).get("worst", []) if e["verdict"] != "REJECT"]
    parts = [text, _table(header, rows) if rows else "", *(_plain(note) for note in verdict.get("notes", []))]
    return "\n\n".join(part for part in parts if part)


def _gate_row(entry: Mapping[str, Any]) -> list[str]:
    return [
        _plain(entry["slice"]),
        entry.get("role", "-"),
        *(_number(entry[key]) for key in ("items", "candidate_accuracy", "live_accuracy", "difference")),
        " to ".join(_number(end) for end in entry["interval"]),
        _number(entry.get("margin")),
        entry["verdict"],
    ]


def _limits(version: ModelVersion, dataset: Dataset) -> str:
    lines = [
        "It was scored on requests like those of its dataset; on others it is untested.",
        "Latency was measured on the machine that evaluated it, with many requests in flight.",
    ]
    if dataset.test_rows < 100:
        lines.append(f"The test split has only {dataset.test_rows} rows: every score is uncertain by many points.")
    if version.scorecard.get("unanswered"):
        lines.append(f"{version.scorecard['unanswered']} items were refused (too long) and count as wrong.")
    if version.status.value == "rejected":
        lines.append("The gate turned it down: it may not serve traffic and is kept for the record.")
    return "## Limits\n\n" + "\n".join(f"- {line}" for line in lines)


def _lineage(lineage: Mapping[str, Any]) -> str:
    facts = {k: v for k, v in lineage.items() if not isinstance(v, dict) and v is not None}
    rows = [[k.replace("_", " "), _code(v)] for k, v in facts.items()]
    rows += [[name, _code(number)] for name, number in lineage.get("libraries", {}).items()]
    return "## Lineage\n\n" + _table(["", "value"], rows)


def _table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def _measure(card: Mapping[str, Any], key: str) -> str:
    return _with_interval(card.get(key), (card.get("intervals") or {}).get(key))


def _with_interval(value: float | None, interval: Sequence[float] | None) -> str:
    return _number(value) if interval is None else f"{_number(value)} [{interval[0]:.3g}, {interval[1]:.3g}]"


def _number(value: Any) -> str:
    if value is None:
        return "-"
    return f"{value:.4g}" if isinstance(value, float) else _plain(str(value))


def _code(value: Any) -> str:
    """Show a value verbatim; backslashes would be shown too, so what would end the code is replaced."""
    return "`" + " ".join(str(value).split()).translate({ord("`"): "'", ord("|"): "/"}) + "`"


def _plain(text: str) -> str:
    """Keep a name or message from becoming markup or a second table cell."""
    return re.sub(r"([\\`*_<>\[\]|])", r"\\\1", " ".join(text.split()))
