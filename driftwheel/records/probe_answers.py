"""What an engine answered to probe conversations: the records of a fingerprint."""

from dataclasses import dataclass

from driftwheel.records.json_form import only_with
from driftwheel.text.conversations import Message


@dataclass(frozen=True, kw_only=True)
class ProbeAnswer:
    """One conversation, the greedy answer to it, and the log-probabilities of both in nats."""

    messages: tuple[Message, ...]
    tokens: tuple[str, ...]
    logprobs: tuple[float, ...]
    """Of the answer's tokens."""
    prompt_logprobs: tuple[float, ...] = ()
    """Of the prompt's tokens but the first, which has nothing before it."""
    prompt_ids: tuple[int, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Fingerprint:
    """What tells an engine that serves this version from one that serves another; empty where it is not known."""

    probes: tuple[ProbeAnswer, ...] = ()
    base_probes: tuple[ProbeAnswer, ...] | None = only_with("base_probes")
    """Of an adapter: what its base alone answers to the same conversations."""
