"""Tokenizes rows with a mark on each token that is learned; dataset view, trainer and parity all read these.

With `train.learn: last` the row's completion is learned, with `all` every assistant turn before it too, but for those
of weight 0. A turn is what the template adds to the conversation before it, asked as an engine would be. Where one
renders a turn otherwise once the conversation goes on (such as leaving out earlier thoughts), the turn is a sequence of
its own, so that it is learned after exactly the tokens after which it will be asked for.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

from driftwheel.errors import DataError
from driftwheel.text.conversations import Message, is_learned
from train.data.examples import Example
from train.data.tokens.rendering import as_ids

Learn = Literal["last", "all"]
IGNORED = -100
"""Label that PyTorch's cross-entropy leaves out."""


@dataclass(frozen=True, kw_only=True)
class Learned:
    """A sequence of tokens, and what of it is learned."""

    ids: list[int]
    labels: list[int]
    """The token where it is learned, else `IGNORED`."""

    def parts(self) -> list[tuple[list[int], bool]]:
        """Return the tokens in runs that are learned and runs that are not."""
        found: list[tuple[list[int], bool]] = []
        for token, label in zip(self.ids, self.labels, strict=True):
            if not found or found[-1][1] != (label != IGNORED):
                found.append(([], label != IGNORED))
            found[-1][0].append(token)
        return found


def learned_sequences(tokenizer: Any, example: Example, learn: Learn) -> list[Learned]:
    """Return the sequences that a row is learned in, the one that ends with its completion first.

    Raises ConfigError if the template refuses the conversation.
    """
    sequences: list[Learned] = []
    for prompt, answer in learned_turns(example, learn):
        given = as_ids(tokenizer, prompt, example.tools, add_generation_prompt=True)
        whole = as_ids(tokenizer, [*prompt, answer], example.tools)
        start = _common(given, whole)
        # Where the template renders the turn the same later on, a longer sequence begins like it.
        same = next((s for s in sequences if s.ids[: len(whole)] == whole), None)
        if same is None:
            same = Learned(ids=whole, labels=[IGNORED] * len(whole))
            sequences.append(same)
        same.labels[start : len(whole)] = whole[start:]
    return sequences


def learned_turns(example: Example, learn: Learn) -> list[tuple[list[Message], Message]]:
    """Return each turn that a row teaches, the last first, after what is said before it."""
    messages = [*example.prompt, *example.completion]
    last = len(messages) - 1
    earlier = [n for n in range(1, last) if is_learned(messages[n])] if learn == "all" else []
    return [(messages[:n], messages[n]) for n in (last, *reversed(earlier))]


def each_learned(rows: Iterable[Example], learn: Learn) -> list[Example]:
    """Return a row for each turn that is learned, asked by what is said before it; those of one row share its id.

    What each of them asks is taught by the row, so that neither may be asked by a row that judges.
    """
    found = []
    for row in rows:
        found.append(row)
        earlier = [n for n in range(1, len(row.prompt)) if is_learned(row.prompt[n])] if learn == "all" else []
        found += [replace(row, prompt=row.prompt[:n], completion=[row.prompt[n]], references=[]) for n in earlier]
    return found


def training_rows(
    tokenizer: Any, examples: Sequence[Example], learn: Learn, max_length: int, place: str
) -> list[tuple[Example, Learned]]:
    """Return every sequence that some rows are learned in, beside its row.

    Raises DataError if one is longer than `max_length` tokens, for its answer would lose its end.
    """
    found = [(row, sequence) for row in examples for sequence in learned_sequences(tokenizer, row, learn)]
    refuse_cut([(row.id, len(sequence.ids)) for row, sequence in found], max_length, place)
    return found


def refuse_cut(lengths: Iterable[tuple[str, int]], max_length: int, place: str) -> None:
    """Raise DataError if rows are longer than `max_length` tokens; lengths are pairs of a row's name and its tokens."""
    cut = [(name, length) for name, length in lengths if length > max_length]
    if cut:
        name, length = cut[0]
        raise DataError(
            f"{len(cut)} rows of {place} have more tokens than train.max_length {max_length}, and their answers would "
            f"lose their ends; the first is {name} with {length}: set train.max_length to "
            f"{max(length for _, length in cut)}, or take these rows out"
        )


def _common(given: Sequence[int], whole: Sequence[int]) -> int:
    """Return where the answer begins: TRL too takes the first token in which prompt and whole differ."""
    differing = (n for n, (a, b) in enumerate(zip(given, whole, strict=False)) if a != b)
    return next(differing, min(len(given), len(whole)))
