"""The root of the settings: one section for each stage, and the rules between sections.

Precedence: defaults < file < environment ``DRIFTWHEEL__SECTION__KEY`` < ``--set section.key=value``.
API keys are never settings, they come from the environment (DRIFTWHEEL_API_KEYS); a URL that may hold a password is a
`Secret`, which nothing shows.
"""

import sys
from pathlib import Path
from typing import Self

from pydantic import Field, ValidationError, model_validator

from driftwheel.errors import ConfigError
from driftwheel.identity import content_hash
from driftwheel.records.alias_key import AliasKey
from driftwheel.records.training_plan import TrainingPlan
from driftwheel.settings.artifact import EvaluateSettings, GateSettings, MergeSettings, ParitySettings, QuantizeSettings
from driftwheel.settings.child import hand_on
from driftwheel.settings.data import HUB, SHIPPED, Base, DatasetSettings, ModelSettings
from driftwheel.settings.secret import REVEALED, SECRETS, Secret
from driftwheel.settings.section import Section
from driftwheel.settings.serving import ServeSettings, TrafficSettings
from driftwheel.settings.training import TrainSettings, TuneSettings
from driftwheel.settings.watching import DashboardSettings, MonitorSettings, PolicySettings


class StorageSettings(Section):
    root: str = ".driftwheel"
    """Folder for artifacts, reports and the default database, relative to the settings file."""
    database_url: Secret | None = None
    """SQLAlchemy URL; None is SQLite in the storage folder. A relative file starts at the settings file's folder."""
    artifacts: str | None = Field(None, pattern=r"^(s3://[^/]+.*|[^:]+)$")
    """Where published versions are stored for other machines: a folder, or `s3://BUCKET/PREFIX`; None is nowhere."""
    artifacts_timeout_seconds: float = Field(60, gt=0)
    """Longest wait for an answer of that store, and for how long a call that failed is tried again."""


class Settings(Section):
    """The whole loop."""

    project: str = Field(pattern=r"^[a-z0-9][a-z0-9_-]{0,62}$")
    """Name of the loop; several loops may share a database."""
    model: ModelSettings
    dataset: DatasetSettings
    train: TrainSettings = TrainSettings()
    tune: TuneSettings = TuneSettings()
    merge: MergeSettings = MergeSettings()
    quantize: QuantizeSettings = QuantizeSettings()
    parity: ParitySettings = ParitySettings()
    evaluate: EvaluateSettings = EvaluateSettings()
    gate: GateSettings = GateSettings()
    serve: ServeSettings = ServeSettings()
    traffic: TrafficSettings = TrafficSettings()
    monitor: MonitorSettings = MonitorSettings()
    policy: PolicySettings = PolicySettings()
    dashboard: DashboardSettings = DashboardSettings()
    storage: StorageSettings = StorageSettings()
    path: Path = Field(default=Path("driftwheel.yaml"), exclude=True)
    """The file these settings came from; relative paths start at its folder."""

    @model_validator(mode="after")
    def _adapter_is_not_rounded(self) -> Self:
        if self.merge.kind == "adapter" and self.quantize.scheme not in ("auto", "none"):
            raise ValueError("merge.kind adapter serves the base as it is: set quantize.scheme to none or auto")
        return self

    @model_validator(mode="after")
    def _window_fits_reference(self) -> Self:
        if self.monitor.window_rows > self.monitor.reference_rows:
            raise ValueError("monitor.window_rows must not exceed monitor.reference_rows: raise the latter")
        if self.dataset.validation_share + self.dataset.test_share >= 0.8:
            raise ValueError("dataset.validation_share and dataset.test_share leave too little to train on")
        return self

    @model_validator(mode="after")
    def _spans_keep_no_more_than_rows(self) -> Self:
        if self.serve.tracing.content and (self.traffic.redact or self.traffic.redact_patterns):
            raise ValueError("serve.tracing.content would send what traffic.redact takes out of the rows; unset one")
        return self

    @property
    def alias_key(self) -> AliasKey:
        """Which alias this loop moves and serves."""
        return AliasKey(self.project, self.serve.alias)

    @property
    def root(self) -> Path:
        """The storage folder, absolute."""
        return self.resolve(self.storage.root)

    @property
    def logs(self) -> Path:
        """The folder of what processes and engines write, absolute."""
        return self.root / "logs"

    @property
    def database_url(self) -> str:
        """The ledger's SQLAlchemy URL."""
        return self.database_or("ledger.db")

    def database_or(self, file: str) -> str:
        """Return the URL of the database server, or of a SQLite file in the storage folder where there is no server."""
        given = self.storage.database_url
        return given.get_secret_value() if given is not None else f"sqlite:///{self.root / file}"

    @property
    def settings_hash(self) -> str:
        """The sha256 of every setting."""
        return content_hash(self.model_dump(mode="json"))

    def planned(self, plan: TrainingPlan) -> "Settings":
        """Return the settings of one retrain as a person wants it; raises ConfigError for what cannot be."""
        if plan.dataset_id is not None and self.train.objective != "sft":
            raise ConfigError(f"train.objective {self.train.objective} learns from feedback: choose no Dataset")
        changes = {name: value for name, value in plan.said().items() if name in TrainSettings.model_fields}
        if "num_train_epochs" in changes:
            changes["max_steps"] = -1  # above 0 it would replace the passes
        try:
            train = TrainSettings.model_validate(self.train.model_dump() | changes)
        except ValidationError as error:
            first = error.errors()[0]
            where = ".".join(["train", *map(str, first["loc"])])
            raise ConfigError(f"{where}: {first['msg']} (got {first['input']!r})") from error
        return self.model_copy(update={"train": train})

    def resolve(self, path: str) -> Path:
        """Return an absolute path; a relative one starts at the settings file's folder."""
        return (self.path.parent / Path(path).expanduser()).resolve()

    def resolve_source(self, source: str) -> str:
        """Return a source of data as an absolute path; a data set of the hub stays as it is."""
        return source if source.startswith(HUB) else str(self.resolve(source))

    def base_model(self) -> str:
        """Return the base model as a local folder where there is one, else as the hub name."""
        return self.resolve_model(self.model.base)

    def resolve_model(self, model: str) -> str:
        """Return a model's folder as an absolute path; the name of one on the hub stays as it is."""
        local = self.resolve(model)
        return str(local) if local.exists() else model

    def weighted_paths(self) -> list[tuple[str, float]]:
        """Return the sources of `dataset.sources`, paths absolute, each with its weight."""
        return [(self.resolve_source(source.path), source.weight) for source in self.dataset.weighted_sources()]

    def named_paths(self) -> dict[str, str]:
        """Return the absolute path of each source of `dataset.sources`, by its name there."""
        return {source.path: self.resolve_source(source.path) for source in self.dataset.weighted_sources()}

    def child_command(self, *words: str) -> list[str]:
        """Return the argv that runs one of our own modules, and its words, in the environment `child_environment`."""
        return [sys.executable, "-m", *words, "--config", str(self.path)]

    def child_environment(self, *, with_secrets: bool = True) -> dict[str, str]:
        """Return the variable, beside the rest of its environment, by which a child has these very settings.

        A child that opens no database, and asks nobody, needs no secrets.
        """
        known = self.model_dump(mode="json", context=REVEALED) if with_secrets else self.without_secrets()
        return hand_on(self.path, known)

    def without_secrets(self) -> dict[str, object]:
        """Return the settings as JSON for a file that others may see, or for a process that needs no secret."""
        return self.model_dump(mode="json", exclude=SECRETS)

    @property
    def base(self) -> Base:
        """The base model, as the stages load it."""
        template, file = self.model.template, self.model.template.file
        if file is not None and not file.startswith(SHIPPED):
            template = template.model_copy(update={"file": str(self.resolve(file))})
        return Base(name=self.model.base, source=self.base_model(), revision=self.model.revision, template=template)
