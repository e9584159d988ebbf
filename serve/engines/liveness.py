"""Liveness of an engine: one real token with a finite log-probability proves it, an open port does not."""

import http.client
import json
import math
import re

TOKEN_COUNT = re.compile(rb"^vllm:(?:prompt|generation)_tokens_total(?:\{[^}]*\})? (\S+)$", re.MULTILINE)
METRICS_TIMEOUT_SECONDS = 0.5


def answers_token(host: str, port: int, name: str, timeout_seconds: float = 10.0) -> bool:
    """Ask an engine for one real token and say whether it came, with a log-probability that is a number.

    A model whose weights have become NaN answers 200 with tokens all the same.
    """
    body = json.dumps({"model": name, "prompt": "a", "max_tokens": 1, "temperature": 0, "logprobs": 0})
    connection = http.client.HTTPConnection(host, port, timeout=timeout_seconds)
    try:
        connection.request("POST", "/v1/completions", body, {"content-type": "application/json"})
        response = connection.getresponse()
        choice = json.loads(response.read())["choices"][0]
        logprobs = choice["logprobs"]["token_logprobs"]
        # JSON has no NaN: one may also arrive as null.
        is_number = bool(logprobs) and all(isinstance(p, float | int) and math.isfinite(p) for p in logprobs)
        return response.status == 200 and bool(choice["finish_reason"]) and is_number
    except (OSError, http.client.HTTPException, ValueError, LookupError, TypeError):
        return False
    finally:
        connection.close()


def count_tokens(host: str, port: int) -> float | None:
    """Return the tokens that a vLLM engine says it has read and written, or None if it does not say.

    The number grows while an engine is only busy, and stands still while it hangs.
    """
    connection = http.client.HTTPConnection(host, port, timeout=METRICS_TIMEOUT_SECONDS)
    try:
        connection.request("GET", "/metrics")
        counts = [float(number) for number in TOKEN_COUNT.findall(connection.getresponse().read())]
        return sum(counts) if counts else None
    except (OSError, http.client.HTTPException, ValueError):
        return None
    finally:
        connection.close()
