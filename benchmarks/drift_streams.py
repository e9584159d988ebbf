"""Streams of the drift benchmark: steady windows in bursts, then windows of one kind of drift."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from benchmarks.drift_kinds import Change, Generator, Kind, TextSet
from driftwheel.identity import utc_now
from monitor.observation import Observation

AT = utc_now()
KEYS = 20


@dataclass(frozen=True, kw_only=True)
class Stream:
    """How a stream is made."""

    rows: int = 200
    before: int = 3
    """Steady windows first."""
    after: int = 3
    again: float = 0.0
    """Probability that a request is of the same intent and key as the one before it."""


def judged(texts: TextSet, random: Generator, count: int) -> list[Observation]:
    """Draw the reference: items that the version was judged on."""
    items = [texts.judged[place] for place in random.permutation(len(texts.judged))[:count]]
    answers = texts.answer([prompt for prompt, _ in items])
    return [
        Observation(id=str(number), prompt=prompt, answer=answer, label=answer, right_label=label)
        for number, ((prompt, label), answer) in enumerate(zip(items, answers, strict=True))
    ]


def windows(texts: TextSet, kind: Kind, stream: Stream, random: Generator) -> Iterator[list[Observation]]:
    """Draw the windows of a stream, the steady ones first."""
    labels, new_labels = sorted(texts.known), sorted(texts.new)
    # One intent of the stream, where the kind is about one.
    one_new, one_known = (names[random.integers(len(names))] for names in (new_labels, labels))
    pools: dict[str, Sequence[Sequence[str]]] = {
        "new": [texts.new[name] for name in new_labels],
        "new intent": [texts.new[one_new]],
        "known intent": [texts.known[one_known]],
        "other": [texts.other],
        "out of scope": [texts.out_of_scope],
    }
    after = stream.after if not kind.ramp_windows else kind.ramp_windows
    for number in range(stream.before + after):
        share = kind.change.share if number >= stream.before else 0.0
        if kind.ramp_windows:
            share *= min(1.0, (number - stream.before + 1) / kind.ramp_windows)
        yield _window(texts, kind.change, share, pools, labels, stream, random, number)


def _window(
    texts: TextSet,
    change: Change,
    share: float,
    pools: dict[str, Sequence[Sequence[str]]],
    labels: Sequence[str],
    stream: Stream,
    random: Generator,
    number: int,
) -> list[Observation]:
    prompts: list[str] = []
    authors: list[str] = []
    pool: Sequence[str] = ()
    for _ in range(stream.rows):
        if not pool or random.random() >= stream.again:
            author = f"key{random.integers(KEYS)}"
            choices: Sequence[Sequence[str]]
            if change.source != "known" and random.random() < share:
                choices = pools[change.source]
            else:
                choices = [texts.known[labels[int(random.integers(len(labels)))]]]
            pool = choices[int(random.integers(len(choices)))]
        prompts.append(pool[int(random.integers(len(pool)))])
        authors.append(author)
    is_hit = random.random(stream.rows) < share
    if change.write is not None:
        prompts = [change.write(random, p) if hit else p for p, hit in zip(prompts, is_hit, strict=True)]
    answers = texts.answer(prompts)
    if change.say is not None:
        answers = [change.say(random, texts, a) if hit else a for a, hit in zip(answers, is_hit, strict=True)]
    return [
        Observation(id=f"{number}-{place}", prompt=prompt, answer=answer, label=answer, author=author, at=AT)
        for place, (prompt, answer, author) in enumerate(zip(prompts, answers, authors, strict=True))
    ]
