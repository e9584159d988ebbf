"""Settings of the gateway, its engines, tracing, and what is kept of the traffic."""

import re
from typing import Annotated, Literal, Self

from pydantic import Field, field_validator, model_validator

from driftwheel.settings.engine_flags import refuse_opening_flags
from driftwheel.settings.secret import without_user
from driftwheel.settings.section import Section

ORIGIN = r"^(\*|null|[a-z][a-z0-9+.-]*://[^/\sA-Z]+)$"
"""As a browser writes one: without a path or a last slash. `null` is the origin of a file that was opened."""

EVERYWHERE = {"0.0.0.0": "127.0.0.1", "::": "::1"}
"""Addresses to listen on, and where one who listens there is asked from the same machine."""


def check_pattern(name: str, pattern: str, harm: str) -> None:
    """Raise ValueError for what is no regular expression, or one that every text matches, which would do harm."""
    try:
        matches_nothing = re.search(pattern, "") is not None
    except re.error as error:
        raise ValueError(f"{name} is no regular expression: {error}") from error
    if matches_nothing:
        raise ValueError(f"{name} matches the empty text, and {harm}")


class TracingSettings(Section):
    endpoint: str | None = Field(None, pattern=r"^https?://")
    """Where an OTLP/HTTP collector takes traces, `http://HOST:4318/v1/traces` (extra `otel`); None makes no spans."""
    share: float = Field(1.0, ge=0, le=1)
    """Share of the requests that get spans; of one that comes with a `traceparent`, its caller has decided."""
    content: bool = False
    """Put the last user message and the answer into the spans; not where `traffic.redact` forbids to keep them."""

    @field_validator("endpoint")
    @classmethod
    def _collector_has_no_password(cls, endpoint: str | None) -> str | None:
        return without_user(endpoint, "serve.tracing.endpoint", "OTEL_EXPORTER_OTLP_HEADERS")


class ServeSettings(Section):
    alias: str = Field("default", pattern=r"^[a-z0-9][a-z0-9_.-]{0,62}$")
    """Name that clients send as `model`."""
    host: str = "127.0.0.1"
    """Address the gateway listens on."""
    port: int = Field(8000, ge=0, le=65535)
    """Port of the gateway."""
    shared_port: int | None = Field(None, ge=1, le=65535)
    """A port that several gateways of this machine listen on together, each beside a `port` of its own, which is one of
    the 63 numbers above: the system deals connections out to them, and they share the limits of keys."""
    log: Literal["required", "best_effort"] = "required"
    """Whether an answer whose row cannot be written is withheld (503), or given, counted and alerted on."""
    require_key: bool = True
    """Refuse requests without a key: one of `driftwheel keys`, or from DRIFTWHEEL_API_KEYS."""
    cors_origins: list[Annotated[str, Field(pattern=ORIGIN)]] = []
    """Origins of web pages that may ask from a browser, such as `https://app.example`; `*` means every page."""
    engine_args: list[str] = []
    """Further arguments for `vllm serve`; those that would open the engine are refused."""
    tool_call_parser: str = "auto"
    """vLLM's parser of tool calls: `auto` chooses it by the chat template, `none` leaves calls as text, or its name."""
    max_model_len: int = Field(1024, ge=16)
    """Longest prompt and answer together, in tokens."""
    max_num_seqs: int = Field(32, ge=1)
    """Requests that an engine runs at once."""
    kv_cache_gib: int = Field(1, ge=1)
    """Memory of the key-value cache without a GPU, in GiB."""
    gpu_memory_utilization: float = Field(0.4, gt=0, le=1)
    """Most of a GPU that one engine may take; two engines live through a swap."""
    gpu_kv_cache_gib: float | None = Field(None, gt=0)
    """Memory of an engine's key-value cache on each of its GPUs, in GiB; None is what `max_num_seqs` requests of
    `max_model_len` tokens take, twice, as far as `gpu_memory_utilization` allows."""
    tensor_parallel: int = Field(1, ge=1)
    """GPUs that share one engine's weights."""
    devices: list[Annotated[int, Field(ge=0)]] = []
    """Numbers of the GPUs for engines, as nvidia-smi shows them; replicas take them in turn. Empty means all."""
    room_timeout_seconds: float = Field(120, ge=0)
    """Longest wait for GPU memory that others hold, before an engine is started."""
    enforce_eager: bool = False
    """Skip compilation: faster start, slower answers."""
    start_timeout_seconds: float = Field(300, gt=0)
    """An engine that is not ready by then is stopped."""
    drain_timeout_seconds: float = Field(60, ge=0)
    """Longest wait for an old version's last request."""
    keep_warm_seconds: float = Field(3600, ge=0)
    """How long the previous version's engine stays up for a rollback."""
    health_interval_seconds: float = Field(5, gt=0)
    """Seconds between two requests for a real token from each engine."""
    request_timeout_seconds: float = Field(300, gt=0)
    """Longest time for one answer."""
    max_body_bytes: int = Field(1_048_576, ge=1024)
    """Larger request bodies get 413."""
    max_waiting: int = Field(224, ge=0)
    """Requests that may wait for an engine beside the `max_num_seqs` that it runs; more get 503. A key gets half."""
    max_connections: int = Field(4096, ge=16)
    """Connections of clients at once; more are closed at once."""
    fingerprint_tolerance: float = Field(0.05, gt=0)
    """Mean absolute log-probability difference on the probe prompts that still counts as the same model, in nats."""
    replicas: int = Field(1, ge=1, le=64)
    """Engines per version behind the gateway; a swap needs twice as many for a while."""
    engines: list[str] = []
    """URLs of engines on other machines (`http://HOST:PORT`); where set, the gateway starts none of its own."""
    engine_hosts: bool = False
    """Engines are on machines that run `driftwheel engine-host`, each with its `replicas`; the gateway starts none."""
    engine_address: str = "127.0.0.1"
    """Address that engines of this machine listen on; the agent of an engine host sets it to its own."""
    swap: Literal["auto", "blue_green", "in_place"] = "auto"
    """Swap whole models through a second engine, or by new weights in the only one; `auto` looks at the memory."""
    rollout: Literal["direct", "canary"] = "direct"
    """Whether a promoted version gets all requests at once, or those of `serve.canary_shares` first."""
    canary_shares: list[Annotated[float, Field(gt=0, lt=1)]] = Field([0.1, 0.5], min_length=1)
    """Shares of the requests that a canary gets, one after the other, before it goes live."""
    canary_seconds: float = Field(300, ge=0)
    """Shortest time at each share."""
    canary_min_requests: int = Field(100, ge=1)
    """Fewest requests that the canary answers at each share."""
    canary_false_rollback: float = Field(0.001, gt=0, le=0.1)
    """Declared budget: the chance that a canary which is no worse is rolled back, however long it runs."""
    canary_slowdown: float = Field(1.5, ge=1)
    """An answer is slow when it took longer than this times the live version's 90 % quantile."""
    sticky_by: Literal["request", "user", "key"] = "request"
    """What is dealt to canary or live as one: each request, or all of a `user` (else key), or all of a key."""
    tracing: TracingSettings = TracingSettings()
    """OpenTelemetry."""

    @property
    def address(self) -> str:
        """Where this machine reaches the gateway, as HOST:PORT."""
        host = EVERYWHERE.get(self.host, self.host)
        return f"[{host}]:{self.port}" if ":" in host else f"{host}:{self.port}"

    @property
    def starts_engines(self) -> bool:
        """Whether engines are children of the gateway."""
        return not (self.engines or self.engine_hosts)

    @field_validator("engine_args")
    @classmethod
    def _engine_stays_closed(cls, arguments: list[str]) -> list[str]:
        return refuse_opening_flags(arguments)

    @field_validator("engines")
    @classmethod
    def _engines_have_no_password(cls, engines: list[str]) -> list[str]:
        for url in engines:
            without_user(url, "the URL of an engine", None)
        return engines

    @model_validator(mode="after")
    def _sharing_gateways_have_no_engines(self) -> Self:
        if self.shared_port is None:
            return self
        if not 0 < self.port - self.shared_port < 64:
            raise ValueError(f"port {self.port} is none of the 63 above shared_port {self.shared_port}; choose one")
        if self.starts_engines:
            raise ValueError("gateways that share a port share engines: set engine_hosts, or name them by engines")
        return self

    @model_validator(mode="after")
    def _engines_are_in_one_way_elsewhere(self) -> Self:
        if self.engines and self.engine_hosts:
            raise ValueError("engines names engines, and engine_hosts finds those of agents: set one of them")
        return self

    @model_validator(mode="after")
    def _only_engine_is_alone(self) -> Self:
        if self.swap == "in_place" and (self.replicas > 1 or not self.starts_engines or self.rollout == "canary"):
            raise ValueError("swap in_place has one engine: leave replicas at 1, engines empty and rollout direct")
        return self


class UnwatchedSettings(Section):
    user_agents: list[str] = []
    """Regular expressions for the User-Agent of probers, such as `UptimeRobot`."""
    system_prompts: list[str] = []
    """Regular expressions for the system prompt of requests that no user made."""
    first_texts: list[str] = []
    """Regular expressions for the first user message, such as `Generate a concise.* title`."""

    @field_validator("user_agents", "system_prompts", "first_texts")
    @classmethod
    def _are_patterns(cls, patterns: list[str]) -> list[str]:
        for pattern in patterns:
            check_pattern(repr(pattern), pattern, "would leave nothing to watch")
        return patterns


class TrafficSettings(Section):
    share: float = Field(1.0, gt=0, le=1)
    """Share of the requests that are logged, drawn by request id; feedback on the others finds no row."""
    keep_responses: bool = True
    """Keep each answer's body as sent, beside its text; of a stream some 200 bytes a token."""
    redact: list[Literal["email", "iban", "card", "phone", "ip", "national_id"]] = []
    """Personal data that is replaced by `<EMAIL>` and so on before a row is written; then no body is kept."""
    redact_patterns: dict[str, str] = {}
    """Names and regular expressions of further things to replace: `{TICKET: "T-[0-9]{6}"}` makes `<TICKET>`."""
    unwatched: UnwatchedSettings = UnwatchedSettings()
    """Requests that are answered and logged, but neither watched nor learned; the header `x-driftwheel-watch: no` marks
    one by itself."""
    keep_days: float | None = Field(None, gt=0)
    """Rows older than this are deleted, but for those that the loop still needs; None keeps them."""
    keep_mib: int | None = Field(None, ge=1)
    """When the rows hold more, the oldest are deleted, but for those that the loop still needs; None keeps them."""

    @field_validator("redact_patterns")
    @classmethod
    def _are_patterns(cls, patterns: dict[str, str]) -> dict[str, str]:
        for name, pattern in patterns.items():
            check_pattern(name, pattern, "would replace nothing everywhere")
        return patterns
