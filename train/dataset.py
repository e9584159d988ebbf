"""Files, or a decision and its labelled traffic, become an immutable Dataset with splits that do not leak.

Rows that share a group, a conversation or a near-duplicate prompt stay in one split. What was ever in a test
split is quarantined: neither it nor a near duplicate enters a later training or validation split.
"""

import json
import random
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import asdict, replace
from pathlib import Path

from driftwheel.answers import label_of
from driftwheel.artifacts import writing
from driftwheel.config import Settings
from driftwheel.errors import DataError
from driftwheel.ledger import Ledger
from driftwheel.records import Alias, Dataset, ModelVersion, content_hash, new_id
from train.cleaning import clean_answer, clean_prompt
from train.dataset_report import Report, describe
from train.duplicates import NearDuplicates, text_hash
from train.examples import Example
from train.formats import Row, read_file
from train.traffic_rows import labelled_rows

SPLITS = ("train", "validation", "test")


def build_dataset(settings: Settings, ledger: Ledger, sources: Sequence[Path] | None = None) -> Dataset:
    """Build a Dataset from files, or find the one that was built from the same rows and settings.

    Raises DataError if a file cannot be used, too many rows are broken, or too few are left.
    """
    report = Report()
    rows: list[Row] = []
    for path in sources or [settings.resolve(source) for source in settings.dataset.sources]:
        reading = read_file(path, settings.dataset)
        rows += reading.rows
        report.broken += reading.broken
    report.rows_in = len(rows) + len(report.broken)
    _stop_at_too_many_broken(settings, report)
    examples = _clean(settings, rows, report)
    _stop_at_too_few(settings, examples, report)
    groups = leak_groups(examples, settings.dataset.near_duplicate_similarity)
    shares = {"test": settings.dataset.test_share, "validation": settings.dataset.validation_share}
    return _write(settings, ledger, _split(examples, groups, shares, settings.dataset.seed), report, origin="files")


def dataset_from_traffic(settings: Settings, ledger: Ledger, decision_id: str) -> Dataset:
    """Build a retrain's Dataset: fresh labelled traffic in slice `new`, replayed rows of the live dataset in `old`.

    Its test split holds fresh rows and the live dataset's whole test split, so that the gate sees both.
    Raises DataError if there are too few labelled rows.
    """
    found = ledger.find(Dataset, project=settings.project, origin=decision_id, limit=1)
    if found:
        return found[0]
    live = ledger.get(ModelVersion, ledger.get(Alias, settings.serve.alias).version_id)
    old = read_splits(ledger.get(Dataset, live.dataset_id))
    report = Report()
    rows = labelled_rows(settings, ledger, since=ledger.get(Dataset, live.dataset_id).created_at, report=report)
    fresh = [replace(e, slice="new") for e in _clean(settings, [r.row for r in rows], report)]
    sources = {r.row.place: r.source for r in rows}
    fresh = [replace(e, source=sources[e.id.partition("#")[0]], id=e.id.partition("#")[2]) for e in fresh]
    fresh = _without_quarantined(fresh, quarantined_texts(settings, ledger), settings, report)
    _stop_at_too_few(settings, fresh, report)
    chance = random.Random(settings.dataset.seed)
    replay = {name: _sample(chance, old[name], round(settings.dataset.replay_share * len(fresh))) for name in SPLITS}
    splits = _split_fresh(settings, fresh, [*old["train"], *old["validation"]])
    for name in ("train", "validation"):
        splits[name] += [replace(e, source="replay", slice="old") for e in replay[name]]
    splits["test"] += [replace(e, slice="old") for e in old["test"]]
    learned = NearDuplicates([e.conversation for e in splits["train"]], settings.dataset.near_duplicate_similarity)
    splits["validation"] = [e for e in splits["validation"] if not learned.like(e.conversation)]
    return _write(settings, ledger, splits, report, origin=decision_id)


def _split_fresh(settings: Settings, fresh: list[Example], old: Sequence[Example]) -> dict[str, list[Example]]:
    """Split fresh rows; a whole group with a row like one that was trained on before goes to the training split."""
    similarity = settings.dataset.near_duplicate_similarity
    groups, known = leak_groups(fresh, similarity), NearDuplicates([e.conversation for e in old], similarity)
    seen = {group for e, group in zip(fresh, groups, strict=True) if known.like(e.conversation)}
    unseen = [(e, group) for e, group in zip(fresh, groups, strict=True) if group not in seen]
    shares = {"test": settings.dataset.fresh_test_share, "validation": settings.dataset.validation_share}
    splits = _split([e for e, _ in unseen], [group for _, group in unseen], shares, settings.dataset.seed)
    splits["train"] += [e for e, group in zip(fresh, groups, strict=True) if group in seen]
    return splits


def read_splits(dataset: Dataset) -> dict[str, list[Example]]:
    """Read a Dataset's rows by split."""
    return {name: read_examples(Path(dataset.path) / f"{name}.jsonl") for name in SPLITS}


def read_examples(path: Path) -> list[Example]:
    """Read one split's file."""
    with path.open(encoding="utf-8") as file:
        return [Example(**json.loads(line)) for line in file]


def quarantined_texts(settings: Settings, ledger: Ledger) -> list[str]:
    """Return the conversations of every test split that the project ever had."""
    texts: dict[str, None] = {}
    for dataset in ledger.find(Dataset, project=settings.project):
        texts |= dict.fromkeys(e.conversation for e in read_examples(Path(dataset.path) / "test.jsonl"))
    return list(texts)


def _clean(settings: Settings, rows: Iterable[Row], report: Report) -> list[Example]:
    seen: dict[str, str] = {}
    examples: list[Example] = []
    for row in rows:
        prompt = [{**m, "content": clean_prompt(m["content"])} for m in row.prompt]
        answer = clean_answer(row.answer)
        if not answer or not all(m["content"] for m in prompt):
            report.dropped["empty after cleaning"] += 1
            continue
        key = content_hash([(m["role"], text_hash(m["content"])) for m in prompt])
        if key in seen:
            report.dropped["duplicate" if seen[key] == answer else "duplicate with another answer"] += 1
            continue
        seen[key] = answer
        examples.append(
            Example(
                id=f"{row.place}#{key[:16]}" if row.place.startswith("req_") else key[:16],
                prompt=prompt,
                completion=[{"role": "assistant", "content": answer}],
                label=label_of(answer, settings.dataset.label_field),
                group=row.group or key[:16],
            )
        )
    return examples


def _without_quarantined(
    examples: list[Example], texts: Sequence[str], settings: Settings, report: Report
) -> list[Example]:
    index = NearDuplicates(texts, settings.dataset.near_duplicate_similarity)
    kept = [e for e in examples if not index.like(e.conversation)]
    report.dropped["quarantined: like a test item"] += len(examples) - len(kept)
    return kept


def leak_groups(examples: Sequence[Example], similarity: float) -> list[int]:
    """Return a group number per example: equal groups and near-duplicate prompts share one, and then one split."""
    parents = NearDuplicates([e.conversation for e in examples], similarity).clusters()
    first: dict[str, int] = {}
    for number, example in enumerate(examples):
        other = first.setdefault(example.group, number)
        a, b = sorted((_root(parents, number), _root(parents, other)))
        parents[b] = a
    return [_root(parents, number) for number in range(len(parents))]


def _root(parents: list[int], number: int) -> int:
    while parents[number] != number:
        number = parents[number]
    return number


def _split(
    examples: Sequence[Example], groups: Sequence[int], shares: dict[str, float], seed: int
) -> dict[str, list[Example]]:
    """Deal out whole groups, label by label, until each split has its share."""
    members: dict[int, list[Example]] = defaultdict(list)
    for example, group in zip(examples, groups, strict=True):
        members[group].append(example)
    by_label: dict[str, list[list[Example]]] = defaultdict(list)
    for group_rows in members.values():
        by_label[Counter(str(e.label) for e in group_rows).most_common(1)[0][0]].append(group_rows)
    splits: dict[str, list[Example]] = {name: [] for name in SPLITS}
    chance = random.Random(seed)
    # A task of free text has as many labels as rows; then one stratum serves all.
    strata = list(by_label.values()) if len(by_label) * 5 < len(examples) else [list(members.values())]
    for stratum in strata:
        chance.shuffle(stratum)
        rows = sum(map(len, stratum))
        wanted = {name: share * rows for name, share in shares.items()}
        for group_rows in stratum:
            name = next((n for n, left in wanted.items() if left >= len(group_rows) / 2 and left > 0), "train")
            splits[name] += group_rows
            if name in wanted:
                wanted[name] -= len(group_rows)
    return splits


def _sample(chance: random.Random, examples: list[Example], rows: int) -> list[Example]:
    return chance.sample(examples, min(rows, len(examples)))


def _stop_at_too_many_broken(settings: Settings, report: Report) -> None:
    if len(report.broken) > settings.dataset.max_broken_share * report.rows_in:
        shown = "; ".join(f"{b.place} {b.reason}" for b in report.broken[:3])
        count = f"{len(report.broken)} of {report.rows_in} rows are broken"
        raise DataError(f"{count}, more than dataset.max_broken_share allows: {shown}")


def _stop_at_too_few(settings: Settings, examples: Sequence[Example], report: Report) -> None:
    if len(examples) < settings.dataset.min_rows:
        dropped = ", ".join(f"{n} {why}" for why, n in report.dropped.items()) or "none dropped"
        raise DataError(
            f"only {len(examples)} of {report.rows_in} rows can be used ({dropped}); dataset.min_rows asks for "
            f"{settings.dataset.min_rows}: give more rows"
        )


def _write(
    settings: Settings, ledger: Ledger, splits: dict[str, list[Example]], report: Report, *, origin: str
) -> Dataset:
    empty = [name for name, rows in splits.items() if not rows]
    if empty:
        raise DataError(
            f"no rows for the {' and '.join(empty)} split: too few groups; give more rows or raise the shares"
        )
    rows = {name: [asdict(e) for e in examples] for name, examples in splits.items()}
    digest = content_hash(rows)
    found = ledger.find(Dataset, project=settings.project, content_hash=digest, limit=1)
    if found:
        return found[0]
    dataset_id = new_id("dataset", digest)
    facts = describe(settings, splits, report)
    target = settings.root / "datasets" / dataset_id
    with writing(target, {"dataset_id": dataset_id, "origin": origin, "rows_hash": digest, "report": facts}) as folder:
        for name, lines in rows.items():
            text = "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines)
            (folder / f"{name}.jsonl").write_text(text, encoding="utf-8")
    dataset = Dataset(
        id=dataset_id,
        project=settings.project,
        content_hash=digest,
        path=str(target),
        origin=origin,
        train_rows=len(splits["train"]),
        validation_rows=len(splits["validation"]),
        test_rows=len(splits["test"]),
        report=facts,
    )
    ledger.add(dataset)
    return dataset
