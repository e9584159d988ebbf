"""Records where a ModelVersion comes from: data, run, settings, code and libraries.

Every field has a default, so that a lineage that an older program wrote can still be read.
"""

from dataclasses import dataclass, field

from driftwheel.records.json_form import only_with


@dataclass(frozen=True, kw_only=True)
class MergedFrom:
    """The runs that were combined into one, and how."""

    run_ids: tuple[str, ...]
    way: str
    weights: tuple[float, ...]
    density: float


@dataclass(frozen=True, kw_only=True)
class Lineage:
    """Everything that one would need to build a version again."""

    dataset_id: str | None = None
    dataset_hash: str | None = None
    dataset_origin: str | None = None
    run_id: str | None = None
    seed: int | None = None
    method: str | None = None
    started_from: str | None = None
    """The run from whose merged weights the training went on; None where it started from the base model."""
    merged_from: MergedFrom | None = None
    base_model: str | None = None
    base_revision: str | None = None
    served_as: str = "merged"
    """`merged` or `adapter`."""
    training_settings_hash: str | None = None
    settings_hash: str | None = None
    template_hash: str | None = None
    prompted_from: str | None = only_with("prompted_from")
    """The artifact's hash of the version that was put behind a prompt; None where there is none."""
    tokenizer_hash: str | None = None
    judged_against: str | None = None
    """The version that was live."""
    decision_id: str | None = None
    code_revision: str | None = None
    """Commit of the checkout, marked if files differed from it."""
    forgotten_at: str | None = only_with("forgotten_at")
    """When somebody was forgotten whose rows it had learned from; a version that is trained since has not."""
    libraries: dict[str, str] = field(default_factory=dict)
