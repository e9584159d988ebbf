"""Reads the engines' own metrics, without a Prometheus: queue, KV cache, tokens and latency percentiles of each.

The gateway names its engines at `/metrics/engines`, as Prometheus' service discovery wants them; each engine shows
vLLM's metrics at `/metrics`. What counts since an engine's start becomes a speed by two looks at it.
"""

import json
import math
import urllib.error
import urllib.request
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

from prometheus_client.parser import text_string_to_metric_families

from dashboard.asking import OPENER, key_headers
from driftwheel.settings.serving import ServeSettings

ASKED_SECONDS = 1.5
"""The page says within 2 s that something is down."""
LONGEST_ANSWER = 4_000_000
"""Bytes: vLLM's metrics are some 100 kB."""
LATENCY, FIRST_TOKEN = "vllm:e2e_request_latency_seconds", "vllm:time_to_first_token_seconds"
RUNNING, WAITING, CACHE = "vllm:num_requests_running", "vllm:num_requests_waiting", "vllm:kv_cache_usage_perc"
READ, WRITTEN = "vllm:prompt_tokens", "vllm:generation_tokens"

Buckets = tuple[tuple[float, float], ...]
"""Upper bound and count of each bucket up to it, as Prometheus has them."""


@dataclass(frozen=True, kw_only=True)
class EngineNumbers:
    """What one engine says of itself, at one look."""

    address: str
    version_ids: str
    problem: str | None = None
    """Why there is nothing, in words."""
    running: float | None = None
    waiting: float | None = None
    cache_share: float | None = None
    """Of the KV cache, 0 to 1."""
    read_tokens: float | None = None
    """Since the engine's start."""
    written_tokens: float | None = None
    buckets: dict[str, Buckets] = field(default_factory=dict)

    def percentile(self, metric: str, share: float, since: "EngineNumbers | None" = None) -> float | None:
        """Return a percentile of a histogram in seconds, of the requests since another look if it is given."""
        found, before = self.buckets.get(metric, ()), dict(since.buckets.get(metric, ())) if since else {}
        counts = [(bound, count - before.get(bound, 0.0)) for bound, count in found]
        if counts and min(count for _, count in counts) < 0:  # it was started anew between the two looks
            counts = list(found)
        return quantile(counts, share)


def quantile(buckets: Sequence[tuple[float, float]], share: float) -> float | None:
    """Return a quantile of cumulative buckets, inside a bucket by a straight line, as Prometheus' histogram_quantile.

    None without observations; what lies above the last bound is said to be at that bound.
    """
    ordered = sorted(buckets)
    if not ordered or ordered[-1][1] <= 0:
        return None
    rank, below, under = share * ordered[-1][1], 0.0, 0.0
    for bound, count in ordered:
        if count >= rank:
            if math.isinf(bound):
                return below
            return below + (bound - below) * (rank - under) / (count - under) if count > under else bound
        below, under = bound, count
    return below


def read_engines(serve: ServeSettings) -> list[EngineNumbers] | str:
    """Return what each engine of the gateway says, or why the gateway names none."""
    try:
        targets = json.loads(_get(f"http://{serve.address}/metrics/engines", key_headers()))
        found = [(at, str(t.get("labels", {}).get("version", ""))) for t in targets for at in t["targets"]]
    except urllib.error.HTTPError as error:
        return (
            f"The gateway at http://{serve.address} refused with {error.code}: give the dashboard a key that may read."
        )
    except OSError as error:
        return f"No gateway answers at http://{serve.address}: {_why(error)}."
    except (ValueError, LookupError, TypeError, AttributeError):
        return f"What answers at http://{serve.address} is not the gateway."
    if not found:
        return "The gateway has no engine yet: it is starting one, or nothing is live."
    with ThreadPoolExecutor(len(found)) as pool:
        return list(pool.map(lambda pair: _read(*pair), found))


def _get(url: str, headers: dict[str, str]) -> str:
    with OPENER.open(urllib.request.Request(url, headers=headers), timeout=ASKED_SECONDS) as response:
        return str(response.read(LONGEST_ANSWER).decode(errors="replace"))


def _why(error: OSError) -> str:
    """Return in plain words why nothing came back."""
    reason = getattr(error, "reason", error)
    if isinstance(reason, ConnectionRefusedError):
        return "nothing listens there"
    if isinstance(reason, TimeoutError):
        return f"nothing came within {ASKED_SECONDS:g} s"
    return getattr(reason, "strerror", None) or str(reason)


def _read(address: str, version_ids: str) -> EngineNumbers:
    try:
        return parsed(address, version_ids, _get(f"http://{address}/metrics", {}))
    except OSError as error:
        return EngineNumbers(address=address, version_ids=version_ids, problem=f"It does not answer: {_why(error)}.")
    except (ValueError, KeyError):
        return EngineNumbers(address=address, version_ids=version_ids, problem="What it answers are no metrics.")


def parsed(address: str, version_ids: str, text: str) -> EngineNumbers:
    """Return an engine's numbers from the text of its metrics, over all models that it serves; raises ValueError."""
    sums: dict[str, float] = {}
    buckets: dict[str, dict[float, float]] = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            if sample.name == f"{family.name}_bucket":
                bounds = buckets.setdefault(family.name, {})
                bound = float(sample.labels["le"])
                bounds[bound] = bounds.get(bound, 0.0) + sample.value
            else:
                sums[sample.name] = sums.get(sample.name, 0.0) + sample.value
    return EngineNumbers(
        address=address,
        version_ids=version_ids,
        running=sums.get(RUNNING),
        waiting=sums.get(WAITING),
        cache_share=sums.get(CACHE),
        read_tokens=sums.get(f"{READ}_total"),
        written_tokens=sums.get(f"{WRITTEN}_total"),
        buckets={name: tuple(sorted(bounds.items())) for name, bounds in buckets.items()},
    )
