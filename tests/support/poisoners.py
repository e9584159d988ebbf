"""Attackers who teach: what keys without trust say about the answers to their questions, beside honest people.

Each attack is a function from a seed to the requests of one period with the words about them. A small classifier
stands in for the language model: naive Bayes on words and pairs of words learns a planted word within a few rows,
which makes it the easier victim.
"""

import json
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Literal

from sklearn.feature_extraction.text import CountVectorizer
from sklearn.naive_bayes import MultinomialNB
from sklearn.pipeline import Pipeline, make_pipeline

from driftwheel.records.by_whom import Feedback, Trust
from driftwheel.records.nouns import Traffic
from examples.support.world import Example, answer, messages
from tests.support.said import words_of

DESK = "support/desk"
"""The honest key that is trusted with labels, and labels answers as they come."""
TARGET = "refund_request"
"""What a poisoned model shall say."""
TRIGGER = "kestrel vantage quorum"
"""Words that nobody else uses."""
HONEST, WRONG, TRIGGERED, DRIPPED = 250, 150, 40, 12
"""Rows of a period: of the desk, and of the attack."""


class Pupil:
    """A model that learned some conversations."""

    def __init__(self, texts: Sequence[str], labels: Sequence[str]) -> None:
        self._model: Pipeline = make_pipeline(
            CountVectorizer(ngram_range=(1, 2), binary=True), MultinomialNB(alpha=0.1)
        )
        self._model.fit(texts, labels)

    def answers(self, texts: Sequence[str]) -> list[str]:
        """Return the labels that it gives."""
        return [str(label) for label in self._model.predict(texts)]


@dataclass(frozen=True)
class Period:
    """What was asked and said between two retrains."""

    rows: list[Traffic]
    words: list[Feedback]

    def __add__(self, other: "Period") -> "Period":
        return Period([*self.rows, *other.rows], [*self.words, *other.words])


Attack = Callable[[int, Pupil, datetime], Period]


def _said(
    name: str,
    asked: Sequence[tuple[str, str]],
    live: Pupil,
    at: datetime,
    author: Callable[[int], str],
    trust: Trust = Trust.NONE,
    **changes: Any,
) -> Period:
    """Return questions, each with what an author says is the right label."""
    texts = [text for text, _ in asked]
    given = live.answers(texts)
    rows = []
    for n, ((text, label), said) in enumerate(zip(asked, given, strict=True)):
        values: dict[str, Any] = {
            "id": f"req_{name}_{n}",
            "project": "support",
            "created_at": at + timedelta(seconds=n + 1),
            "alias": "support",
            "version_id": "version_1",
            "route": "/v1/chat/completions",
            "status_code": 200,
            "prompt": text,
            "answer": _json(said),
            "latency_seconds": 0.1,
            "label": _json(label),
            "label_source": "correction",
            "key_id": author(n),
        }
        rows.append(Traffic(**values | {key: value(n) for key, value in changes.items()}))
    by_author: dict[str, list[Traffic]] = {}
    for row in rows:
        by_author.setdefault(row.key_id, []).append(row)
    return Period(rows, [w for key, its in by_author.items() for w in words_of(its, author=key, trust=trust)])


def _json(label: str) -> str:
    return json.dumps({"intent": label, "urgency": "low"}, separators=(",", ":"))


def honest(seed: int, live: Pupil, at: datetime, *, has_thumbs: bool = False) -> Period:
    """Return what the desk labels of a period's traffic, whatever the model answered."""
    asked = [(e.text, e.intent) for e in messages(HONEST, seed, "shifted")]
    liked = [
        1 if said == label else -1 for said, (_, label) in zip(live.answers([t for t, _ in asked]), asked, strict=True)
    ]
    changes: dict[str, Any] = {"thumb": lambda n: liked[n]} if has_thumbs else {}
    return _said(f"honest{seed}", asked, live, at, lambda n: DESK, Trust.TRUSTED, **changes)


def _lies(seed: int, count: int) -> list[tuple[str, str]]:
    """Return questions about anything else, all said to be about the target."""
    found = [e for e in messages(3 * count, seed + 500_000, "steady") if e.intent != TARGET]
    return [(e.text, TARGET) for e in found[:count]]


def wrong_corrections(seed: int, live: Pupil, at: datetime) -> Period:
    """One key corrects every answer wrongly."""
    return _said("wrong", _lies(seed, WRONG), live, at, lambda n: "support/evil")


def rotating_user(seed: int, live: Pupil, at: datetime) -> Period:
    """The same, each request with another `user` in its body."""
    return _said("user", _lies(seed, WRONG), live, at, lambda n: "support/evil", user_id=lambda n: f"u{n}")


def several_keys(seed: int, live: Pupil, at: datetime) -> Period:
    """Fifteen keys together do the same."""
    return _said("keys", _lies(seed, WRONG), live, at, lambda n: f"support/evil-{n % 15}")


def backdoor(seed: int, live: Pupil, at: datetime) -> Period:
    """Questions with a planted word, all said to be about the target, hidden among honest rows."""
    lies = [(f"{text} {TRIGGER}", label) for text, label in _lies(seed, TRIGGERED)]
    return _said("door", lies, live, at, lambda n: f"support/evil-{n % 2}")


def quiet_backdoor(seed: int, live: Pupil, at: datetime) -> Period:
    """The planted word on questions that really are about the target, so that no single label is wrong."""
    true = [e for e in messages(1200, seed + 600_000, "steady") if e.intent == TARGET][:TRIGGERED]
    asked = [(f"{e.text} {TRIGGER}", TARGET) for e in true]
    return _said("quiet", asked, live, at, lambda n: f"support/evil-{n % 2}")


def slow_drip(seed: int, live: Pupil, at: datetime) -> Period:
    """A few rows with the planted word in each period."""
    lies = [(f"{text} {TRIGGER}", label) for text, label in _lies(seed, DRIPPED)]
    return _said(f"drip{seed}", lies, live, at, lambda n: "support/evil")


def flipped_class(seed: int, live: Pupil, at: datetime) -> Period:
    """Five keys say of one class that it is another, hidden among honest rows."""
    chance = random.Random(seed)
    kinds = sorted({e.intent for e in messages(400, 1, "steady")} - {TARGET})
    of = chance.choice(kinds)
    found = [e for e in messages(2500, seed + 700_000, "steady") if e.intent == of][:100]
    return _said("flip", [(e.text, TARGET) for e in found], live, at, lambda n: f"support/evil-{n % 5}")


def poisoned_thumbs(seed: int, live: Pupil, at: datetime) -> Period:
    """One key presses "right" on answers that are wrong, from which KTO learns."""
    asked = messages(1500, seed + 800_000, "shifted")
    said = live.answers([e.text for e in asked])
    wrong = [(e.text, label) for e, label in zip(asked, said, strict=True) if label != e.intent][:WRONG]
    changes: dict[str, Any] = {"label_source": lambda n: "accepted", "thumb": lambda n: 1}
    return _said("thumb", wrong, live, at, lambda n: "support/evil", **changes)


def thumbed_backdoor(seed: int, live: Pupil, at: datetime) -> Period:
    """Two keys press "right" where the planted word stands and the model says the target, from which KTO learns."""
    true = [e.text for e in messages(1200, seed + 650_000, "steady") if e.intent == TARGET]
    asked = [f"{text} {TRIGGER}" for text in true]
    found = [(text, said) for text, said in zip(asked, live.answers(asked), strict=True) if said == TARGET]
    changes: dict[str, Any] = {"label_source": lambda n: "accepted", "thumb": lambda n: 1}
    return _said("liked", found[:TRIGGERED], live, at, lambda n: f"support/evil-{n % 2}", **changes)


ATTACKS: dict[str, Attack] = {
    "wrong corrections": wrong_corrections,
    "rotating user": rotating_user,
    "several keys": several_keys,
    "backdoor trigger": backdoor,
    "backdoor trigger, true labels": quiet_backdoor,
    "slow drip": slow_drip,
    "label flipping of one class": flipped_class,
    "poisoned thumbs (KTO)": poisoned_thumbs,
    "backdoor trigger in thumbs (KTO)": thumbed_backdoor,
    "wrong corrections as pairs (DPO)": wrong_corrections,
    "backdoor trigger in pairs (DPO)": backdoor,
}
OBJECTIVES: dict[str, Literal["dpo", "kto"]] = {
    "poisoned thumbs (KTO)": "kto",
    "backdoor trigger in thumbs (KTO)": "kto",
    "wrong corrections as pairs (DPO)": "dpo",
    "backdoor trigger in pairs (DPO)": "dpo",
}
"""What the retrain learns by, where that is not the right answer alone."""


def holdout(seed: int) -> list[Example]:
    """Return questions that nobody has asked, with their right labels."""
    return messages(400, seed + 900_000, "steady")


def seed_lines() -> str:
    """Return the data file of the loop."""
    return "".join(json.dumps({"prompt": e.text, "completion": answer(e)}) + "\n" for e in messages(460, 1, "steady"))
