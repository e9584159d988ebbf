"""Asks a model in memory the probe prompts: greedy answers, and log-probabilities of the reference answers."""

import gc
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from driftwheel.errors import ConfigError
from driftwheel.machine.accelerator import has_gpu
from driftwheel.text.conversations import Message, Tool
from train.base_model import CPU, end_ids
from train.data.examples import Example
from train.data.tokens.rendering import as_ids
from train.evaluation.scores import grade_answer

BATCH_PROBES = 50


@dataclass(frozen=True, kw_only=True)
class Probe:
    """A test row as the trainer tokenizes it."""

    id: str
    messages: list[Message]
    expected: str
    label: str | None
    prompt_ids: list[int]
    reference_ids: list[int]
    """The reference answer up to its end token."""
    tools: list[Tool] = field(default_factory=list)
    """What the model may call."""
    references: list[str] = field(default_factory=list)
    """Further right answers."""


@dataclass(frozen=True, kw_only=True)
class Reading:
    """What one form of the model makes of one probe."""

    answer_ids: list[int]
    """Greedy answer, with its end token if it came to one."""
    logprobs: list[float]
    """Of the reference answer's tokens, in nats."""
    is_correct: bool


def reading_device() -> str:
    """Return the one device on which every form of a model is read here: the GPU where there is one.

    Of two devices each rounds in its own way, and their difference would be part of the verdict on a form.
    """
    return "cuda" if has_gpu() else CPU


def free_memory(device: str) -> None:
    """Give a device what models that were read held of it, so that an engine can have it."""
    import torch

    if device != CPU:
        gc.collect()
        torch.cuda.empty_cache()


def make_probes(tokenizer: Any, rows: Sequence[Example], max_tokens: int, *, ends: Collection[int] = ()) -> list[Probe]:
    """Tokenize rows as TRL does: the prompt by the template, the reference as what the whole row adds to it.

    `ends` are the token ids at which an engine stops beside the tokenizer's own.
    """
    probes = []
    for row in rows:
        prompt_ids = as_ids(tokenizer, row.prompt, row.tools, add_generation_prompt=True)
        whole = as_ids(tokenizer, [*row.prompt, *row.completion], row.tools)
        reference_ids = _to_end(whole[len(prompt_ids) :], {tokenizer.eos_token_id, *ends})[:max_tokens]
        if whole[: len(prompt_ids)] != prompt_ids or not reference_ids:
            raise ConfigError(
                f"the chat template renders the prompt of {row.id} otherwise once the answer follows; "
                "parity cannot be measured with it: choose a template whose prompt is a prefix of the whole"
            )
        # Calls are compared as the template writes them, because no parser reads what a model in memory says.
        calls = row.completion[-1].get("tool_calls")
        probes.append(
            Probe(
                id=row.id,
                messages=row.prompt,
                expected=tokenizer.decode(reference_ids, skip_special_tokens=True) if calls else row.answer,
                label=None if calls else row.label,
                prompt_ids=prompt_ids,
                reference_ids=reference_ids,
                tools=row.tools,
                references=[] if calls else row.references,
            )
        )
    return probes


def read_model(
    model: Any,
    tokenizer: Any,
    probes: Sequence[Probe],
    max_tokens: int,
    *,
    label_field: str | None,
    is_autocast: bool,
    drafts: Sequence[Reading] = (),
) -> list[Reading]:
    """Ask a transformers model every probe; `is_autocast` computes in bfloat16 as the trainer does.

    A forward pass over the reference gives its log-probabilities. Where each of its tokens is the most likely one, it
    is the greedy answer; else the draft, another form's answer, is tried in the same way. Only what is left is
    generated, token by token.
    """
    import torch

    was_training = model.training
    model.eval()
    with torch.no_grad(), torch.autocast(model.device.type, torch.bfloat16, enabled=is_autocast):
        references = [probe.reference_ids for probe in probes]
        logprobs, is_greedy = _forced(model, tokenizer, probes, references, max_tokens)
        answers = {probe.id: probe.reference_ids for probe, agrees in zip(probes, is_greedy, strict=True) if agrees}
        if drafts:
            drafted = [(p, d.answer_ids) for p, d in zip(probes, drafts, strict=True) if p.id not in answers]
            _, is_greedy = _forced(model, tokenizer, [p for p, _ in drafted], [ids for _, ids in drafted], max_tokens)
            answers |= {p.id: ids for (p, ids), agrees in zip(drafted, is_greedy, strict=True) if agrees}
        left = [probe for probe in probes if probe.id not in answers]
        answers |= {p.id: ids for p, ids in zip(left, _generated(model, tokenizer, left, max_tokens), strict=True)}
    model.train(was_training)
    return [
        reading_of(tokenizer, p, answers[p.id], values, label_field=label_field)
        for p, values in zip(probes, logprobs, strict=True)
    ]


def reading_of(
    tokenizer: Any, probe: Probe, answer_ids: Sequence[int], logprobs: Sequence[float], *, label_field: str | None
) -> Reading:
    """Put an answer's text beside the expected one."""
    text = tokenizer.decode(answer_ids, skip_special_tokens=True)
    _, is_correct = grade_answer(probe.expected, text, probe.label, label_field, probe.references)
    return Reading(answer_ids=list(answer_ids), logprobs=list(logprobs), is_correct=is_correct)


def _to_end(ids: list[int], ends: Collection[int]) -> list[int]:
    """Cut after the first token at which an engine stops."""
    at = next((position for position, number in enumerate(ids) if number in ends), len(ids))
    return ids[: at + 1]


def _padded(model: Any, tokenizer: Any, rows: Sequence[Sequence[int]]) -> dict[str, Any]:
    import torch

    # Padding stands before the rows, because answers are generated at their right end.
    width = max(len(row) for row in rows)
    ids = [[tokenizer.pad_token_id] * (width - len(row)) + list(row) for row in rows]
    mask = [[0] * (width - len(row)) + [1] * len(row) for row in rows]
    return {
        "input_ids": torch.tensor(ids, device=model.device),
        "attention_mask": torch.tensor(mask, device=model.device),
    }


def _forced(
    model: Any, tokenizer: Any, probes: Sequence[Probe], targets: Sequence[Sequence[int]], max_tokens: int
) -> tuple[list[list[float]], list[bool]]:
    """Return the log-probability of each target token, and whether each target is the greedy answer."""
    logprobs: list[list[float]] = [[] for _ in probes]
    is_greedy, ends = [False] * len(probes), end_ids(tokenizer, model.generation_config)
    for batch in _batches([len(probe.prompt_ids) + len(ids) for probe, ids in zip(probes, targets, strict=True)]):
        inputs = _padded(model, tokenizer, [[*probes[n].prompt_ids, *targets[n]] for n in batch])
        # Positions count from a row's first token, as in an engine, which pads nothing.
        positions = (inputs["attention_mask"].cumsum(1) - 1).clamp(min=0)
        longest = max(len(targets[n]) for n in batch)
        # The rows end together, and so the last columns hold every target token and the one before it.
        logits = model(**inputs, position_ids=positions, use_cache=False, logits_to_keep=longest + 1).logits[:, :-1]
        wanted = inputs["input_ids"][:, -longest:]
        # A bfloat16 number has two to three digits, too few to compare log-probabilities by.
        chosen = logits.float().log_softmax(-1).gather(2, wanted.unsqueeze(2)).squeeze(2)
        is_top = logits.argmax(-1) == wanted
        for row, n in enumerate(batch):
            ids = targets[n]
            logprobs[n] = chosen[row, -len(ids) :].tolist()
            is_ended = ids[-1] in ends or len(ids) >= max_tokens
            is_greedy[n] = is_ended and bool(is_top[row, -len(ids) :].all())
    return logprobs, is_greedy


def _generated(model: Any, tokenizer: Any, probes: Sequence[Probe], max_tokens: int) -> list[list[int]]:
    answers: list[list[int]] = [[] for _ in probes]
    ends = end_ids(tokenizer, model.generation_config)
    for batch in _batches([len(probe.prompt_ids) for probe in probes]):
        inputs = _padded(model, tokenizer, [probes[n].prompt_ids for n in batch])
        found = model.generate(
            **inputs,
            do_sample=False,
            max_new_tokens=max_tokens,
            eos_token_id=sorted(ends),
            pad_token_id=tokenizer.pad_token_id,
        )
        for n, answer in zip(batch, found[:, inputs["input_ids"].shape[1] :].tolist(), strict=True):
            answers[n] = _to_end(answer, ends)
    return answers


def _batches(lengths: Sequence[int]) -> Iterator[list[int]]:
    """Give positions of entries of about the same length together, so that little of a batch is padding."""
    by_length = sorted(range(len(lengths)), key=lambda n: lengths[n])
    for start in range(0, len(by_length), BATCH_PROBES):
        yield by_length[start : start + BATCH_PROBES]
