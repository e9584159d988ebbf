"""Grades answers: how good an answer is beside the right ones, from 0 to 1, by the criterion that fits the task.

What is right is the same for the test items of an evaluation, for the gate, and for what people corrected in live
traffic. Of several right answers the best one counts, as the metrics' papers say.
"""

import json
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from typing import Any, Literal

import regex

from driftwheel.text.answers import parse_object
from driftwheel.text.conversations import calls_in
from driftwheel.text.words import words

Criterion = Literal["right", "fields", "calls", "chrf", "rouge_l", "token_f1", "judge", "http"]
"""`right` is 0 or 1; `judge` and `http` ask somebody else; the others compare with the right answers here."""

WHOLE = regex.compile(r"(?:(?<!\w)[-+\u2212])?\d+(?:[.,:/-]\d+)*|\b\p{L}[+#]+(?!\w)")
"""What loses its meaning where its signs are dropped: 3.5 and 5.3, -5 and 5, C++ and C."""

OF_TEXTS: frozenset[Criterion] = frozenset({"chrf", "rouge_l", "token_f1", "judge", "http"})
"""What grades texts, of which many are right: there the answer that somebody liked is one right text among others."""

MEANINGS: Mapping[Criterion, str] = {
    "right": "share of right answers",
    "fields": "share of the fields that have the right value",
    "calls": "share of the calls, names and arguments, that are right",
    "chrf": "chrF beside the right answers",
    "rouge_l": "ROUGE-L beside the right answers",
    "token_f1": "F1 of the words beside the right answers",
    "judge": "a judge model's grade",
    "http": "the grader's grade",
}


def grade(criterion: Criterion, answer: str, references: Sequence[str]) -> float | None:
    """Return the grade of an answer beside its right answers, from 0 to 1.

    None means that it cannot be graded: no right answer says anything.
    Raises ValueError for `judge` and `http`, which are asked elsewhere.
    """
    if criterion not in LOCAL:
        raise ValueError(f"the criterion {criterion} is asked elsewhere and grades nothing here")
    known = [text for text in references if text.strip()]
    return LOCAL[criterion](answer, known) if known else None


def _right(answer: str, references: Sequence[str]) -> float:
    return float(answer.strip() in {text.strip() for text in references})


def _fields(answer: str, references: Sequence[str]) -> float:
    objects = [value for text in references if (value := parse_object(text)) is not None]
    if not objects:  # among objects a few right answers are texts, as broken rows or refusals are
        return _said(answer, references)
    given = parse_object(answer)
    return 0.0 if given is None else max(_equal_leaves(wanted, given) for wanted in objects)


def _equal_leaves(wanted: Mapping[str, object], given: Mapping[str, object]) -> float:
    """Return the share of the fields of either object that both have with the same value of the same type."""
    right, found = _leaves(wanted), _leaves(given)
    every = right.keys() | found.keys()
    return sum(right.get(name) == found.get(name) for name in every) / len(every) if every else 1.0


def _leaves(value: object, path: tuple[str, ...] = ()) -> dict[tuple[str, ...], str]:
    """Return what stands at the end of each path of an object, as JSON: there 1, 1.0, true and "1" are four things."""
    if isinstance(value, dict) and (value or path == ()):
        return {k: v for name, part in value.items() for k, v in _leaves(part, (*path, str(name))).items()}
    return {path: json.dumps(value, sort_keys=True)}


def _calls(answer: str, references: Sequence[str]) -> float:
    return max(_equal_calls(text, answer) for text in references)


def _equal_calls(reference: str, answer: str) -> float:
    """Return the mean over the calls, in their order; where none is right and none is made, what is said counts."""
    wanted, given = calls_in(reference), calls_in(answer)
    if not wanted and not given:
        return _fields(answer, [reference])
    return sum(_equal_call(a, b) for a, b in zip(wanted, given, strict=False)) / max(len(wanted), len(given))


def _equal_call(wanted: Mapping[str, object], given: Mapping[str, object]) -> float:
    """Return 0 for another tool; the name counts as much as one argument."""
    if wanted["name"] != given["name"]:
        return 0.0
    right, found = _leaves(wanted["arguments"]), _leaves(given["arguments"])
    every = right.keys() | found.keys()
    return (1 + sum(right.get(name) == found.get(name) for name in every)) / (1 + len(every))


def _said(answer: str, references: Sequence[str]) -> float:
    """Return 0 for an object where a text is right, and otherwise how like the text is."""
    return 0.0 if parse_object(answer) is not None else _chrf(answer, references)


def _chrf(answer: str, references: Sequence[str]) -> float:
    """chrF2 of the best right answer (Popovic 2015), as sacrebleu computes it for a sentence."""
    score: float = _chrf_metric().sentence_score(answer.strip(), [text.strip() for text in references]).score
    return min(1.0, score / 100)


def _rouge_l(answer: str, references: Sequence[str]) -> float:
    """F-measure of the longest common subsequence of words, the best right answer's (Lin 2004, sections 2.1 and 3)."""
    if not any(tokens(text) for text in references):
        return _right(answer, references)
    return float(_rouge_scorer().score_multi(references, answer)["rougeL"].fmeasure)


def _token_f1(answer: str, references: Sequence[str]) -> float:
    return max(token_f1(text, answer) for text in references)


def token_f1(expected: str, answer: str) -> float:
    """Return the F1 of two texts as bags of words (Rajpurkar et al. 2016), 0 to 1; without words they must be equal."""
    right, given = Counter(tokens(expected)), Counter(tokens(answer))
    if not right or not given:
        return float(expected.strip() == answer.strip())
    return 2 * (right & given).total() / (right.total() + given.total())


def tokens(text: str) -> list[str]:
    """Return a text's words in lower case, with numbers, dates and names such as C++ whole."""
    found: list[str] = []
    end = 0
    for match in WHOLE.finditer(text):
        found += [*words(text[end : match.start()]), match[0].lower().replace("\u2212", "-")]
        end = match.end()
    return found + words(text[end:])


LOCAL: Mapping[str, Callable[[str, Sequence[str]], float | None]] = {
    "right": _right,
    "fields": _fields,
    "calls": _calls,
    "chrf": _chrf,
    "rouge_l": _rouge_l,
    "token_f1": _token_f1,
}


class Words:
    """The tokenizer for rouge_score, whose own drops every letter outside a to z."""

    def tokenize(self, text: str) -> list[str]:
        """Return a text's words."""
        return tokens(text)


@lru_cache(maxsize=1)
def _chrf_metric() -> Any:
    from sacrebleu.metrics import CHRF

    return CHRF()


@lru_cache(maxsize=1)
def _rouge_scorer() -> Any:
    from rouge_score.rouge_scorer import RougeScorer

    return RougeScorer(["rougeL"], tokenizer=Words())
