"""TRL's supervised trainer, with rows that may weigh differently and a validation loss that is a mean over tokens.

A step's loss is the weighted mean over the completion tokens of all its batches, sum(w nll) / sum(w), whatever
computes their log-probabilities. The Trainer's own validation loss is a mean of the batches' means, in which the
tokens of a small or short batch count for more.
"""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch.utils.data import Sampler
from trl import SFTTrainer

from train.training.class_weights import ROW_WEIGHT
from train.training.sharding import Batch

TOKEN_WEIGHTS = "token_weights"
"""The rows' weights in a batch, spread over its tokens."""


class ShortFirst(Sampler[int]):  # type: ignore[misc]  # torch is not followed
    """Rows from short to long in the first epoch, and in a random order in the later ones."""

    def __init__(self, lengths: Sequence[int], seed: int) -> None:
        self._lengths, self._seed, self._epoch = lengths, seed, 0

    def __len__(self) -> int:
        return len(self._lengths)

    def set_epoch(self, epoch: int) -> None:
        """Say which epoch is drawn next."""
        self._epoch = epoch

    def __iter__(self) -> Iterator[int]:
        """Draw an epoch; which row of equal length comes first is chance."""
        generator = torch.Generator().manual_seed(self._seed + self._epoch)
        order: list[int] = torch.randperm(len(self._lengths), generator=generator).tolist()
        return iter(order if self._epoch else sorted(order, key=self._lengths.__getitem__))


class SupervisedTrainer(SFTTrainer):  # type: ignore[misc]  # trl is untyped
    """SFTTrainer whose rows may have a `row_weight`, and whose training rows may come short ones first."""

    def __init__(self, *, is_short_first: bool = False, **options: Any) -> None:
        super().__init__(**options)
        self._is_short_first = is_short_first
        self._lost = torch.zeros(2, dtype=torch.float64)
        known = (self.train_dataset, self.eval_dataset)
        if any(ROW_WEIGHT in rows.column_names for rows in known if rows is not None):
            _spread_weights(self.data_collator)

    def _set_signature_columns_if_needed(self) -> None:
        super()._set_signature_columns_if_needed()
        if ROW_WEIGHT not in self._signature_columns:
            self._signature_columns.append(ROW_WEIGHT)

    def _get_train_sampler(self, train_dataset: Any = None) -> Any:
        if not self._is_short_first:
            return super()._get_train_sampler(train_dataset)
        lengths = [len(ids) for ids in (train_dataset or self.train_dataset)["input_ids"]]
        return ShortFirst(lengths, self.args.seed)

    def get_batch_samples(self, *given: Any) -> Any:
        """Return a step's batches, their weights scaled to a mean of 1 over all of the step's tokens."""
        batches, tokens = super().get_batch_samples(*given)
        if tokens is not None and batches and TOKEN_WEIGHTS in batches[0]:
            sums = sum(_weight_and_tokens(batch[TOKEN_WEIGHTS], batch["labels"]) for batch in batches)
            weight, count = self.accelerator.gather(sums[None].to(self.args.device)).sum(0).tolist()
            for batch in batches:
                batch[TOKEN_WEIGHTS] = batch[TOKEN_WEIGHTS] * (count / weight)
        return batches, tokens

    def compute_loss(
        self, model: Any, inputs: Batch, return_outputs: bool = False, num_items_in_batch: Any = None
    ) -> Any:
        """Let TRL compute the loss of a batch from weighted log-probabilities."""
        given = weights = inputs.pop(TOKEN_WEIGHTS, None)
        if weights is not None and num_items_in_batch is None:
            weight, count = _weight_and_tokens(weights, inputs["labels"]).tolist()
            weights = weights * (count / weight)

        def scored(**options: Any) -> Any:
            outputs = model(**options)
            if not self.model.training and getattr(outputs, "log_probs", None) is not None:
                # As they were given: what a batch is scaled by would let short ones count for more.
                shares = 1.0 if given is None else given[:, 1:].double()
                nats, tokens = -(outputs.log_probs.double() * shares).sum(), (outputs.label_mask * shares).sum()
                self._lost += torch.stack([nats, tokens.double()]).detach().cpu()
            return outputs if weights is None else replace(outputs, log_probs=outputs.log_probs * weights[:, 1:])

        return super().compute_loss(scored, inputs, return_outputs, num_items_in_batch)

    def evaluation_loop(self, *given: Any, metric_key_prefix: str = "eval", **options: Any) -> Any:
        """Run the Trainer's loop; its loss is the mean over all completion tokens, weighted where rows have weights."""
        self._lost.zero_()
        done = super().evaluation_loop(*given, metric_key_prefix=metric_key_prefix, **options)
        nats, tokens = self.accelerator.gather(self._lost[None].to(self.args.device)).sum(0).tolist()
        if tokens:
            done.metrics[f"{metric_key_prefix}_loss"] = nats / tokens
        return done


def _weight_and_tokens(weights: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """Return the summed weights of a batch's learned tokens, and their number."""
    mask = labels[:, 1:] != -100
    return torch.stack([weights[:, 1:][mask].double().sum(), mask.sum().double()])


def _spread_weights(collator: Any) -> None:
    """Let a collator spread its rows' weights over their tokens, padded or joined end to end as these are."""
    collate = collator.torch_call

    def torch_call(rows: list[Batch]) -> Batch:
        batch: Batch = collate(rows)
        if ROW_WEIGHT in rows[0]:
            weights = torch.tensor([row[ROW_WEIGHT] for row in rows])
            if len(batch["labels"]) == len(rows):
                spread = weights[:, None].expand(batch["labels"].shape)
            else:
                joined = weights.repeat_interleave(torch.tensor([len(row["input_ids"]) for row in rows]))
                spread = torch.zeros(batch["labels"].shape)
                spread[0, : len(joined)] = joined
            batch[TOKEN_WEIGHTS] = spread
        return batch

    collator.torch_call = torch_call
