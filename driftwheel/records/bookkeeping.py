"""Records of the ledger beside the nouns of the loop: windows, steps, switches, judgements and API keys.

The ledger derives its tables from these classes too; `records.py` lists all of them.
"""

from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any, ClassVar

from driftwheel.identity import utc_now


class Scope(StrEnum):
    ASK = "ask"  # ask the model
    FEEDBACK = "feedback"  # say what was right, of one's own requests
    LABEL = "label"  # the same of anybody's requests
    LABEL_TRUSTED = "label:trusted"  # the same, believed without a cap
    OPERATE = "operate"  # ask for a retrain
    READ = "read"  # metrics


class ApiKeyStatus(StrEnum):
    ACTIVE = "active"
    DISABLED = "disabled"  # for good


class Preference(StrEnum):
    FIRST = "first"  # the first version's answer is the better one
    SECOND = "second"
    BOTH = "both"  # both answers are good
    NEITHER = "neither"  # both are bad
    UNSURE = "unsure"  # a judge model said one thing in one order and another in the other: counts for nothing


@dataclass(frozen=True, kw_only=True)
class Window:
    """Consecutive requests of one version that were checked together; no request is in two windows."""

    prefix: ClassVar[str] = "drift_window"  # `window` is a word of SQL
    id: str
    """The check's id, which its requests, signals and decision name."""
    project: str
    created_at: datetime = field(default_factory=utc_now)
    version_id: str
    number: int
    """1, 2, 3 ... within the version."""
    rows: int
    started_at: datetime | None = None
    ended_at: datetime | None = None
    over_in_a_row: dict[str, int] = field(default_factory=dict)
    """For each kind of drift, how many windows in a row up to this one were over the threshold; those with too few rows
    to be judged are passed over."""


@dataclass(frozen=True, kw_only=True)
class Step:
    """One step of a retrain job, for the timeline."""

    prefix: ClassVar[str] = "step"
    id: str
    """``decision_id/name``."""
    project: str
    created_at: datetime = field(default_factory=utc_now)
    decision_id: str
    name: str
    status: str
    """`running`, `done` or `failed`."""
    attempt: int = 1
    finished_at: datetime | None = None
    output: dict[str, Any] = field(default_factory=dict)
    error: str | None = None


@dataclass(frozen=True, kw_only=True)
class Switch:
    """A named value that a person sets and every process reads, such as `paused`."""

    prefix: ClassVar[str] = "switch"
    id: str
    """``project/name``."""
    project: str
    created_at: datetime = field(default_factory=utc_now)
    value: str
    updated_at: datetime = field(default_factory=utc_now)


@dataclass(frozen=True, kw_only=True)
class Judgement:
    """Which of two versions' answers to one test item a person, or a judge model, prefers."""

    prefix: ClassVar[str] = "judgement"
    id: str
    """Made from judge, pair and item, so that nobody judges the same answers twice."""
    project: str
    created_at: datetime = field(default_factory=utc_now)
    first_version_id: str
    """The one with the lower number."""
    second_version_id: str
    dataset_id: str
    item_id: str
    judge: str
    """A person's name, or `model:` and the name of a judge model."""
    preference: Preference
    first_was_left: bool | None = None
    """Where the person saw it; None for a judge model, which is asked in both orders."""


@dataclass(frozen=True, kw_only=True)
class ApiKey:
    """Who may ask the gateway for what, and how much; the key itself is not kept."""

    prefix: ClassVar[str] = "api_key"
    id: str
    """``project/name``."""
    project: str
    created_at: datetime = field(default_factory=utc_now)
    status: ApiKeyStatus = ApiKeyStatus.ACTIVE
    fence: int = 1
    """Grows by one with every change."""
    scopes: list[str]
    digest: str
    """sha256 of the key, in hex."""
    previous_digest: str | None = None
    """The same of the key before the last rotation."""
    previous_ends_at: datetime | None = None
    """Until then that one works too."""
    expires_at: datetime | None = None
    requests_per_minute: int | None = None
    tokens_per_minute: int | None = None
    max_concurrency: int | None = None
    updated_at: datetime = field(default_factory=utc_now)
