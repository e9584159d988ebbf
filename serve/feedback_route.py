"""The feedback endpoint: checks the body of /v1/feedback, and keeps it with its author."""

import json
import re
import sys
from dataclasses import dataclass
from typing import Any, Literal

from driftwheel.errors import ConflictError
from driftwheel.records.nouns import Traffic
from driftwheel.settings.serving import TrafficSettings
from driftwheel.store.ledger import Ledger
from driftwheel.store.row_values import storable
from driftwheel.text.answers import as_label
from driftwheel.traffic.feedback import SIGNALS, Author, WrongFormError, give_feedback, withdraw_feedback
from serve.refusals import RequestRefused

_ID_IN_BODY = re.compile(r"(?:chatcmpl-|cmpl-|resp_|embd-)(req_\d{8}T\d{9}_[0-9a-f]{8})")
"""The `id` of an answer's body: the engine writes the kind of answer before the request id that it was given."""
FEEDBACK_FIELDS = ("request_id", "thumb", "label", "correction", "comment", "signal", "withdraw")
MOST_BYTES = 262_144
"""Of one body: every word is kept, and the longest answer of a small model takes a quarter of this."""
TEXTS = ("label", "correction", "comment", "signal")


@dataclass(frozen=True, kw_only=True)
class Opinion:
    """What somebody says about one answer, or that all they said about it is taken back."""

    request_id: str
    thumb: Literal[1, -1] | None = None
    label: str | None = None
    correction: str | None = None
    """The whole right answer."""
    comment: str | None = None
    signal: str | None = None
    is_withdrawn: bool = False

    @property
    def kinds(self) -> list[str]:
        """The kinds of feedback that were given, as the metric names them."""
        kinds = [name for name in TEXTS if getattr(self, name) is not None]
        if self.thumb is not None:
            kinds.append("thumb_up" if self.thumb == 1 else "thumb_down")
        return [*kinds, "withdrawn"] if self.is_withdrawn else kinds


def read_object(body: bytes) -> dict[str, Any]:
    """Return a body's JSON object; raises RequestRefused."""
    try:
        value = json.loads(body)
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise RequestRefused(400, f"the body is not JSON: {error}", "invalid_json") from error
    except RecursionError as error:
        raise RequestRefused(400, "the body is nested too deeply", "invalid_json") from error
    except ValueError as error:  # Python converts no integer of more digits (CVE-2020-10735)
        digits = sys.get_int_max_str_digits()
        message = f"the body holds a number of more than {digits:,} digits; send it as text, in quotes"
        raise RequestRefused(400, message, "number_too_long") from error
    if not isinstance(value, dict):
        raise RequestRefused(400, "the body must be a JSON object", "invalid_json")
    return value


def read_feedback(body: bytes) -> Opinion:
    """Return checked feedback; raises RequestRefused naming the wrong field."""
    if len(body) > MOST_BYTES:
        raise RequestRefused(413, f"feedback may be at most {MOST_BYTES} bytes long", "body_too_large")
    fields = read_object(body)
    for name in fields:
        if name not in FEEDBACK_FIELDS:
            known = ", ".join(FEEDBACK_FIELDS)
            raise RequestRefused(400, f"unknown field {name!r}; known are {known}", "unknown_field", param=name)
    request_id, thumb = fields.get("request_id"), fields.get("thumb")
    if not isinstance(request_id, str):
        message = "request_id must be the x-request-id of an answer, or the id in its body"
        raise RequestRefused(400, message, "invalid_field", param="request_id")
    if thumb is not None and (isinstance(thumb, bool) or thumb not in (1, -1)):
        raise RequestRefused(400, "thumb must be 1 or -1", "invalid_field", param="thumb")
    rated: Literal[1, -1] | None = None if thumb is None else 1 if thumb > 0 else -1  # 1.0 is 1 too
    # A label of JSON answers may be a number or a truth value, and clients send it as what it is.
    if isinstance(fields.get("label"), bool | int | float):
        fields["label"] = as_label(fields["label"])
        if fields["label"] is None:
            raise RequestRefused(
                400, "label must be a finite number, a truth value or text", "invalid_field", param="label"
            )
    texts = {name: _text_of(fields, name) for name in TEXTS}
    if texts["signal"] is not None and texts["signal"] not in SIGNALS:
        raise RequestRefused(400, f"signal must be one of {', '.join(SIGNALS)}", "invalid_field", param="signal")
    is_withdrawn, is_said = fields.get("withdraw") or False, thumb is not None or any(texts.values())
    if not isinstance(is_withdrawn, bool) or (is_withdrawn and is_said):
        message = "withdraw must be true, and stand beside request_id alone: it takes back all that you said"
        raise RequestRefused(400, message, "invalid_field", param="withdraw")
    if not is_said and not is_withdrawn:
        message = "feedback needs one of thumb (1 or -1), label, correction, comment, signal or withdraw"
        raise RequestRefused(400, message, "missing_field")
    in_body = _ID_IN_BODY.fullmatch(request_id)
    found = in_body.group(1) if in_body else storable(request_id)
    return Opinion(request_id=found, thumb=rated, is_withdrawn=is_withdrawn, **texts)


def store_feedback(
    traffic: TrafficSettings,
    ledger: Ledger,
    project: str,
    opinion: Opinion,
    *,
    author: Author,
    label_field: str | None = None,
) -> Traffic:
    """Keep checked feedback on a request of this loop, or take back the author's; blocks.

    Raises NotFoundError, StorageError, or RequestRefused: 422 for a correction that is no answer of this task, 409 for
    too many words about one answer.
    """
    try:
        if opinion.is_withdrawn:
            return withdraw_feedback(ledger, project, opinion.request_id, author=author)
        return _give(traffic, ledger, project, opinion, author, label_field)
    except WrongFormError as error:
        raise RequestRefused(422, str(error), "wrong_form", param="correction") from error
    except ConflictError as error:
        raise RequestRefused(409, str(error), "too_many_words") from error


def _give(
    traffic: TrafficSettings, ledger: Ledger, project: str, opinion: Opinion, author: Author, label_field: str | None
) -> Traffic:
    return give_feedback(
        traffic,
        ledger,
        project,
        opinion.request_id,
        author=author,
        thumb=opinion.thumb,
        label=opinion.label,
        correction=opinion.correction,
        comment=opinion.comment,
        signal=opinion.signal,
        label_field=label_field,
    )


def _text_of(fields: dict[str, Any], name: str) -> str | None:
    value = fields.get(name)
    if value is None:
        return None
    if not isinstance(value, str) or not value.strip():
        raise RequestRefused(400, f"{name} must be a text", "invalid_field", param=name)
    return storable(value)
