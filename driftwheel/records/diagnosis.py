"""Records of a diagnosis: what of prompts and answers has changed, in sentences, each with what would help.

Every field has a default, so that what an older program wrote can still be read.
"""

from dataclasses import dataclass, field
from enum import StrEnum


class Remedy(StrEnum):
    """What would help."""

    ACCEPT = "accept"  # it is the new normal: no answer is known to be worse for it
    LABEL = "label"  # nobody can say yet whether the answers are right
    RETRAIN = "retrain"  # the model never learned this
    BLOCK = "block"  # one caller or an attack: refuse it or leave it out
    PROMPT = "prompt"  # the instruction around the request has changed or does not fit
    ENGINE = "engine"  # model, template or engine answer otherwise than they were judged


@dataclass(frozen=True, kw_only=True)
class WordShift:
    """A word or a pair of words that is said more often than before."""

    word: str = ""
    before: float = 0.0
    """Share of the texts that had it, 0 to 1, in what the version learned from and was judged on."""
    now: float = 0.0
    """The same in the newest windows."""
    side: str = "input"
    """`input` for prompts, `output` for answers."""


@dataclass(frozen=True, kw_only=True)
class NewCluster:
    """Prompts of the newest windows that are like each other and unlike what was there before."""

    rows: int = 0
    share: float = 0.0
    """Of the newest windows' prompts, 0 to 1."""
    before: float = 0.0
    """Share of the reference's prompts that would be in it."""
    words: list[str] = field(default_factory=list)
    """What they have in common."""
    examples: list[str] = field(default_factory=list)
    """Up to three prompts."""
    nearest_label: str | None = None
    """Label of the training texts that are most like them; None where there are no labels."""
    request_ids: list[str] = field(default_factory=list)
    """Up to twenty of its requests."""
    authors: int = 0
    """Keys or users that asked them."""


@dataclass(frozen=True, kw_only=True)
class Change:
    """A property of prompts or answers whose share or mean has changed."""

    name: str = ""
    side: str = "input"
    before: float = 0.0
    now: float = 0.0
    unit: str = "share"
    """`share` for one of 0 to 1, else the unit of a mean."""
    p_value: float | None = None


@dataclass(frozen=True, kw_only=True)
class Bot:
    """One caller or one text that makes up much of the newest window."""

    kind: str = "caller"
    """`caller` or `text`."""
    name: str = ""
    rows: int = 0
    share: float = 0.0


@dataclass(frozen=True, kw_only=True)
class Finding:
    """One thing that changed, in a sentence, and what would help."""

    sentence: str = ""
    remedy: Remedy = Remedy.LABEL
    advice: str = ""
    """What to do, in a sentence."""


@dataclass(frozen=True, kw_only=True)
class Diagnosis:
    """What changed in the newest windows, the most telling first; without findings nothing is known to have changed."""

    findings: list[Finding] = field(default_factory=list)
    words: list[WordShift] = field(default_factory=list)
    clusters: list[NewCluster] = field(default_factory=list)
    changes: list[Change] = field(default_factory=list)
    bot: Bot | None = None
    windows: int = 0
    """Newest windows that it is of."""
