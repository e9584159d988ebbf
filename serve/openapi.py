"""The OpenAPI 3.1 document of the gateway's routes, so that clients and fuzzers know what there is."""

import json
from functools import cache

from driftwheel.traffic.feedback import SIGNALS
from serve.access.allow_list import ONE_MODEL, ROUTES, Openness, Route
from serve.relaying.call import MOST

Schema = dict[str, object]

_TEXT: Schema = {"type": "string"}
_MODEL: Schema = {"type": "string", "description": "an alias or a version id"}
_BOUNDS: Schema = {name: {"type": "integer", "maximum": most} for name, most in MOST.items()}
_MESSAGE: Schema = {
    "type": "object",
    "required": ["role"],
    "properties": {"role": _TEXT, "content": {"type": ["string", "array", "null"]}},
}


def _asked(*, is_streamed: bool = True, **properties: Schema) -> Schema:
    """Return the schema of a request for an engine."""
    options: Schema = {"stream": {"type": "boolean"}, **_BOUNDS} if is_streamed else {}
    return {
        "type": "object",
        "required": ["model", *properties],
        "properties": {"model": _MODEL, **properties, **options},
    }


_LABEL: Schema = {"type": ["string", "number", "boolean"]}
STREAMED = ("/v1/chat/completions", "/v1/completions", "/v1/responses")
BODIES: dict[str, Schema] = {
    "/v1/chat/completions": _asked(messages={"type": "array", "items": _MESSAGE}),
    "/v1/completions": _asked(prompt={"type": ["string", "array"]}),
    "/v1/responses": _asked(input={"type": ["string", "array"]}),
    "/v1/embeddings": _asked(is_streamed=False, input={"type": ["string", "array"]}),
    "/v1/feedback": {
        "type": "object",
        "required": ["request_id"],
        "additionalProperties": False,
        "properties": {
            "request_id": _TEXT,
            "thumb": {"enum": [1, -1]},
            "label": _LABEL,
            "correction": _TEXT,
            "comment": _TEXT,
            "signal": {"enum": [*SIGNALS]},
            "withdraw": {"type": "boolean"},
        },
    },
    "/v1/hooks/alertmanager": {
        "type": "object",
        "required": ["alerts"],
        "properties": {"alerts": {"type": "array", "items": {"type": "object"}}},
    },
    "/v1/control/rollback": {"type": "object", "required": [], "properties": {"reason": _TEXT}},
}
"""What each route reads; the engine checks everything else that it is sent."""
REFUSALS = {
    "400": "not HTTP, not JSON, or out of bounds",
    "401": "no valid key",
    "403": "the key lacks the route's scope",
    "404": "no such route, model or request",
    "405": "another method",
    "408": "the request came too slowly",
    "409": "too much was said about one answer",
    "413": "the body is too large",
    "415": "the body is compressed",
    "422": "the correction is in another form than the answers",
    "429": "the key's limit is reached; see Retry-After",
    "431": "the headers are too large",
    "503": "no engine, too much load, or the answer could not be logged; see Retry-After",
    "504": "the engine took too long",
}
_NO_BRACES = str.maketrans("", "", "{}")
MEDIA = {"/metrics": "text/plain"}


@cache
def document() -> bytes:
    """Return the document as JSON."""
    refusal = {"application/json": {"schema": {"$ref": "#/components/schemas/Refusal"}}}
    value = {
        "openapi": "3.1.0",
        "info": {"title": "driftwheel gateway", "version": "1"},
        "paths": {path: {route.method.lower(): _operation(path, route)} for path, route in ROUTES.items()},
        "components": {
            "securitySchemes": {"key": {"type": "http", "scheme": "bearer"}},
            "responses": {code: {"description": why, "content": refusal} for code, why in REFUSALS.items()},
            "schemas": {"Refusal": _refusal()},
        },
    }
    return json.dumps(value).encode()


def _operation(path: str, route: Route) -> Schema:
    medium = MEDIA.get(path, "application/json")
    content: Schema = {medium: {}, **({"text/event-stream": {}} if path in STREAMED else {})}
    good: Schema = {"description": "the answer", "content": content}
    operation: Schema = {
        "operationId": path.strip("/").replace("/", "_").translate(_NO_BRACES),
        "description": f"Needs the scope {route.scope.value!r}.",
        "security": [{"key": []}] if route.openness == Openness.KEY else [{}, {"key": []}],
        "responses": {"200": good} | {code: {"$ref": f"#/components/responses/{code}"} for code in REFUSALS},
    }
    if path == ONE_MODEL:
        operation["parameters"] = [{"name": "model", "in": "path", "required": True, "schema": _TEXT}]
    if path in BODIES:
        operation["requestBody"] = {"required": True, "content": {"application/json": {"schema": BODIES[path]}}}
    return operation


def _refusal() -> Schema:
    nullable = {"type": ["string", "null"]}
    names = {"message": _TEXT, "type": _TEXT, "code": nullable, "param": nullable}
    error = {"type": "object", "required": list(names), "properties": names}
    return {"type": "object", "required": ["error"], "properties": {"error": error}}
