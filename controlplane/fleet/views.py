"""The JSON shapes of the fleet: what API, console and CLI show. Times are RFC 3339 in UTC, null is unknown."""

from __future__ import annotations

import math
from datetime import UTC, datetime
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field


def rfc3339(seconds: float | None) -> str | None:
    """Return unix seconds as RFC 3339 in UTC with milliseconds, or null."""
    if seconds is None:
        return None
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def instant(seconds: float) -> str:
    """Return unix seconds, which must be known, as RFC 3339 in UTC."""
    return rfc3339(seconds) or ""


def finite(value: float | None) -> float | None:
    """Return the value, or null where JSON has no word for it (NaN, infinity)."""
    return value if value is not None and math.isfinite(value) else None


class View(BaseModel):
    """Base of every shape: frozen, and nothing beyond the declared fields."""

    model_config = ConfigDict(extra="forbid", frozen=True, populate_by_name=True)


class BackendView(View):
    """One place that serves a version, as last observed."""

    url: str
    state: str
    reason: str


class VersionView(View):
    """One version of a model with its numbers; null where nothing is known."""

    version: str
    role: Literal["stable", "candidate", "serving", "idle"]
    """serving: neither stable nor moved to, and takes traffic all the same."""
    state: str
    """ready, loading, unloading, unavailable or unknown."""
    traffic_share: float | None = None
    """0..1 of the model's requests."""
    requests_per_second: float | None = None
    """Over the last minute; right after a switch the version's share of the model's."""
    latency_p99_seconds: float | None = None
    latency_source: str | None = None
    """gateway, probe or engine."""
    latency_samples: float | None = None
    """Requests behind the P99, by a counter's increase: not a whole number."""
    error_ratio: float | None = None
    error_source: str | None = None
    """gateway, probe or engine; from engine the ratio is too low, since most failures never reach its counters."""
    running: float | None = None
    waiting: float | None = None
    backends: tuple[BackendView, ...] = ()
    simulated: bool = False


class RolloutEventView(View):
    """One transition of a rollout."""

    at: str
    phase: str
    sentence: str


class RolloutView(View):
    """One attempt to move a model to another version."""

    id: str
    model: str
    from_: str | None = Field(alias="from")
    to: str
    kind: str
    """promote or rollback."""
    strategy: str
    phase: str
    finished: bool
    ok: bool | None
    """Null while it runs."""
    switched: bool
    """The candidate is the stable version."""
    verified: bool | None = None
    """True: it answered questions or clients well. False: it is loaded, not tried. Null: not judged, or turned back."""
    evidence: str = ""
    """What that rests on, in words."""
    wished: bool = False
    """It was turned back because an operator asked for that."""
    needs_person: bool = False
    """It ended and left something that only a person can mend."""
    sentence: str
    created_at: str
    updated_at: str
    finished_at: str | None
    created_by: str
    notes: tuple[str, ...] = ()
    events: tuple[RolloutEventView, ...] = ()


class PlanView(View):
    """What a rollout would do."""

    model: str
    from_: str | None = Field(alias="from")
    to: str
    strategy: str
    steps: tuple[str, ...]
    notes: tuple[str, ...] = ()


class ModelView(View):
    """One model: its versions, and the rollout in progress, if any."""

    name: str
    driver: str
    stable: str
    previous: str | None = None
    """Where a rollback would go."""
    can_promote: bool
    drift: str = ""
    """A sentence when the engines serve something else than `stable` and no rollout explains it."""
    versions: tuple[VersionView, ...]
    rollout: RolloutView | None = None


class TargetView(View):
    """One scraped endpoint and its last scrape."""

    engine: str
    job: str
    instance: str
    url: str
    health: str
    """up, down or unknown."""
    last_error: str
    last_error_reason: str
    last_scrape_at: str | None
    duration_seconds: float | None
    samples: int | None
    missing: tuple[str, ...]
    """Canonical metrics that this engine should have and did not."""
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
    """Since when nothing confirms or denies it, because targets are away; it keeps its state."""
    away: tuple[str, ...]
    """Those targets, as `job/instance`; of a resolved alert, the ones whose removal ended it."""
    rule: str
    runbook: str | None
    simulated: bool


class AlertDetailView(AlertView):
    """One alert instance with what happened to it."""

    history: tuple[AlertEventView, ...] = ()


class GpuView(View):
    """One GPU, however many exporters report it."""

    node: str
    gpu: str
    """Its UUID."""
    index: str | None = None
    """On its node, as `nvidia-smi -i` takes it."""
    utilization_ratio: float | None = None
    memory_used_bytes: float | None = None
    memory_total_bytes: float | None = None
    temperature_celsius: float | None = None
    simulated: bool = False


class TargetCounts(View):
    """Targets by health."""

    up: int
    down: int
    unknown: int


class AttentionView(View):
    """Something beside alerts that a person should know of."""

    model: str
    rollout: str | None
    """The rollout that it is about; null: it is an engine."""
    need: str
    """person, waiting, went_back (a rollout), or engine_not_ready."""
    sentence: str
    since: str | None
    """Null where that is not known."""


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
    """The most urgent first; alerts are not among them."""
    observe_only: bool
    warnings: tuple[str, ...] = ()
    """What could not be read, and is therefore null above."""
