"""Refusals: HTTP errors in the form that OpenAI's clients understand."""

import json
from collections.abc import Sequence

from driftwheel.errors import DataError

TYPES = {
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    408: "timeout_error",
    429: "rate_limit_error",
}


STALLED_SECONDS = 2.0
"""Rows that wait so long for the ledger mean that no answer can be given now."""
MAX_CHARACTERS = 1000
"""A longer message quotes what the client sent, which it knows."""


class RequestRefused(DataError):
    """A request that gets an error status instead of an answer."""

    def __init__(
        self,
        status: int,
        message: str,
        code: str,
        *,
        param: str | None = None,
        headers: tuple[tuple[str, str], ...] = (),
    ) -> None:
        """Say which status, why, a code for programs, which field, and further headers."""
        super().__init__(message)
        self.status = status
        self.message = message
        self.code = code
        self.param = param
        self.headers = headers

    def body(self) -> bytes:
        """Return the JSON body that OpenAI's clients understand."""
        kind = TYPES.get(self.status, "server_error" if self.status >= 500 else "invalid_request_error")
        message = self.message if len(self.message) <= MAX_CHARACTERS else f"{self.message[:MAX_CHARACTERS]}..."
        error = {"message": message, "type": kind, "code": self.code, "param": self.param}
        return json.dumps({"error": error}).encode()


def no_model(name: str, served: Sequence[str]) -> RequestRefused:
    """Return the refusal of a model that is not there, which names those that are."""
    names = ", ".join(served) or "none yet"
    return RequestRefused(404, f"no model {name!r}; there are: {names}", "model_not_found", param="model")
