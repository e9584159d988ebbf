"""Proof of identity: compares an engine's answers to the probe prompts with the published fingerprint."""

import asyncio
from collections.abc import Sequence
from typing import Protocol

import structlog

from driftwheel.errors import EngineError
from driftwheel.evidence import fingerprint
from driftwheel.records.nouns import ModelVersion
from driftwheel.records.probe_answers import ProbeAnswer
from driftwheel.settings.serving import ServeSettings

log = structlog.get_logger()


class Endpoint(Protocol):
    """Where an engine answers, and under which name."""

    @property
    def url(self) -> str: ...

    @property
    def name(self) -> str: ...


class WrongModelError(EngineError):
    """An engine answers the probes otherwise than the version did; starting it again will not change that."""


async def prove(serve: ServeSettings, version: ModelVersion, engine: Endpoint) -> None:
    """Raise EngineError unless the engine answers the probe prompts as the published artifact did."""
    probes = [probe.messages for probe in version.fingerprint.probes]
    if not probes:
        raise EngineError(f"{version.id} has no fingerprint to compare with; publish it again")
    # Blocking HTTP, up to a minute; the event loop serves users meanwhile.
    taken = (await asyncio.to_thread(fingerprint.take, engine.url, engine.name, probes)).probes
    _refuse_base(serve, version, taken)
    difference = fingerprint.compare(version.fingerprint.probes, taken)
    gap, tolerance = difference.mean_logprob_difference, serve.fingerprint_tolerance
    # Asked first: with other tokens in, log-probabilities differ without saying anything about the weights.
    if not difference.is_same_prompt:
        raise WrongModelError(
            f"the engine for {version.id} reads the probe prompts as other tokens than the published one did: "
            "check serve.engine_args for another chat template or tokenizer, or promote another version"
        )
    if not difference.is_same(tolerance):
        raise WrongModelError(
            f"the engine for {version.id} is not the model that was judged: log-probabilities differ by {gap:.3g} "
            f"nats (allowed {tolerance}), {difference.token_agreement:.0%} of probe tokens agree; "
            "promote another version, or build this one again"
        )
    log.info("fingerprint proved", version=version.id, gap=round(gap, 5), agreement=difference.token_agreement)


def _refuse_base(serve: ServeSettings, version: ModelVersion, taken: Sequence[ProbeAnswer]) -> None:
    """Raise WrongModelError if an adapter's engine answers as the base alone did at publication.

    vLLM loads an adapter whose module names fit nothing with status 200, and then answers as if it were not there.
    """
    base = version.fingerprint.base_probes
    if base and fingerprint.compare(base, taken).is_same(serve.fingerprint_tolerance):
        raise WrongModelError(
            f"the engine for {version.id} answers as its base does: the adapter is not applied, as when its tensors "
            "carry other module names than the base's; promote another version, or build this one again"
        )
