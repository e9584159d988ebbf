"""Turns what a scan saw into a diagnosis: sentences with shares before and now, clusters of new prompts, and remedies.

Words that many texts of the reference have are left out, in whatever language: what is frequent there tells nothing.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from driftwheel.records.diagnosis import Bot, Change, Diagnosis, Finding, NewCluster, Remedy, WordShift
from driftwheel.records.nouns import DriftKind
from monitor.observation import Observation
from monitor.pools import NO_LABEL, Tallied
from monitor.row_signals import SIGNALS, Row
from monitor.scan import Scan, Sighting, What

FREQUENT = 0.05
"""Share of the reference's texts beyond which a word is frequent."""
MOST_WORDS, MOST_CLUSTERS, MOST_EXAMPLES, MOST_IDS = 15, 5, 3, 20
LONGEST_EXAMPLE = 200
SAME_CLUSTER = 0.5
"""Of a word's prompts: if so many have another word of a cluster, too, it is the same one."""
NEARLY_ALL, MUCH = 0.8, 0.3
"""Shares of prompts: what nearly all have comes from a template, and not from what users want."""
SAYS = {signal.name: (signal.says, signal.unit) for signal in SIGNALS}


@dataclass(frozen=True, kw_only=True)
class Case:
    """What there is to explain."""

    scan: Scan
    windows: Sequence[Tallied]
    """The newest is the last one."""
    reference: Tallied
    raw: Sequence[Observation]
    """The newest window, with what was repeated."""
    is_input_steady: bool
    """The prompts are as they were, as far as is known."""


def diagnose(case: Case) -> Diagnosis:
    """Say what changed; the most telling first."""
    seen = [one for one in case.scan.sightings if one.p_value < case.scan.level]
    span = max((one.windows for one in seen), default=1)
    rows = [row for window in case.windows[-span:] for row in window.rows]
    side = case.scan.kind.value
    clusters = _clusters(seen, rows, case.reference.rows) if case.scan.kind is DriftKind.INPUT else []
    changes = [_change(one, side) for one in seen if one.what is not What.WORD]
    bot = _bot(case)
    words = [_word(one, side) for one in seen if one.what is What.WORD and one.before < FREQUENT][:MOST_WORDS]
    findings = [*_of_bot(bot), *(_of_cluster(c, len(rows)) for c in clusters), *(_of_change(c, case) for c in changes)]
    if case.scan.kind is DriftKind.OUTPUT and words and not changes:
        findings.append(_of_answer_words(words))
    return Diagnosis(findings=findings, words=words, clusters=clusters, changes=changes, bot=bot, windows=span)


def _word(one: Sighting, side: str) -> WordShift:
    return WordShift(word=one.name, before=one.before, now=one.now, side=side)


def _change(one: Sighting, side: str) -> Change:
    if one.what is What.LABEL:
        name = "answers without a label" if one.name == NO_LABEL else f"label {one.name}"
        return Change(name=name, side=side, before=one.before, now=one.now, p_value=one.p_value)
    says, unit = SAYS[one.name]
    return Change(name=says, side=side, before=one.before, now=one.now, unit=unit, p_value=one.p_value)


def _clusters(seen: Sequence[Sighting], rows: Sequence[Row], before: Sequence[Row]) -> list[NewCluster]:
    """Group the prompts that have a word which is new: words that stand together make one cluster."""
    groups: list[tuple[list[str], set[int]]] = []
    for one in seen:
        if one.what is not What.WORD or one.before >= FREQUENT:
            continue
        having = {place for place, row in enumerate(rows) if one.name in row.prompt.distinct}
        home = next((g for g in groups if len(having & g[1]) >= SAME_CLUSTER * min(len(having), len(g[1]))), None)
        if home is None:
            groups.append(([one.name], having))
        else:
            home[0].append(one.name)
            home[1].update(having)
    groups.sort(key=lambda group: -len(group[1]))
    return [_cluster(words, [rows[p] for p in sorted(places)], len(rows), before) for words, places in groups][
        :MOST_CLUSTERS
    ]


def _cluster(words: list[str], rows: list[Row], of: int, before: Sequence[Row]) -> NewCluster:
    labels = Counter(row.nearest_label for row in rows if row.nearest_label is not None)
    prompts = dict.fromkeys(row.observation.prompt[:LONGEST_EXAMPLE] for row in rows)
    return NewCluster(
        rows=len(rows),
        share=len(rows) / max(1, of),
        before=sum(not row.prompt.distinct.isdisjoint(words) for row in before) / max(1, len(before)),
        words=words[:MOST_WORDS],
        examples=list(prompts)[:MOST_EXAMPLES],
        nearest_label=labels.most_common(1)[0][0] if labels else None,
        request_ids=[row.observation.id for row in rows][:MOST_IDS],
        authors=len({row.observation.author for row in rows}),
    )


def _bot(case: Case) -> Bot | None:
    """Name the caller or the text that makes up much of the newest window and did not before."""
    of = max(1, len(case.raw))
    authors = Counter(row.author for row in case.raw)
    earlier = [row.observation.author for window in case.windows[:-1] for row in window.rows]
    text, times = Counter(row.prompt for row in case.raw).most_common(1)[0] if case.raw else ("", 0)
    if times >= MUCH * of:
        return Bot(kind="text", name=text[:LONGEST_EXAMPLE], rows=times, share=times / of)
    author, asked = authors.most_common(1)[0] if authors else ("", 0)
    was = earlier.count(author) / len(earlier) if earlier else 0.0
    if len({*authors, *earlier}) >= 3 and asked >= MUCH * of and asked / of > 2 * was:
        return Bot(kind="caller", name=author, rows=asked, share=asked / of)
    return None


def _of_bot(bot: Bot | None) -> list[Finding]:
    if bot is None:
        return []
    what = f"the key {bot.name}" if bot.kind == "caller" else f"one text, “{bot.name}”,"
    return [
        Finding(
            sentence=f"{_percent(bot.share)} of the newest window ({bot.rows} requests) are of {what}, not so before.",
            remedy=Remedy.BLOCK,
            advice="If this is a program and no user, disable its key or limit its rate; else label some of it.",
        )
    ]


def _of_cluster(cluster: NewCluster, of: int) -> Finding:
    near = f"; the training texts most like them are labelled {cluster.nearest_label}" if cluster.nearest_label else ""
    common = ", ".join(f"“{word}”" for word in cluster.words[:5])
    sentence = (
        f"{_percent(cluster.share)} of the prompts ({cluster.rows} of {of}) have {common}, "
        f"{_percent(cluster.before)} before; such as “{cluster.examples[0]}”{near}."
    )
    if cluster.share >= NEARLY_ALL:
        return Finding(
            sentence=sentence,
            remedy=Remedy.PROMPT,
            advice="Nearly all prompts have it, so a client's template changed: take it out there, or train with it.",
        )
    if cluster.authors == 1 and cluster.rows >= MOST_IDS:
        return Finding(
            sentence=sentence, remedy=Remedy.BLOCK, advice="One key sends all of it: see whether it is a program."
        )
    return Finding(
        sentence=sentence,
        remedy=Remedy.LABEL,
        advice="Label some of these: nobody has said yet whether their answers are right. Retrain if they are wrong.",
    )


def _of_change(change: Change, case: Case) -> Finding:
    if change.unit == "share":
        numbers = f"{_percent(change.now)}, {_percent(change.before)} before"
    else:
        numbers = f"{change.now:.3g} {change.unit} on average, {change.before:.3g} before"
    sentence = f"{change.name[:1].upper()}{change.name[1:]}: {numbers}."
    if change.side == DriftKind.OUTPUT.value and case.is_input_steady:
        return Finding(
            sentence=sentence,
            remedy=Remedy.ENGINE,
            advice="The prompts are as before: see whether model, template and sampling are those that were judged.",
        )
    return Finding(sentence=sentence, remedy=Remedy.LABEL, advice="Label some answers to see whether they are right.")


def _of_answer_words(words: Sequence[WordShift]) -> Finding:
    first = ", ".join(f"“{w.word}” ({_percent(w.now)}, {_percent(w.before)} before)" for w in words[:5])
    return Finding(
        sentence=f"Answers say {first}.",
        remedy=Remedy.LABEL,
        advice="Read some of them: if they are refusals or wrong, label them; if they are right, nothing is to do.",
    )


def _percent(share: float) -> str:
    return f"{share:.1%}" if share < 0.0995 else f"{share:.0%}"
