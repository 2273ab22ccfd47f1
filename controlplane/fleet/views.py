"""The JSON shapes of the fleet for API, console and CLI. Times are RFC 3339 in UTC, null is unknown."""

from __future__ import annotations

from typing import Literal

from controlplane.fleet.holding.views import AcknowledgementView, HeldBackView
from controlplane.fleet.rollout_views import RolloutView
from controlplane.fleet.view import View


class BackendView(View):
    """One backend of a version, as last observed."""

    url: str
    state: str
    reason: str


class VersionView(View):
    """One version of a model with its numbers. Null is unknown."""

    version: str
    role: Literal["stable", "candidate", "serving", "idle"]
    """serving: the version gets traffic, but is neither the stable version nor a rollout's candidate."""
    state: str
    """ready, loading, unloading, unavailable or unknown."""
    traffic_share: float | None = None
    """Share of the model's requests, 0 to 1."""
    requests_per_second: float | None = None
    """Rate over the last minute. Right after a switch: the version's share of the model's rate."""
    latency_p99_seconds: float | None = None
    latency_source: str | None = None
    """gateway, proxy, probe or engine."""
    latency_samples: float | None = None
    """Number of requests behind the P99. It is the increase of a counter, so it need not be a whole number."""
    error_ratio: float | None = None
    error_source: str | None = None
    """gateway, proxy, probe or engine. The ratio of engine is too low: most failures never reach its counters."""
    running: float | None = None
    waiting: float | None = None
    backends: tuple[BackendView, ...] = ()
    simulated: bool = False


class ModelView(View):
    """One model: its versions, and the rollout in progress, if any."""

    name: str
    driver: str
    stable: str
    previous: str | None = None
    """The version that a rollback goes to."""
    baseline: Literal["learning", "known"] | None = None
    """Whether a week of the model's traffic is known, so that LLMQpsBelowBaseline can fire. Null: no traffic."""
    can_promote: bool
    drift: str = ""
    """A sentence when an engine serves another version than `stable` without a rollout; "" otherwise."""
    versions: tuple[VersionView, ...]
    rollout: RolloutView | None = None


class TargetView(View):
    """One scraped endpoint and its last scrape."""

    engine: str
    """Kind of engine; `auto` as long as it is not recognised."""
    auto: bool
    """Whether fleet.yaml leaves the engine to be recognised (`engine: auto`)."""
    job: str
    instance: str
    url: str
    health: str
    """up, down or unknown."""
    last_error: str
    last_error_reason: str
    remark: str
    """Sentence about what is wrong though the target answers, and what to check: a probe's question that does not fit
    its server, or what a blind target exposes instead. Empty: nothing."""
    last_scrape_at: str | None
    last_good_at: str | None
    """Time of the last scrape that succeeded; null: none since this process began."""
    since: str | None
    """Time of the first scrape with this `health` and `missing`."""
    duration_seconds: float | None
    samples: int | None
    missing: tuple[str, ...]
    """Canonical metrics that this engine should report and did not."""
    blind: bool
    """Whether it is up and reported none of them: `remark` says what it exposes instead."""
    unknown_labels: tuple[str, ...]
    """Canonical metrics whose series are kept apart by labels that the catalogue does not know: `metric: label, …`."""
    labels: dict[str, str]
    simulated: bool


class AlertEventView(View):
    """One transition of an alert."""

    at: str
    before: str
    after: str
    sentence: str


class AlertView(View):
    """One alert instance."""

    fingerprint: str
    name: str
    state: str
    """pending, firing or resolved."""
    severity: str
    labels: dict[str, str]
    annotations: dict[str, str]
    value: float | None
    active_at: str
    fired_at: str | None
    resolved_at: str | None
    unknown_since: str | None
    """Time since which the alert keeps its state without data, because targets are down."""
    away: tuple[str, ...]
    """These targets, as `job/instance`. For a resolved alert: the targets whose removal ended it."""
    rule: str
    runbook: str | None
    simulated: bool
    held_back: tuple[HeldBackView, ...] = ()
    """Why notifications leave the alert out now; empty for an alert that does not fire, and for one that is sent."""
    acknowledged: AcknowledgementView | None = None
    """The person who takes care of it; null: nobody."""
    flapping: str = ""
    """Sentence that says how it flaps, such as "flapping: 7 changes in the last 5 minutes"; empty: it does not."""


class AlertDetailView(AlertView):
    """One alert instance with its transitions."""

    history: tuple[AlertEventView, ...] = ()


class EpisodeView(View):
    """One time for which an alert was pending, fired, or both."""

    fingerprint: str
    name: str
    labels: dict[str, str]
    pending_at: str | None
    """Null: it fired at once, or the history does not go back so far."""
    fired_at: str | None
    """Null: it did not fire."""
    resolved_at: str | None
    """End of the episode; null: it is active."""


class GpuView(View):
    """One GPU, merged from all exporters that report it."""

    node: str
    gpu: str
    """The GPU's UUID; of a MIG instance: `UUID/GI1`."""
    index: str | None = None
    """The GPU's index on its node, as `nvidia-smi -i` accepts it."""
    utilization_ratio: float | None = None
    memory_used_bytes: float | None = None
    memory_total_bytes: float | None = None
    temperature_celsius: float | None = None
    power_watts: float | None = None
    model: str | None = None
    """The model that runs there, by the labels of the exporter or of the pod's target, else by the pod's name."""
    pods: tuple[str, ...] = ()
    """Names of the pods that have the GPU."""
    simulated: bool = False


class TargetCounts(View):
    """Targets by health."""

    up: int
    down: int
    unknown: int


class AttentionView(View):
    """A rollout, an engine or a gateway that needs attention. Alerts are not among them."""

    model: str
    """"" for a gateway."""
    rollout: str | None
    """The rollout's id; null for an engine or a gateway."""
    need: str
    """person, waiting, decision, went_back (a rollout), engine_not_ready, gateway_silent, gateway_refuses,
    gateway_shared, gateway_behind or no_gateway."""
    sentence: str
    since: str | None
    """Null when the time is unknown."""


class AlertCounts(View):
    """Alerts by state."""

    firing: int
    pending: int


class FleetView(View):
    """The whole fleet at one instant."""

    name: str
    generated_at: str
    models: tuple[ModelView, ...]
    targets: TargetCounts
    alerts: AlertCounts | None
    """Null when the alert store cannot be read."""
    gpus: tuple[GpuView, ...]
    attention: tuple[AttentionView, ...] = ()
    """Rollouts and engines that need attention, the most urgent first."""
    observe_only: bool
    warnings: tuple[str, ...] = ()
    """Sources that could not be read. Their values above are null."""
