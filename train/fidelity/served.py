"""Compares an engine's answers with the model's files: the last row of a parity table."""

import json
from collections.abc import Mapping, Sequence

from driftwheel.errors import ParityError
from driftwheel.records.scorecard import ParityRow
from driftwheel.settings.settings import Settings
from driftwheel.text.conversations import Messages, Tool
from train.asking.client import Answer, Endpoint, token_logprobs
from train.base_model import load_tokenizer
from train.evaluation.scoring import ask
from train.fidelity.hops import measure, require
from train.fidelity.parity_table import Parity
from train.fidelity.probing import Probe, reading_of
from train.step_progress import progress


def measure_served(
    settings: Settings, endpoint: Endpoint, parity: Parity, known: Mapping[str, Answer]
) -> list[ParityRow]:
    """Return the whole parity table; `known` holds answers that the endpoint gave already, by `prompt_key`.

    Raises ParityError if the endpoint reads other tokens than the trainer, or answers otherwise than the files do.
    """
    unasked = [probe for probe in parity.probes if prompt_key(probe.messages, probe.tools) not in known]
    conversations, tools = [probe.messages for probe in unasked], [probe.tools for probe in unasked]
    fresh = ask(settings.evaluate, settings.serve, endpoint, conversations, "parity", with_ids=True, tools=tools)
    answers = {**known, **{prompt_key(p.messages, p.tools): a for p, a in zip(unasked, fresh, strict=True)}}
    given = [answers[prompt_key(probe.messages, probe.tools)] for probe in parity.probes]
    for probe, answer in zip(parity.probes, given, strict=True):
        _require_same_prompt(probe, answer)
    with progress("reference answers", len(parity.probes)) as on_done:
        logprobs = token_logprobs(
            endpoint,
            [(probe.prompt_ids, probe.reference_ids) for probe in parity.probes],
            concurrency=settings.evaluate.concurrency,
            timeout_seconds=settings.serve.request_timeout_seconds,
            on_done=on_done,
        )
    tokenizer = load_tokenizer(str(parity.artifact))
    readings = [
        reading_of(
            tokenizer, probe, answer.answer_ids[: parity.max_tokens], values, label_field=settings.dataset.label_field
        )
        for probe, answer, values in zip(parity.probes, given, logprobs, strict=True)
    ]
    rows = [*parity.rows, measure("served", readings, parity.chain, twice=parity.twice)]
    require(settings.parity, rows)
    return rows


def prompt_key(messages: Messages, tools: Sequence[Tool] = ()) -> str:
    """Return what tells one conversation from another."""
    return json.dumps([list(messages), list(tools)], sort_keys=True)


def _require_same_prompt(probe: Probe, answer: Answer) -> None:
    """Raise ParityError unless the endpoint rendered the conversation as the tokens that were learned from."""
    if answer.error is not None:
        raise ParityError(
            "served", "prompt tokens", f"the engine refused {probe.id}: {answer.error}; check serve.engine_args"
        )
    if list(answer.prompt_ids) == probe.prompt_ids:
        return
    at = _first_difference(answer.prompt_ids, probe.prompt_ids)
    raise ParityError(
        "served",
        "prompt tokens",
        f"the engine reads {probe.id} as {len(answer.prompt_ids)} tokens, the trainer as {len(probe.prompt_ids)}; the "
        f"first difference is at token {at}: check serve.engine_args for another chat template or tokenizer",
    )


def _first_difference(a: Sequence[int], b: Sequence[int]) -> int:
    differing = (n for n, (x, y) in enumerate(zip(a, b, strict=False)) if x != y)
    return next(differing, min(len(a), len(b)))
