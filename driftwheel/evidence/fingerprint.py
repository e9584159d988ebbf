"""Takes the fingerprint of a served model from probe prompts, and compares two fingerprints.

The fingerprint is the greedy answer's tokens and the log-probabilities of prompt and answer on fixed conversations,
read from the engine that serves the artifact. A tuned model is so sure of its answers that another version of it
often gives the same ones with the same certainty; the prompts tell them apart.
"""

import http.client
import json
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from urllib.parse import urlsplit

from driftwheel.errors import EngineError
from driftwheel.records.probe_answers import Fingerprint, ProbeAnswer
from driftwheel.text.conversations import Messages

PROBE_TOKENS = 16
"""Few are enough: versions differ more on the tokens of a prompt, which are all read, than on those of an answer."""
PROBES_AT_ONCE = 8  # a swap waits for the proof
LEAST_AGREEMENT = 0.9
"""Of the same model's tokens with its own: another batch size may turn one whose rival is as likely."""


@dataclass(frozen=True, kw_only=True)
class Difference:
    """How far a served model is from a stored fingerprint."""

    mean_logprob_difference: float
    """Mean absolute difference in nats: the larger one of prompts and of answer tokens on which both agree so far."""
    token_agreement: float
    """Share of probe tokens equal up to the first difference of each probe, 0 to 1."""
    probes: int
    is_same_prompt: bool = True
    """Whether both read the probes as the same token ids; otherwise template or tokenizer differ."""

    def is_same(self, tolerance: float) -> bool:
        """Say whether this is still the same model; `tolerance` is in nats."""
        is_near = self.mean_logprob_difference <= tolerance and self.token_agreement >= LEAST_AGREEMENT
        return is_near and self.is_same_prompt


def take(url: str, model: str, probes: Sequence[Messages], *, timeout_seconds: float = 60) -> Fingerprint:
    """Ask an OpenAI-compatible engine each probe, greedily, and return the fingerprint.

    Raises EngineError if the engine does not answer with log-probabilities.
    """
    with ThreadPoolExecutor(PROBES_AT_ONCE) as pool:
        answers = pool.map(lambda messages: _ask(url, model, messages, timeout_seconds), probes)
        return Fingerprint(probes=tuple(answers))


def compare(stored: Sequence[ProbeAnswer], served: Sequence[ProbeAnswer]) -> Difference:
    """Compare two engines' answers to the same probes; raises EngineError if the probes differ."""
    pairs = list(zip(stored, served, strict=False))
    if not pairs or [a.messages for a in stored] != [b.messages for b in served]:
        raise EngineError("the fingerprints are of different probe prompts: build the version again")
    gaps: list[float] = []
    prompt_gaps: list[float] = []
    agreed = total = 0
    for a, b in pairs:
        total += max(len(a.tokens), len(b.tokens))
        prompts = a.prompt_logprobs, b.prompt_logprobs
        if prompts[0] and len(prompts[0]) != len(prompts[1]):
            prompt_gaps.append(float("inf"))  # another template or tokenizer
        prompt_gaps += [abs(p - q) for p, q in zip(*prompts, strict=False)]
        for token_a, token_b, p, q in zip(a.tokens, b.tokens, a.logprobs, b.logprobs, strict=False):
            if token_a != token_b:
                break
            agreed += 1
            gaps.append(abs(p - q))
    mean = max(sum(gaps) / len(gaps) if gaps else float("inf"), sum(prompt_gaps) / max(len(prompt_gaps), 1))
    return Difference(
        mean_logprob_difference=mean,
        token_agreement=agreed / max(total, 1),
        probes=len(pairs),
        is_same_prompt=all(a.prompt_ids == b.prompt_ids for a, b in pairs if a.prompt_ids),
    )


def _ask(url: str, model: str, messages: Messages, timeout_seconds: float) -> ProbeAnswer:
    body = {
        "model": model,
        "messages": list(messages),
        "temperature": 0,
        "max_tokens": PROBE_TOKENS,
        "logprobs": True,
        "top_logprobs": 0,
        "prompt_logprobs": 0,
        "return_token_ids": True,
    }
    parts = urlsplit(url)
    connection = http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=timeout_seconds)
    try:
        connection.request("POST", "/v1/chat/completions", json.dumps(body), {"content-type": "application/json"})
        response = connection.getresponse()
        text = response.read().decode()
        if response.status != 200:
            raise EngineError(f"the engine at {url} answered a probe with {response.status}: {text[:200]}")
        answer = json.loads(text)
        content = answer["choices"][0]["logprobs"]["content"]
        # The first prompt token has nothing before it and so no log-probability.
        prompt = [next(iter(entry.values()))["logprob"] for entry in answer.get("prompt_logprobs") or [] if entry]
    except (OSError, http.client.HTTPException, ValueError, LookupError, TypeError) as error:
        raise EngineError(f"the engine at {url} did not answer a probe prompt: {error}") from error
    finally:
        connection.close()
    return ProbeAnswer(
        messages=tuple(messages),
        tokens=tuple(entry["token"] for entry in content),
        logprobs=tuple(entry["logprob"] for entry in content),
        prompt_logprobs=tuple(prompt),
        prompt_ids=tuple(answer.get("prompt_token_ids") or ()),
    )
