"""The flip rate: the share of answers in which two versions differ, with its interval, and the most changed pairs."""

import difflib
from collections.abc import Sequence
from dataclasses import dataclass

from driftwheel.evidence.intervals import share_interval
from driftwheel.text.answers import label_of

SHOWN = 20
SHOWN_CHARACTERS = 200


@dataclass(frozen=True)
class AnswerPair:
    """What two versions answered to one request; None means that the second one failed."""

    request_id: str
    prompt: str
    first: str
    second: str | None


@dataclass(frozen=True)
class Flips:
    """How many requests would be answered otherwise."""

    asked: int
    failed: int
    flipped: int
    """Answers with another label, or other words where answers have no label."""
    interval: tuple[float, float] | None
    most_changed: list[AnswerPair]

    @property
    def rate(self) -> float:
        """Share of the answered requests whose label flips."""
        return self.flipped / max(1, self.asked - self.failed)


def count_flips(pairs: Sequence[AnswerPair], label_field: str | None) -> Flips:
    """Compare each pair; flips come first among the changed ones, then those whose words agree least."""
    answered = [pair for pair in pairs if pair.second is not None]
    flips = {pair.request_id for pair in answered if _is_flip(pair, label_field)}
    changed = [pair for pair in answered if pair.first.split() != str(pair.second).split()]
    changed.sort(key=lambda pair: (pair.request_id not in flips, _likeness(pair), pair.request_id))
    return Flips(
        asked=len(pairs),
        failed=len(pairs) - len(answered),
        flipped=len(flips),
        interval=share_interval(len(flips), len(answered)),
        most_changed=changed[:SHOWN],
    )


def as_text(flips: Flips) -> str:
    """Return the flips as lines for a person."""
    answered = flips.asked - flips.failed
    if flips.interval is None:
        return f"none of {flips.asked} requests was answered by the candidate"
    low, high = flips.interval
    lines = [f"{flips.flipped} of {answered} answers flip: {flips.rate:.1%} [{low:.1%}, {high:.1%}]"]
    lines += [f"{flips.failed} of {flips.asked} requests got no answer"] if flips.failed else []
    for pair in flips.most_changed:
        lines.append(f"\n{pair.request_id}  {pair.prompt[:SHOWN_CHARACTERS]!r}")
        lines.append(f"  before  {pair.first[:SHOWN_CHARACTERS]}")
        lines.append(f"  after   {str(pair.second)[:SHOWN_CHARACTERS]}")
    return "\n".join(lines)


def _is_flip(pair: AnswerPair, label_field: str | None) -> bool:
    first, second = label_of(pair.first, label_field), label_of(str(pair.second), label_field)
    if first is None and second is None:
        return pair.first.split() != str(pair.second).split()
    return first != second


def _likeness(pair: AnswerPair) -> float:
    words = pair.first.split(), str(pair.second).split()
    return difflib.SequenceMatcher(None, *words, autojunk=False).ratio()
