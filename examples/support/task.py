"""What a demo's steps need to know of its world: what is asked, what is right, how people speak, and the bars."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from examples.support.claims import Bars
from examples.support.world import Phase


class Asked(Protocol):
    """A request of a world: what is sent, and what is right is known."""

    @property
    def text(self) -> str: ...
    @property
    def phase(self) -> Phase: ...


class Asking(Protocol):
    """Makes that many distinct requests from a seed, none of whose texts is in `but_not`."""

    def __call__(self, rows: int, seed: int, phase: Phase, but_not: set[str] = ...) -> Sequence[Asked]: ...


@dataclass(frozen=True, kw_only=True)
class Sizes:
    """How much of everything the demo asks."""

    seed_rows: int = 3000
    steady_windows: int = 4
    shifted_windows: int = 10
    held_out_rows: int = 300


@dataclass(frozen=True, kw_only=True)
class Speaking:
    """How often people say something about answers; who does so is drawn without a look at the answer."""

    corrected_share: float = 0.0
    """By somebody who handles the case and writes what is right, also where the answer was."""
    thumbed_share: float = 0.0
    """By guests, who like the answer or not."""
    guests: int = 0
    """Keys that ask and give thumbs, and are trusted with nothing else; without any one key does everything."""


@dataclass(frozen=True, kw_only=True)
class Task:
    """A world as the steps of the demo take it."""

    name: str
    config: Path
    base: str
    """Folder of the base model in the cache; it is made from the world's own text."""
    requests: Asking
    right_answers: Callable[[Any], Sequence[str]]
    """Each becomes a row of the seed data."""
    answer_of: Callable[[Any, str], str]
    """What a person would say is right, who sees the request and what was answered."""
    grade_of: Callable[[Any, str], float]
    """How good an answer to a request is, from 0 to 1."""
    likes: Callable[[float], bool]
    """Whether a guest likes an answer of that grade."""
    max_tokens: int
    """Longer than any right answer, so that a cut one is a fault."""
    bars: Bars
    sizes: Sizes = Sizes()
    speaking: Speaking = Speaking()
    load_per_second: float = 12.0
    """Above the requests a second that the claim about swaps asks for."""
    short_run: tuple[str, ...] = ("train.max_steps=60", "train.eval_steps=60")
    """How the planted bad candidate is trained: not for long."""
