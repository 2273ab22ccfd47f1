"""From snapshots to views. Pure: every input is a value, so that the content of a page can be tested as a value."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from alerts.interfaces import AlertInstance, AlertState
from collectors.engines.kinds import AUTO
from collectors.target import TargetHealth
from controlplane.fleet import numbers as n
from controlplane.fleet.holding.views import NO_HOLD, AlertHold
from controlplane.fleet.rollout_views import RolloutView
from controlplane.fleet.view import finite, instant, rfc3339
from controlplane.fleet.views import (
    AlertCounts,
    AlertDetailView,
    AlertEventView,
    AlertView,
    BackendView,
    EpisodeView,
    GpuView,
    ModelView,
    TargetCounts,
    TargetView,
    VersionView,
)
from controlplane.store.alert_log import AlertEvent
from controlplane.traffic.driver import BackendObservation, TrafficObservation, VersionState

BEHIND = "gateway"
"""The driver whose one backend stands for all gateways: people see the engines behind them."""
_WORST_LAST = (
    VersionState.READY,
    VersionState.LOADING,
    VersionState.UNLOADING,
    VersionState.UNAVAILABLE,
    VersionState.UNKNOWN,
)
"""States from best to worst. A version has the state of its best backend: one ready backend serves."""


@dataclass(frozen=True)
class ModelFacts:
    """One model's configuration, observation and rollout, without its numbers."""

    name: str
    driver: str
    stable: str
    versions: tuple[str, ...]
    previous: str | None = None
    observation: TrafficObservation | None = None
    """None without a current observation: not observed yet, observed too long ago, or no driver."""
    unobserved: str = "not observed yet"
    """The reason why there is no observation."""
    drift: str = ""
    """A sentence when an engine serves another version than `stable` without a rollout; "" otherwise."""
    rollout: RolloutView | None = None
    """The running rollout, or None."""
    switched_at: float | None = None
    """Time at which traffic last moved, in unix seconds."""
    backends: Mapping[str, tuple[str, ...]] | None = None
    """The configured backend URLs of each version. Their state is unknown when nothing observes them."""
    can_promote: bool = False
    simulated: frozenset[str] = frozenset()
    """Versions whose backends are simulated."""


def model_view(facts: ModelFacts, numbers: n.Numbers, *, now: float, window_s: float) -> ModelView:
    """Join a model's facts and numbers. `window_s` is the window of rates, in seconds."""
    shares = traffic_shares(facts, numbers)
    only = _only_version(facts, shares, now=now, window_s=window_s)
    rates = {v: n.requests_per_second(numbers, facts.name, v, only_version=only) for v in facts.versions}
    if _just_switched(facts, now, window_s):
        rates = _rates_now(rates, shares)
    versions = tuple(
        _version_view(facts, v, numbers, share=shares.get(v), rate=rates[v], only=only) for v in facts.versions
    )
    learning = numbers.learning.get(facts.name)
    return ModelView(
        name=facts.name,
        driver=facts.driver,
        stable=facts.stable,
        previous=facts.previous,
        baseline=None if learning is None else "learning" if learning else "known",
        can_promote=facts.can_promote,
        drift=facts.drift,
        versions=versions,
        rollout=facts.rollout,
    )


def traffic_shares(facts: ModelFacts, numbers: n.Numbers) -> dict[str, float]:
    """Return the known shares (0..1) of a model's versions.

    The driver's observation comes first, if every backend answered and its shares are known to hold: it is current,
    while rates look back. Otherwise shares come from measured request rates, and a version that is loaded nowhere has
    share 0.
    """
    backends = facts.observation.backends if facts.observation else ()
    known_shares = [b.weights for b in backends if b.reachable and not b.pending and sum(b.weights.values()) > 0.999]
    if known_shares and len(known_shares) == len(backends):
        return {v: sum(w.get(v, 0.0) for w in known_shares) / len(known_shares) for v in facts.versions}
    rates = {v: n.requests_per_second(numbers, facts.name, v, only_version=None) for v in facts.versions}
    known = {v: rate for v, rate in rates.items() if rate is not None}
    total = sum(known.values())
    if total <= 0:
        return {}
    shares = {v: rate / total for v, rate in known.items()}
    for version in facts.versions:
        if version not in shares and _state(facts, version) == VersionState.UNAVAILABLE:
            shares[version] = 0.0
    return shares


def target_view(health: TargetHealth) -> TargetView:
    """Return the view of one target."""
    target = health.target
    labels = dict(target.labels)
    return TargetView(
        engine=health.engine,
        auto=target.engine == AUTO,
        job=target.job,
        instance=target.instance,
        url=target.url,
        health=health.health,
        last_error=health.last_error,
        last_error_reason=health.last_error_reason,
        remark=health.remark or health.instead,
        last_scrape_at=rfc3339(health.last_scrape_at),
        last_good_at=rfc3339(health.last_good_at),
        since=rfc3339(health.since),
        duration_seconds=finite(health.duration_s),
        samples=health.samples,
        missing=health.missing,
        blind=bool(health.instead),
        unknown_labels=health.unknown_labels,
        labels=labels,
        simulated=labels.get("simulated") == "true",
    )


def target_counts(targets: Sequence[TargetHealth]) -> TargetCounts:
    """Count targets by health."""
    states = [t.health for t in targets]
    return TargetCounts(up=states.count("up"), down=states.count("down"), unknown=states.count("unknown"))


def alert_view(alert: AlertInstance, hold: AlertHold = NO_HOLD) -> AlertView:
    """Return the view of one alert. Its state is `resolved` after it stopped firing."""
    return AlertView(**_alert_fields(alert), **hold._asdict())


def alert_detail(alert: AlertInstance, history: Sequence[AlertEvent], hold: AlertHold = NO_HOLD) -> AlertDetailView:
    """Return the view of one alert with its transitions, oldest first."""
    events = tuple(
        AlertEventView(at=instant(e.at), before=e.before.value, after=state_after(e), sentence=e.sentence)
        for e in sorted(history, key=lambda e: e.id)
    )
    return AlertDetailView(**_alert_fields(alert), **hold._asdict(), history=events)


def episodes(alert: AlertInstance, history: Sequence[AlertEvent]) -> tuple[EpisodeView, ...]:
    """Return the episodes of an alert by its transitions, oldest first. Those that end outside the history are open."""
    found: list[dict[str, float | None]] = []
    for event in sorted(history, key=lambda e: e.id):
        if event.before is event.after:
            continue
        if event.before is AlertState.INACTIVE or not found:
            found.append({"pending_at": None, "fired_at": None, "resolved_at": None})
        name = {AlertState.PENDING: "pending_at", AlertState.FIRING: "fired_at"}.get(event.after, "resolved_at")
        found[-1][name] = event.at
    labels = dict(alert.labels)
    about = {"fingerprint": alert.fingerprint, "name": labels.get("alertname", ""), "labels": labels}
    return tuple(EpisodeView(**about, **{name: rfc3339(at) for name, at in one.items()}) for one in found)


def alert_counts(counts: Mapping[AlertState, int]) -> AlertCounts:
    """Return the numbers of firing and pending alerts."""
    return AlertCounts(firing=counts.get(AlertState.FIRING, 0), pending=counts.get(AlertState.PENDING, 0))


def alert_state(alert: AlertInstance) -> str:
    """Return pending, firing, resolved, or inactive (the alert never fired)."""
    if alert.state is not AlertState.INACTIVE:
        return alert.state.value
    return "inactive" if alert.resolved_at is None else "resolved"


def state_after(event: AlertEvent) -> str:
    """Return the state after a transition. From firing to inactive is `resolved`."""
    over = event.before is AlertState.FIRING and event.after is AlertState.INACTIVE
    return "resolved" if over else event.after.value


def gpu_views(
    numbers: n.Numbers, models: Sequence[str] = (), targets: Sequence[TargetHealth] = ()
) -> tuple[GpuView, ...]:
    """Return the views of all GPUs that an exporter reports. `models` are the names of the fleet's models."""
    by_pod = {
        pod: model
        for labels in (dict(health.target.labels) for health in targets)
        if (pod := labels.get("pod")) and (model := labels.get("model"))
    }
    return tuple(
        GpuView(
            node=key.node,
            gpu=key.gpu,
            index=numbers.gpu_index.get(key.gpu) or numbers.gpu_index.get(key.gpu.partition("/")[0]),
            model=_model_on(key.gpu, numbers, models, by_pod),
            pods=numbers.gpu_pods.get(key.gpu, ()),
            simulated=gpu.simulated,
            **gpu.values,
        )
        for key, gpu in numbers.gpus.items()
    )


def _model_on(gpu: str, numbers: n.Numbers, models: Sequence[str], by_pod: Mapping[str, str]) -> str | None:
    """Return the model on a GPU, or None.

    A pod that no target names has the model whose name its own begins with, the longest if there are several.
    """
    if gpu in numbers.gpu_models:
        return numbers.gpu_models[gpu]
    for pod in numbers.gpu_pods.get(gpu, ()):
        begins = [model for model in models if pod == model or pod.startswith(f"{model}-")]
        if found := by_pod.get(pod) or max(begins, key=len, default=""):
            return found
    return None


def simulated_versions(targets: Sequence[TargetHealth]) -> Mapping[str, frozenset[str]]:
    """Return, by model, the versions that a target labelled `simulated="true"` reports.

    "" among them stands for every version: that target has no label `version`.
    """
    found: dict[str, set[str]] = {}
    for health in targets:
        labels = dict(health.target.labels)
        if labels.get("simulated") == "true":
            for model in {labels.get("model"), *dict(health.target.models).values()} - {None}:
                found.setdefault(str(model), set()).add(labels.get("version", ""))
    return {model: frozenset(versions) for model, versions in found.items()}


def _version_view(
    facts: ModelFacts, version: str, numbers: n.Numbers, *, share: float | None, rate: float | None, only: str | None
) -> VersionView:
    p99 = n.latency(numbers, facts.name, version, only_version=only)
    errors = n.error_ratio(numbers, facts.name, version, only_version=only)
    return VersionView(
        version=version,
        role=_role(facts, version, share),
        state=_shown_state(facts, version, numbers).value,
        traffic_share=share,
        requests_per_second=rate,
        latency_p99_seconds=p99.seconds if p99 else None,
        latency_source=p99.source if p99 else None,
        latency_samples=p99.samples if p99 else None,
        error_ratio=errors[0] if errors else None,
        error_source=errors[1] if errors else None,
        running=n.gauge(numbers.running, facts.name, version),
        waiting=n.gauge(numbers.waiting, facts.name, version),
        backends=_backends(facts, version, numbers),
        simulated=version in facts.simulated,
    )


def _rates_now(rates: Mapping[str, float | None], shares: Mapping[str, float]) -> dict[str, float | None]:
    """Return each version's current rate right after a switch: its share times the rate of all requests of the model.

    The version's own rate still covers the time before the switch. The rate is unknown for a version without a share
    (old requests may still be running) and for a version that no source counts.
    """
    total = sum(rate for rate in rates.values() if rate is not None)
    return {v: shares[v] * total if rate is not None and shares.get(v) else None for v, rate in rates.items()}


def _role(facts: ModelFacts, version: str, share: float | None) -> str:
    if version == facts.stable:
        return "stable"
    if facts.rollout and version == facts.rollout.to:
        return "candidate"
    return "serving" if share and not facts.rollout else "idle"


def _shown_state(facts: ModelFacts, version: str, numbers: n.Numbers) -> VersionState:
    """Return the state from the driver's observation or, without one, from the backends' readiness endpoints.

    Without a live gateway the engines behind it still answer.
    """
    seen = facts.observation
    if seen is not None and not (facts.driver == BEHIND and not any(b.reachable for b in seen.backends)):
        return _state(facts, version)
    states = [_asked_state(facts, version, url, numbers) for url in (facts.backends or {}).get(version, ())]
    return min(states, key=_WORST_LAST.index, default=VersionState.UNKNOWN)


def _asked_state(facts: ModelFacts, version: str, url: str, numbers: n.Numbers) -> VersionState:
    ready = numbers.ready.get(n.BackendKey(facts.name, version, url.rstrip("/")))
    return VersionState.UNKNOWN if ready is None else VersionState.READY if ready else VersionState.UNAVAILABLE


def _state(facts: ModelFacts, version: str) -> VersionState:
    states = [_backend_state(b, version) for b in facts.observation.backends] if facts.observation else []
    return min(states, key=_WORST_LAST.index, default=VersionState.UNKNOWN)


def _backend_state(backend: BackendObservation, version: str) -> VersionState:
    if not backend.reachable:
        return VersionState.UNKNOWN
    return backend.versions.get(version, VersionState.UNAVAILABLE)


def _backends(facts: ModelFacts, version: str, numbers: n.Numbers) -> tuple[BackendView, ...]:
    if facts.observation is None or facts.driver == BEHIND:
        states = {url: _asked_state(facts, version, url, numbers) for url in (facts.backends or {}).get(version, ())}
        why = facts.unobserved if facts.observation is None else ""
        return tuple(
            BackendView(url=url, state=state.value, reason=why if state is VersionState.UNKNOWN else "")
            for url, state in states.items()
        )
    return tuple(
        BackendView(url=b.url, state=_backend_state(b, version).value, reason=_reason(b, version))
        for b in facts.observation.backends
    )


def _reason(backend: BackendObservation, version: str) -> str:
    return backend.reasons.get(version, "" if backend.reachable else backend.error or "does not answer")


def _only_version(facts: ModelFacts, shares: dict[str, float], *, now: float, window_s: float) -> str | None:
    """Return the version that certainly got all requests of the window, also those without a version. None: no one."""
    if _just_switched(facts, now, window_s):
        return None
    if not shares and len(facts.versions) == 1:
        return facts.versions[0]
    return next((v for v, share in shares.items() if share == 1.0), None)


def _just_switched(facts: ModelFacts, now: float, window_s: float) -> bool:
    return facts.switched_at is not None and now - facts.switched_at < window_s


def _alert_fields(alert: AlertInstance) -> dict[str, Any]:
    labels, annotations = dict(alert.labels), dict(alert.annotations)
    return {
        "fingerprint": alert.fingerprint,
        "name": labels.get("alertname", ""),
        "state": alert_state(alert),
        "severity": labels.get("severity", ""),
        "labels": labels,
        "annotations": annotations,
        "value": finite(alert.value),
        "active_at": instant(alert.active_at),
        "fired_at": rfc3339(alert.fired_at),
        "resolved_at": rfc3339(alert.resolved_at),
        "unknown_since": rfc3339(alert.unknown_since),
        "away": alert.away,
        "rule": alert.rule,
        "runbook": annotations.get("runbook_url") or annotations.get("runbook"),
        "simulated": labels.get("simulated") == "true",
    }
