"""Asks one version a question, through the gateway's HTTP API."""

import json
import time
import urllib.error
import urllib.request
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from driftwheel.callers.api_keys import KEYS_VARIABLE, own_key
from driftwheel.settings.serving import ServeSettings

OPENER = urllib.request.build_opener(urllib.request.ProxyHandler({}))
"""Without the environment's proxies: the gateway is this loop's own."""


@dataclass(frozen=True, kw_only=True)
class Reply:
    """What came back: an answer, or the reason why there is none."""

    model: str
    answer: str | None = None
    problem: str | None = None
    version_id: str | None = None
    request_id: str | None = None
    seconds: float = 0.0


def key_headers() -> dict[str, str]:
    """Return the header with the gateway's key that this process was started with; none without one."""
    return {"authorization": f"Bearer {key}"} if (key := own_key()) else {}


def ask(serve: ServeSettings, model: str, question: str, *, max_tokens: int) -> Reply:
    """Ask one alias or version; a problem is part of the reply, not an exception."""
    body = {
        "model": model,
        "messages": [{"role": "user", "content": question}],
        "max_tokens": max_tokens,
        "temperature": 0,  # so that two versions differ by their weights and not by chance
    }
    headers = {"content-type": "application/json", **key_headers()}
    url = f"http://{serve.address}/v1/chat/completions"
    request = urllib.request.Request(url, json.dumps(body).encode(), headers)
    started_at = time.monotonic()
    try:
        with OPENER.open(request, timeout=serve.request_timeout_seconds) as response:
            answer = json.load(response)["choices"][0]["message"]["content"]
            version_id = response.headers.get("x-driftwheel-version")
            request_id = response.headers.get("x-request-id")
    except urllib.error.HTTPError as error:
        return Reply(model=model, problem=_refusal(model, error))
    except OSError as error:
        reason = getattr(error, "reason", error)
        return Reply(model=model, problem=f"No gateway answers at http://{serve.address} ({reason}); is it running?")
    except (ValueError, LookupError, TypeError):
        return Reply(model=model, problem=f"What answers at http://{serve.address} is not the gateway.")
    seconds = time.monotonic() - started_at
    return Reply(model=model, answer=answer or "", version_id=version_id, request_id=request_id, seconds=seconds)


def _refusal(model: str, error: urllib.error.HTTPError) -> str:
    try:
        message = json.load(error)["error"]["message"]
    except (ValueError, LookupError, TypeError):
        message = error.reason
    advice = {
        401: f"Start the dashboard with the gateway's key in {KEYS_VARIABLE}.",
        404: f"{model} is not warm: the gateway runs the live version and, for a while, the one before it.",
        503: "The engine is starting or being restarted; try again in a moment.",
    }.get(error.code, "")
    return f"The gateway refused with {error.code}: {message}. {advice}".strip()


def ask_each(serve: ServeSettings, models: Sequence[str], question: str, *, max_tokens: int) -> list[Reply]:
    """Ask several at the same time; the replies come in the order of the models."""
    with ThreadPoolExecutor(len(models)) as pool:
        return list(pool.map(lambda model: ask(serve, model, question, max_tokens=max_tokens), models))
