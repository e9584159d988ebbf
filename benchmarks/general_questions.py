"""General questions with one right answer each, to show what a model forgot while it learned a task.

They are made here and are no published test: a set that a model was trained on would show less.
"""

from dataclasses import dataclass

CAPITALS = {
    "France": "Paris",
    "Germany": "Berlin",
    "Italy": "Rome",
    "Spain": "Madrid",
    "Portugal": "Lisbon",
    "Japan": "Tokyo",
    "China": "Beijing",
    "Russia": "Moscow",
    "Egypt": "Cairo",
    "Greece": "Athens",
    "Norway": "Oslo",
    "Sweden": "Stockholm",
    "Poland": "Warsaw",
    "Austria": "Vienna",
    "Ireland": "Dublin",
    "Cuba": "Havana",
    "Peru": "Lima",
    "Kenya": "Nairobi",
    "Hungary": "Budapest",
    "Finland": "Helsinki",
}
OPPOSITES = {
    "hot": "cold",
    "big": "small",
    "fast": "slow",
    "up": "down",
    "day": "night",
    "open": "closed",
    "happy": "sad",
    "early": "late",
    "full": "empty",
    "hard": "soft",
    "light": "dark",
    "old": "young",
    "rich": "poor",
    "strong": "weak",
    "wet": "dry",
    "high": "low",
    "first": "last",
    "true": "false",
    "left": "right",
    "win": "lose",
}
SUMS = [(a, b) for a in (2, 3, 5, 7) for b in (1, 2, 4, 6, 8)]


@dataclass(frozen=True, kw_only=True)
class Question:
    """A question, its kind, and the word or number that a right answer holds."""

    kind: str
    text: str
    answer: str

    def is_answered(self, text: str) -> bool:
        """Say whether a text holds the answer as a word of its own."""
        words = "".join(c if c.isalnum() else " " for c in text.lower()).split()
        return self.answer.lower() in words


def questions() -> list[Question]:
    """Return sixty questions: capitals, opposites and sums."""
    return [
        *(Question(kind="capitals", text=f"What is the capital of {c}?", answer=a) for c, a in CAPITALS.items()),
        *(Question(kind="opposites", text=f'What is the opposite of "{w}"?', answer=a) for w, a in OPPOSITES.items()),
        *(Question(kind="sums", text=f"What is {a} plus {b}?", answer=str(a + b)) for a, b in SUMS),
    ]
