"""Records of who did what, of who said what about an answer, and how far each author is trusted."""

import getpass
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import ClassVar

from driftwheel.identity import utc_now

PERSON = "person:"
"""How an author's or an actor's id begins that is no API key's; a process of the loop has the next one."""
PROCESS = "process:"
Facts = Mapping[str, object]
"""Fields of a record, or settings, by name; each as JSON."""


class Trust(StrEnum):
    """How far an author of feedback is trusted; each may what those above it may."""

    NONE = "none"  # on one's own requests, and counted only within the caps on what nobody has verified
    LABEL = "label"  # on anybody's requests, within the same caps
    TRUSTED = "trusted"  # on anybody's requests, without a cap: the only word that may judge a candidate


class FeedbackKind(StrEnum):
    THUMB = "thumb"  # what one thinks of the answer: 1 up, -1 down
    LABEL = "label"  # the right label
    CORRECTION = "correction"  # the whole right answer
    COMMENT = "comment"  # what one has to say about it
    SIGNAL = "signal"  # what one did with it, such as `regenerated`


@dataclass(frozen=True, kw_only=True)
class Feedback:
    """One thing that one author said about one answer; a row is never changed but to be withdrawn."""

    prefix: ClassVar[str] = "feedback"
    id: str
    project: str
    created_at: datetime = field(default_factory=utc_now)
    request_id: str
    author: str
    """Id of the API key, or `person:` and a name; `legacy` for what was said before authors were written down."""
    trust: Trust
    """How far the author was trusted then."""
    kind: FeedbackKind
    value: str
    """What was said; of a thumb `1` or `-1`."""
    withdrawn_at: datetime | None = None
    """Since then it counts no more."""


class Action(StrEnum):
    """What may be done to a loop."""

    PROMOTE = "promote"  # a version was made the desired one
    ROLL_BACK = "rollback"  # so was the one before it
    SWAP = "swap"  # the gateway serves what is desired
    REFUSE_SWAP = "refuse_swap"  # it does not, and says why
    BEGIN_CANARY = "begin_canary"
    ADVANCE_CANARY = "advance_canary"  # to its next share
    HOLD_CANARY = "hold_canary"  # until a person decides
    ABORT_CANARY = "abort_canary"
    SHADOW = "shadow"
    END_SHADOW = "end_shadow"
    ASK_RETRAIN = "ask_retrain"  # by whom or by what ever
    APPROVE = "approve"
    REFUSE = "refuse"
    CANCEL = "cancel"
    END_RETRAIN = "end_retrain"
    PAUSE = "pause"
    RESUME = "resume"
    PUBLISH = "publish"
    REJECT = "reject"
    ALARM = "alarm"  # a kind of drift was found
    ACCEPT_NORMAL = "accept_normal"  # what newest windows hold is the new normal; the object is the version
    TAKE_BACK_NORMAL = "take_back_normal"  # it is so no more
    NOTIFY = "notify"  # people were told of an event
    CONFIRM_FEEDBACK = "confirm_feedback"
    WITHDRAW_FEEDBACK = "withdraw_feedback"
    CREATE_KEY = "create_key"
    ROTATE_KEY = "rotate_key"
    DISABLE_KEY = "disable_key"
    FORGET = "forget"  # a user, a key or a request; the object is the record that proves it
    CHANGE_SETTINGS = "change_settings"  # between two starts of `driftwheel up`


@dataclass(frozen=True, kw_only=True)
class Cause:
    """Who does something, and why."""

    actor: str
    """Id of the API key, `person:` and a name, or `process:` and which of the loop's."""
    reason: str = ""


def me(reason: str = "") -> Cause:
    """Return the person who runs this process."""
    try:
        name = getpass.getuser()
    except (KeyError, OSError):  # a container may run as a number without a name
        name = f"uid-{os.getuid()}"
    return Cause(actor=f"{PERSON}{name}", reason=reason)


def process(name: str, reason: str = "") -> Cause:
    """Return a process of the loop, such as `worker`."""
    return Cause(actor=f"{PROCESS}{name}", reason=reason)


@dataclass(frozen=True, kw_only=True)
class Event:
    """One thing that was done to a loop, and by whom; a row is never changed, and never deleted."""

    prefix: ClassVar[str] = "event"
    id: str
    project: str
    created_at: datetime = field(default_factory=utc_now)
    actor: str
    """Id of the API key, `person:` and a name, or `process:` and which of the loop's."""
    action: Action
    object_id: str
    """Id of the record that it was done to, or a name where there is none, such as the section of a setting."""
    before: dict[str, object] = field(default_factory=dict)
    """The fields that were changed, as they were."""
    after: dict[str, object] = field(default_factory=dict)
    reason: str = ""
    """What whoever did it said; never what a user wrote."""
