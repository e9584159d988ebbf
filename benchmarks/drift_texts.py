"""The text sets of the drift benchmark: Banking77, and the world of the demo, on which nothing was tuned."""

import csv
import pydoc_data.topics
import re
from collections import defaultdict
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.svm import LinearSVC

from benchmarks.drift_kinds import TextSet
from benchmarks.general_questions import CAPITALS, OPPOSITES, SUMS
from examples.support.world import messages

NEW_DOMAINS = ("top up", "exchange", "identity")
"""Domains of Banking77 that the version has not learned: 22 of the 77 intents."""
DOMAIN_WORDS = {
    "top up": ("top_up", "topping"),
    "exchange": ("exchange", "fiat", "currenc"),
    "identity": ("identity", "verify", "edit_personal", "age_limit", "source_of_funds"),
    "transfer": ("transfer", "receiving", "beneficiary"),
    "cash": ("cash", "atm"),
    "secret": ("pin", "passcode", "compromised", "lost", "stolen"),
    "payment": ("payment", "charged", "refund", "charge"),
    "card": ("card", "visa", "contactless"),
}
SHARE_LEARNED, SHARE_JUDGED = 0.6, 0.15
"""Of each intent's texts; the rest is what is asked."""


def banking77(folder: Path) -> TextSet:
    """Read Banking77's train.csv and test.csv (`text,category`)."""
    found: dict[str, list[str]] = defaultdict(list)
    for name in ("train.csv", "test.csv"):
        with (folder / name).open(encoding="utf-8", newline="") as file:
            for row in csv.DictReader(file):
                found[row["category"]].append(row["text"])
    domain_of = {label: _domain(label) for label in found}
    known = {label: texts for label, texts in found.items() if domain_of[label] not in NEW_DOMAINS}
    new = {label: texts for label, texts in found.items() if label not in known}
    return _text_set("Banking77", known, new, domain_of, other=[e.text for e in messages(1000, 90, "steady")])


def world() -> TextSet:
    """Return the messages of the demo: what customers asked, and what they ask after the shift."""
    known, new = _by_intent("steady", 6000), _by_intent("shifted", 3000)
    # Of the shift, the intents that were not there.
    new = {label: texts for label, texts in new.items() if label not in known}
    domain_of = {label: label.split("_")[0] for label in (*known, *new)}
    return _text_set("the demo's world", known, new, domain_of, other=_sentences())


def _by_intent(phase: str, rows: int) -> dict[str, list[str]]:
    found: dict[str, list[str]] = defaultdict(list)
    for example in messages(rows, 91, "steady" if phase == "steady" else "shifted"):
        found[example.intent].append(example.text)
    return dict(found)


def _domain(label: str) -> str:
    return next((name for name, parts in DOMAIN_WORDS.items() if any(part in label for part in parts)), "other")


def _text_set(
    name: str, known: dict[str, list[str]], new: dict[str, list[str]], domain_of: dict[str, str], other: list[str]
) -> TextSet:
    random = np.random.default_rng(7)
    learned: list[tuple[str, str]] = []
    judged: list[tuple[str, str]] = []
    asked: dict[str, list[str]] = {}
    for label, texts in sorted(known.items()):
        order = [texts[place] for place in random.permutation(len(texts))]
        first, second = round(SHARE_LEARNED * len(order)), round((SHARE_LEARNED + SHARE_JUDGED) * len(order))
        learned += [(text, label) for text in order[:first]]
        judged += [(text, label) for text in order[first:second]]
        asked[label] = order[second:]
    return TextSet(
        name=name,
        learned=tuple(learned),
        judged=tuple(judged),
        known=asked,
        new=new,
        domain_of=domain_of,
        other=tuple(other),
        out_of_scope=tuple(_questions()),
        answer=_model(learned),
    )


def _model(learned: Sequence[tuple[str, str]]) -> Callable[[Sequence[str]], list[str]]:
    """Train the stand-in for the language model; of each text it answers the same whenever it is asked."""
    vectorizer = TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True)
    texts, labels = zip(*learned, strict=True)
    classifier = LinearSVC(C=1.0).fit(vectorizer.fit_transform(texts), labels)
    known: dict[str, str] = {}

    def answer(prompts: Sequence[str]) -> list[str]:
        unknown = sorted({prompt for prompt in prompts if prompt not in known})
        if unknown:
            known.update(zip(unknown, classifier.predict(vectorizer.transform(unknown)), strict=True))
        return [str(known[prompt]) for prompt in prompts]

    return answer


def _questions() -> list[str]:
    """Return general questions, and sentences about a programming language: nothing that a bank is asked."""
    asked = [f"What is the capital of {country}?" for country in CAPITALS]
    asked += [f"What is the opposite of {word}?" for word in OPPOSITES]
    asked += [f"How much is {a} plus {b}?" for a, b in SUMS]
    return asked + _sentences()[:200]


def _sentences() -> list[str]:
    """Return sentences of Python's own manual."""
    text = " ".join(pydoc_data.topics.topics[name] for name in sorted(pydoc_data.topics.topics))
    found = re.findall(r"(?<=[.] )[A-Z][a-z]+ [a-z ,]{20,120}[.]", re.sub(r"\s+", " ", text))
    return sorted(set(found))
