"""Settings of drift checks, retrain policy and dashboard."""

from typing import Annotated, Literal

from pydantic import BeforeValidator, Field

from driftwheel.settings.section import Section


class MonitorSettings(Section):
    interval_seconds: float = Field(10, gt=0)
    """Seconds between two looks at the traffic."""
    window_rows: int = Field(200, ge=20, le=50_000)
    """Answered requests in a current window; a check runs each time a window is full."""
    reference_rows: int = Field(600, ge=50, le=200_000)
    """Requests that a current window is compared with."""
    false_alarms_per_month: float = Field(1.0, gt=0)
    """Declared budget; thresholds are calibrated so that steady traffic alarms no more often than this."""
    windows_per_day: float = Field(24, gt=0)
    """Expected full windows a day; with the budget it sets the level of each check."""
    persistence: int = Field(2, ge=1)
    """Windows in a row over the threshold before an alarm."""
    permutations: int = Field(400, ge=100)
    """Resamplings of the reference when a threshold is calibrated; plainly steady windows are settled after 100."""
    min_labels: int = Field(30, ge=5)
    """Labelled rows in a window before quality is judged."""
    audit_share: float = Field(0.05, ge=0, le=1)
    """Share of the answers that are drawn by lot for the audit sample, whose labels can prove a loss."""
    labels_are_sampled: bool = False
    """Whether people label answers without looking for wrong ones; else few labels are an estimate: no retrain."""
    max_quality_drop: float = Field(0.1, gt=0, lt=1)
    """Quality counts as lost when the window's accuracy is below the scorecard's by more than this, beyond chance."""
    host: str = "127.0.0.1"
    """Address of the Prometheus exporter."""
    port: int = Field(9108, ge=0, le=65535)
    """Port of the Prometheus exporter."""
    require_key: bool = False
    """Ask for an API key with the scope `read`; needed where other machines reach the exporter."""


OLD_WORDS = {"manual": "retrain", "auto": "none"}
"""What `policy.approval` said before a promotion could wait for a person, too."""
Approval = Annotated[
    Literal["retrain", "promotion", "both", "none"],
    BeforeValidator(lambda value: OLD_WORDS.get(value, value) if isinstance(value, str) else value),
]
StepName = Literal["build_dataset", "finetune", "merge", "quantize", "parity", "evaluate", "gate"]
LONGEST_TRAINING_SECONDS, LONGEST_STEP_SECONDS = 7 * 86_400.0, 86_400.0
"""What a step may take where nothing is set: more is a hang on any machine that such models are trained on."""


class PolicySettings(Section):
    approval: Approval = "retrain"
    """What waits for a person: each `retrain` that the policy or a hook proposes, each `promotion` of what a retrain
    made, `both`, or `none`; a retrain that a person asks for starts at once."""
    min_fresh_labels: int = Field(200, ge=1)
    """Fewer rows with a label or correction since the last dataset hold the retrain; an answer that was only liked does
    not count."""
    cooldown_seconds: float = Field(3600, ge=0)
    """Quiet time after a retrain."""
    max_retrains_per_day: int = Field(4, ge=1)
    """Budget of retrains in 24 hours."""
    max_failed_gates: int = Field(2, ge=1)
    """Refused candidates in a row before only a person can start another retrain."""
    schedule_seconds: float = Field(0, ge=0)
    """Retrain this long after the last one even without drift; 0 never."""
    trial_windows: int = Field(3, ge=0)
    """Windows after a swap in which a version that does worse than the one before it is rolled back; 0 never."""
    step_seconds: dict[StepName, Annotated[float, Field(gt=0)]] = {}
    """After how long a step of a retrain is ended, by its name; one not named here after a day, `finetune` after a
    week. Time in which retraining is paused does not count."""

    @property
    def asks_for_retrain(self) -> bool:
        """Whether a retrain that nobody asked for waits for a person."""
        return self.approval in ("retrain", "both")

    @property
    def asks_for_promotion(self) -> bool:
        """Whether what a retrain made waits for a person before it goes live."""
        return self.approval in ("promotion", "both")

    def limit_of(self, step: str) -> float:
        """Return after how many seconds a step is ended."""
        longest = LONGEST_TRAINING_SECONDS if step == "finetune" else LONGEST_STEP_SECONDS
        return {str(name): seconds for name, seconds in self.step_seconds.items()}.get(step, longest)


class DashboardSettings(Section):
    host: str = "127.0.0.1"
    """Address of the dashboard."""
    port: int = Field(8501, ge=0, le=65535)
    """Port of the dashboard."""
    price_of_read_tokens: float = Field(0, ge=0)
    """What a million tokens of prompts cost you, in any money; with it the Operate page shows the cost of each key."""
    price_of_written_tokens: float = Field(0, ge=0)
    """The same of a million tokens of answers."""
    require_key: bool = False
    """Ask for an API key: `read` sees, `label` labels, `operate` steers. Needed where other machines reach it."""
    allowed_hosts: list[Annotated[str, Field(pattern=r"^[A-Za-z0-9.-]+$")]] = []
    """Names that a proxy or DNS has for the dashboard; a request for another name is refused (DNS rebinding)."""
