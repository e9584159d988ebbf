"""The records of the ledger: the seven nouns of the loop in the order of the circle, and the alias that they serve.

The ledger derives its tables from these classes: a field added here is a column there.
"""

from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any, ClassVar

from driftwheel.identity import utc_now
from driftwheel.records.bookkeeping import ApiKey, Judgement, Step, Switch, Window
from driftwheel.records.by_whom import Event, Feedback
from driftwheel.records.check_details import DecisionBasis, SignalDetails
from driftwheel.records.dataset_report import DatasetReport
from driftwheel.records.gate_verdict import GateVerdict
from driftwheel.records.lineage import Lineage
from driftwheel.records.probe_answers import Fingerprint
from driftwheel.records.run_metrics import RunMetrics
from driftwheel.records.scorecard import Scorecard
from driftwheel.records.storage_path import StoragePath


class DatasetStatus(StrEnum):
    READY = "ready"  # every file is written and hashed; there is no half-made Dataset row


class TrainingRunStatus(StrEnum):
    RUNNING = "running"  # a process trains, or died and will resume from its last checkpoint
    SUCCEEDED = "succeeded"  # the weights at `path` are complete
    FAILED = "failed"  # `error` says why


class ModelVersionStatus(StrEnum):
    CANDIDATE = "candidate"  # built and scored, not yet allowed near traffic
    PUBLISHED = "published"  # the gate said PROMOTE (or there was no live version to beat)
    REJECTED = "rejected"  # the gate said no; kept for the record, refused by rollout


class DeploymentStage(StrEnum):
    SHADOW = "shadow"  # engine warm, no user traffic
    CANARY = "canary"  # a share of the traffic
    LIVE = "live"  # the alias points here
    DRAINING = "draining"  # no new requests, the last ones finish
    RETIRED = "retired"  # engine stopped


class DriftKind(StrEnum):
    INPUT = "input"  # what users ask has changed
    OUTPUT = "output"  # what the model answers has changed
    QUALITY = "quality"  # labels and feedback say that answers got worse
    ENGINE = "engine"  # latency, errors: retraining does not help


class DriftVerdict(StrEnum):
    STEADY = "steady"  # inside the calibrated threshold
    SUSPECTED = "suspected"  # over it, but not yet for long enough
    DRIFTED = "drifted"  # an alarm
    INSUFFICIENT = "insufficient"  # too few rows to say anything


class DecisionVerdict(StrEnum):
    RETRAIN = "retrain"
    HOLD = "hold"


class DecisionStatus(StrEnum):
    AWAITING_APPROVAL = "awaiting_approval"  # a person must say yes to the retrain
    OPEN = "open"  # the worker may take it
    RUNNING = "running"  # the worker has it
    AWAITING_PROMOTION = "awaiting_promotion"  # its version is published, and a person must say yes to its promotion
    PROMOTING = "promoting"  # the alias moves, or waits for the gateway: only a rollback takes that back
    PROMOTED = "promoted"  # a better version is live
    REFUSED = "refused"  # the gate said REJECT or INCONCLUSIVE, or a person said no to the retrain
    CANCELLED = "cancelled"  # a person ended it, or said no to the promotion: no failed candidate
    ROLLED_BACK = "rolled_back"  # its version went live and did worse than the one before it
    FAILED = "failed"  # a step failed for good; `error` says which
    CLOSED = "closed"  # a hold: nothing follows


@dataclass(frozen=True, kw_only=True)
class Dataset:
    """An immutable, content-hashed set of examples with its splits and its provenance."""

    prefix: ClassVar[str] = "dataset"
    id: str
    project: str
    created_at: datetime = field(default_factory=utc_now)
    status: DatasetStatus = DatasetStatus.READY
    content_hash: str
    path: StoragePath
    """Folder with train.jsonl, validation.jsonl, test.jsonl and manifest.json."""
    origin: str
    """`files`, or the id of the RetrainDecision that asked for it."""
    train_rows: int
    validation_rows: int
    test_rows: int
    report: DatasetReport = field(default_factory=DatasetReport)


@dataclass(frozen=True, kw_only=True)
class TrainingRun:
    """One fine-tuning of a base model on a dataset."""

    prefix: ClassVar[str] = "run"
    id: str
    project: str
    created_at: datetime = field(default_factory=utc_now)
    status: TrainingRunStatus = TrainingRunStatus.RUNNING
    dataset_id: str
    base_model: StoragePath
    method: str
    settings: dict[str, Any]
    settings_hash: str
    seed: int
    path: StoragePath
    """Folder with checkpoints, curves.jsonl (one JSON object per logged step) and model/ or adapter/."""
    metrics: RunMetrics = field(default_factory=RunMetrics)
    finished_at: datetime | None = None
    error: str | None = None


@dataclass(frozen=True, kw_only=True)
class ModelVersion:
    """An immutable servable artifact with manifest, scorecard, gate verdict and lineage."""

    prefix: ClassVar[str] = "version"
    id: str
    project: str
    created_at: datetime = field(default_factory=utc_now)
    status: ModelVersionStatus = ModelVersionStatus.CANDIDATE
    number: int
    """1, 2, 3 ... within the project; shown as v1, v2, v3."""
    run_id: str
    dataset_id: str
    base_model: StoragePath
    path: StoragePath
    """Folder that vLLM serves; manifest.json in it was written last."""
    manifest_hash: str
    quantization: str
    scorecard: Scorecard = field(default_factory=Scorecard)
    verdict: GateVerdict = field(default_factory=GateVerdict)
    fingerprint: Fingerprint = field(default_factory=Fingerprint)
    """Probe prompts and the log-probabilities that this artifact gives them."""
    lineage: Lineage = field(default_factory=Lineage)


@dataclass(frozen=True, kw_only=True)
class Deployment:
    """The claim that an alias serves a version, with stage and share."""

    prefix: ClassVar[str] = "deployment"
    id: str
    project: str
    created_at: datetime = field(default_factory=utc_now)
    alias: str
    version_id: str
    stage: DeploymentStage
    share: float = 0.0
    """Share of the alias' traffic, 0 to 1."""
    fence: int
    """The alias' fencing number when this deployment was made."""
    reason: str
    updated_at: datetime = field(default_factory=utc_now)


@dataclass(frozen=True, kw_only=True)
class Traffic:
    """One answered request; later its feedback and label."""

    prefix: ClassVar[str] = "req"
    id: str
    project: str
    created_at: datetime = field(default_factory=utc_now)
    """When the gateway had read the request."""
    alias: str
    version_id: str
    route: str
    status_code: int
    is_stream: bool = False
    is_partial: bool = False
    """The client left or the engine died before the answer ended; then `response` may hold more than arrived."""
    prompt: str
    """What the user wrote last: the last user message, or the completion prompt."""
    request: str = ""
    """The request body as received (JSON text)."""
    answer: str
    finish_reason: str | None = None
    prompt_tokens: int = 0
    completion_tokens: int = 0
    mean_logprob: float | None = None
    latency_seconds: float
    time_to_first_token_seconds: float | None = None
    key_id: str = ""
    """Id of the API key; of one from the environment the first 8 hex digits of its sha256."""
    user_id: str = ""
    conversation_id: str = ""
    error: str | None = None
    thumb: int | None = None
    """1 up, -1 down. This field and the three below sum up the request's Feedback rows, and are written with them."""
    label: str | None = None
    """The right answer: given by a label, or by a person's correction of the answer."""
    label_source: str | None = None
    """`label`, `correction` or `accepted`."""
    feedback_at: datetime | None = None
    response: str | None = None
    """The answer's body, exactly as sent: JSON text, or the events of a stream; None where it is not kept."""
    check_id: str | None = None
    """The check whose window held it, or passed over it because it is no observation; None while none has."""


@dataclass(frozen=True, kw_only=True)
class DriftSignal:
    """Two windows compared: score, threshold, p-value, method, window sizes, verdict."""

    prefix: ClassVar[str] = "signal"
    id: str
    project: str
    created_at: datetime = field(default_factory=utc_now)
    version_id: str
    kind: DriftKind
    feature: str
    """`all` for the decision over every feature of the kind, else the feature's name."""
    method: str
    score: float
    threshold: float
    p_value: float | None = None
    reference_rows: int
    current_rows: int
    window_started_at: datetime | None = None
    window_ended_at: datetime | None = None
    verdict: DriftVerdict
    check_id: str
    """The check that wrote it; every signal of one check shares it."""
    report_path: StoragePath | None = None
    """Folder with report.html and report.json by Evidently."""
    details: SignalDetails = field(default_factory=SignalDetails)


@dataclass(frozen=True, kw_only=True)
class RetrainDecision:
    """Retrain or hold, with the reasons and what was known."""

    prefix: ClassVar[str] = "decision"
    id: str
    project: str
    created_at: datetime = field(default_factory=utc_now)
    verdict: DecisionVerdict
    status: DecisionStatus
    trigger: str
    """`policy`, `button`, `schedule` or `webhook`."""
    remedy: str
    """`retrain`, `none`, `label`, `wait`, `engine`: what the policy says would help."""
    reasons: list[str]
    known: DecisionBasis = field(default_factory=DecisionBasis)
    check_id: str | None = None
    dataset_id: str | None = None
    run_id: str | None = None
    version_id: str | None = None
    updated_at: datetime = field(default_factory=utc_now)
    error: str | None = None


@dataclass(frozen=True, kw_only=True)
class Alias:
    """The one row that says what is live: desired by people and worker, observed by the gateway."""

    prefix: ClassVar[str] = "alias"
    id: str
    """``project/name``."""
    project: str
    name: str
    """What clients send as `model`."""
    created_at: datetime = field(default_factory=utc_now)
    version_id: str
    previous_version_id: str | None = None
    fence: int
    """Grows by one with every move; an older writer loses."""
    updated_at: datetime = field(default_factory=utc_now)
    observed_version_id: str | None = None
    observed_fence: int = 0
    observed_at: datetime | None = None
    observed_error: str | None = None
    """Why the gateway could not make the desired version live."""
    leader: str | None = None
    """The gateway that makes the desired version live and reports it; others follow what it reports."""
    heartbeats: int | None = None
    """Grows while the leader lives."""


NOUNS = (Dataset, TrainingRun, ModelVersion, Deployment, Traffic, DriftSignal, RetrainDecision)
RECORDS = (*NOUNS, Feedback, Window, Alias, Step, Switch, Judgement, ApiKey, Event)
