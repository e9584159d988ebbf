"""Feedback and alerts become changes of the ledger; everything here runs on a thread, never on the event loop."""

import json
from typing import Any

from driftwheel.records import Traffic
from driftwheel.settings.settings import Settings
from driftwheel.store.ledger import Ledger
from driftwheel.traffic.feedback import give_feedback
from serve.refusals import RequestRefused
from serve.relaying.call import storable

FEEDBACK_FIELDS = ("request_id", "thumb", "label", "correction")


def read_object(body: bytes) -> dict[str, Any]:
    """Return a body's JSON object; raises RequestRefused."""
    try:
        value = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise RequestRefused(400, f"the body is not JSON: {error}", "invalid_json") from error
    if not isinstance(value, dict):
        raise RequestRefused(400, "the body must be a JSON object", "invalid_json")
    return value


def read_feedback(body: bytes) -> dict[str, Any]:
    """Return checked feedback; raises RequestRefused naming the wrong field."""
    fields = read_object(body)
    for name in fields:
        if name not in FEEDBACK_FIELDS:
            known = ", ".join(FEEDBACK_FIELDS)
            raise RequestRefused(400, f"unknown field {name!r}; known are {known}", "unknown_field", param=name)
    if not isinstance(fields.get("request_id"), str):
        message = "request_id must be the x-request-id of an answer"
        raise RequestRefused(400, message, "invalid_field", param="request_id")
    fields["request_id"] = storable(fields["request_id"])
    thumb = fields.get("thumb")
    if thumb is not None and (isinstance(thumb, bool) or thumb not in (1, -1)):
        raise RequestRefused(400, "thumb must be 1 or -1", "invalid_field", param="thumb")
    for name in ("label", "correction"):
        if fields.get(name) is not None:
            if not isinstance(fields[name], str) or not fields[name].strip():
                raise RequestRefused(400, f"{name} must be a text", "invalid_field", param=name)
            fields[name] = storable(fields[name])
    if all(fields.get(name) is None for name in FEEDBACK_FIELDS[1:]):
        raise RequestRefused(400, "feedback needs one of thumb (1 or -1), label or correction", "missing_field")
    return fields


def store_feedback(ledger: Ledger, settings: Settings, fields: dict[str, Any]) -> Traffic:
    """Attach checked feedback to a request of this loop; raises NotFoundError or StorageError."""
    return give_feedback(
        settings,
        ledger,
        fields["request_id"],
        thumb=fields.get("thumb"),
        label=fields.get("label"),
        correction=fields.get("correction"),
    )


def feedback_kinds(fields: dict[str, Any]) -> list[str]:
    """Return what kinds of feedback were given, as the metric names them."""
    kinds = [name for name in ("label", "correction") if fields.get(name) is not None]
    if fields.get("thumb") is not None:
        kinds.append("thumb_up" if fields["thumb"] == 1 else "thumb_down")
    return kinds
