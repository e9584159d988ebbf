"""The two tasks of the demo: customer messages to labels, and facts about cottages to texts."""

from pathlib import Path

from driftwheel.text.answers import label_of
from driftwheel.text.grades import grade
from examples.support.claims import GRADE_BARS, LABEL_BARS
from examples.support.task import Sizes, Speaking, Task
from examples.support.world import Example, answer, messages
from examples.support.world_cottages import Listing, listings

CONFIGS = Path(__file__).resolve().parents[2] / "configs"
LIKED = 0.5
"""Guests like answers from this grade on: a right text in other words has 0.68 on average, one of others 0.39."""


def intent_grade(example: Example, said: str) -> float:
    """Return 1 for the right intent, else 0."""
    return float(label_of(said, "intent") == example.intent)


def chrf_grade(listing: Listing, said: str) -> float:
    """Return chrF beside all right texts."""
    return grade("chrf", said, listing.references) or 0.0


def nearest_text(listing: Listing, said: str) -> str:
    """Return the right text that is most like what was said: people mend a text, they do not write another."""
    return max(listing.references, key=lambda text: grade("chrf", said, [text]) or 0.0)


SUPPORT = Task(
    name="support",
    config=CONFIGS / "demo.yaml",
    base="support-base",
    requests=messages,
    right_answers=lambda example: [answer(example)],
    answer_of=lambda example, said: answer(example),
    grade_of=intent_grade,
    likes=lambda value: value > 0,
    max_tokens=32,
    bars=LABEL_BARS,
    speaking=Speaking(corrected_share=0.8),
)
TEXT = Task(
    name="cottages",
    config=CONFIGS / "demo_text.yaml",
    base="cottages-base",
    requests=listings,
    right_answers=lambda listing: listing.references,
    answer_of=nearest_text,
    grade_of=chrf_grade,
    likes=lambda value: value >= LIKED,
    max_tokens=128,
    bars=GRADE_BARS,
    sizes=Sizes(seed_rows=1500, shifted_windows=28),
    speaking=Speaking(corrected_share=0.1, thumbed_share=0.3, guests=6),
    load_per_second=6.0,
    short_run=("train.max_steps=120", "train.eval_steps=120"),
)
