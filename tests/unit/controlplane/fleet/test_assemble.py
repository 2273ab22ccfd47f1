"""What a page shows, from snapshots."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from alerts.interfaces import AlertInstance, AlertState, VectorSample
from collectors.samples import labels_of
from collectors.target import Target, TargetHealth
from controlplane.fleet import assemble
from controlplane.fleet import numbers as n
from controlplane.fleet.assemble import ModelFacts
from controlplane.fleet.rollout_views import RolloutView
from controlplane.store.alert_log import AlertEvent
from controlplane.traffic.driver import BackendObservation, TrafficObservation, VersionState, all_to

READY, UNAVAILABLE, UNKNOWN = VersionState.READY, VersionState.UNAVAILABLE, VersionState.UNKNOWN
NOW = 1_800_000_000.0


def backend(url: str, serving: str | None, *, reachable: bool = True, **versions: VersionState) -> BackendObservation:
    return BackendObservation(url, reachable, versions, {}, all_to(serving))


SPLIT = BackendObservation("gateway", True, {"v1": READY, "v2": UNAVAILABLE}, {}, {"v1": 0.95, "v2": 0.05}, holds=True)


def facts(*backends: BackendObservation, **changes: Any) -> ModelFacts:
    observation = TrafficObservation("chat", backends) if backends else None
    base = ModelFacts("chat", "triton", "v1", ("v1", "v2"), previous="v0", observation=observation)
    return replace(base, **changes)


def rates(**versions: float) -> n.Numbers:
    return n.read(
        {
            "outcomes": [
                VectorSample(labels_of({"model": "chat", "version": v, "source": "engine", "outcome": "success"}), r)
                for v, r in versions.items()
            ]
        }
    )


def view(known: ModelFacts, numbers: n.Numbers | None = None) -> Any:
    shown = assemble.model_view(known, numbers or n.Numbers(), now=NOW, window_s=60.0)
    return shown.model_dump(by_alias=True)


def test_a_model_with_one_version_behind_a_proxy_of_others_has_the_proxys_numbers() -> None:
    counted = {"model": "chat", "source": "proxy", "outcome": "success"}
    numbers = n.read({"outcomes": [VectorSample(labels_of(counted), 4.0)]})
    (one,) = view(facts(driver="none", versions=("v1",)), numbers)["versions"]
    assert (one["requests_per_second"], one["traffic_share"]) == (4.0, None)
    both = view(facts(driver="none"), numbers)["versions"]
    assert [each["requests_per_second"] for each in both] == [None, None]


def rollout(**changes: Any) -> RolloutView:
    shape: dict[str, Any] = {
        "id": "r1",
        "model": "chat",
        "from": "v1",
        "to": "v2",
        "kind": "promote",
        "strategy": "blue-green",
        "phase": "preparing",
        "finished": False,
        "ok": None,
        "switched": False,
        "sentence": "loading v2",
        "created_at": "2027-01-15T08:00:00.000Z",
        "updated_at": "2027-01-15T08:00:00.000Z",
        "finished_at": None,
        "created_by": "ann",
    }
    return RolloutView(**{**shape, **changes})


def test_a_model_that_nobody_observed_is_unknown_throughout() -> None:
    shown = view(facts(backends={"v1": ("http://a:8000",)}))
    assert shown == {
        "name": "chat",
        "driver": "triton",
        "stable": "v1",
        "previous": "v0",
        "baseline": None,
        "can_promote": False,
        "drift": "",
        "rollout": None,
        "versions": (
            {
                "version": "v1",
                "role": "stable",
                "state": "unknown",
                "traffic_share": None,
                "requests_per_second": None,
                "latency_p99_seconds": None,
                "latency_source": None,
                "latency_samples": None,
                "error_ratio": None,
                "error_source": None,
                "running": None,
                "waiting": None,
                "backends": ({"url": "http://a:8000", "state": "unknown", "reason": "not observed yet"},),
                "simulated": False,
            },
            {
                "version": "v2",
                "role": "idle",
                "state": "unknown",
                "traffic_share": None,
                "requests_per_second": None,
                "latency_p99_seconds": None,
                "latency_source": None,
                "latency_samples": None,
                "error_ratio": None,
                "error_source": None,
                "running": None,
                "waiting": None,
                "backends": (),
                "simulated": False,
            },
        ),
    }


@pytest.mark.parametrize(
    ("backends", "numbers", "shares"),
    [
        ([backend("a", "v1"), backend("b", "v1")], rates(v1=1.0, v2=9.0), {"v1": 1.0, "v2": 0.0}),
        ([backend("a", "v1"), backend("b", "v2")], rates(), {"v1": 0.5, "v2": 0.5}),
        ([backend("a", "v1"), backend("b", None)], rates(v1=3.0, v2=1.0), {"v1": 0.75, "v2": 0.25}),
        ([backend("a", "v1"), backend("b", "v1", reachable=False)], rates(v1=3.0, v2=1.0), {"v1": 0.75, "v2": 0.25}),
        ([backend("a", None, v1=READY)], rates(v1=3.0), {"v1": 1.0, "v2": 0.0}),
        ([backend("a", None, v1=READY, v2=READY)], rates(v1=3.0), {"v1": 1.0}),
        ([SPLIT], rates(v1=1.0), {"v1": 0.95, "v2": 0.05}),
        ([replace(SPLIT, pending="gateway g2 applies generation 1")], rates(v1=1.0, v2=1.0), {"v1": 0.5, "v2": 0.5}),
        ([backend("a", None, v1=READY)], rates(v1=0.0), {}),
        ([backend("a", None, v1=READY)], rates(), {}),
        ([], rates(v1=1.0, v2=1.0), {"v1": 0.5, "v2": 0.5}),
    ],
    ids=[
        "the-driver-knows",
        "the-driver-knows-of-a-split",
        "one-backend-does-not-say",
        "one-backend-does-not-answer",
        "a-version-loaded-nowhere-takes-none",
        "a-loaded-version-without-a-rate-is-unknown",
        "the-gateways-apply-a-split",
        "a-split-that-is-not-applied-everywhere-is-measured",
        "no-traffic-no-shares",
        "nothing-known",
        "rates-alone",
    ],
)
def test_traffic_shares(backends: list[BackendObservation], numbers: n.Numbers, shares: dict[str, float]) -> None:
    assert assemble.traffic_shares(facts(*backends), numbers) == shares


@pytest.mark.parametrize(
    ("backends", "state"),
    [
        ([backend("a", None, v1=READY), backend("b", None, v1=UNAVAILABLE)], "ready"),
        ([backend("a", None, v1=VersionState.LOADING), backend("b", None)], "loading"),
        ([backend("a", None), backend("b", None)], "unavailable"),
        ([backend("a", None, reachable=False, v1=READY)], "unknown"),
        ([backend("a", None), backend("b", None, reachable=False)], "unavailable"),
    ],
)
def test_a_version_is_as_good_as_its_best_backend(backends: list[BackendObservation], state: str) -> None:
    assert view(facts(*backends))["versions"][0]["state"] == state


def test_a_silent_backend_says_that_it_does_not_answer() -> None:
    shown = view(facts(backend("http://a:8000", None, reachable=False)))
    assert shown["versions"][0]["backends"] == (
        {"url": "http://a:8000", "state": "unknown", "reason": "does not answer"},
    )


def test_a_running_rollout_makes_its_target_the_candidate() -> None:
    shown = view(facts(backend("a", "v1", v1=READY), rollout=rollout()))
    assert [v["role"] for v in shown["versions"]] == ["stable", "candidate"]
    assert shown["rollout"]["from"] == "v1"


def test_a_version_that_drains_after_the_switch_is_no_candidate() -> None:
    seen = backend("a", "v2", v1=VersionState.UNLOADING, v2=READY)
    shown = view(facts(seen, stable="v2", rollout=rollout(switched=True)))
    assert [(v["version"], v["role"], v["state"]) for v in shown["versions"]] == [
        ("v1", "idle", "unloading"),
        ("v2", "stable", "ready"),
    ]


def test_where_no_driver_observes_the_backends_own_readiness_counts() -> None:
    ready = {"v1": ("http://a:8000/", 1.0), "v2": ("http://b:8000", 0.0)}
    samples = [
        VectorSample(labels_of({"model": "chat", "version": v, "backend": url.rstrip("/")}), value)
        for v, (url, value) in ready.items()
    ]
    backends = {v: (url,) for v, (url, _) in ready.items()} | {"v3": ("http://c:8000",)}
    shown = view(facts(backends=backends, versions=("v1", "v2", "v3")), n.read({"ready": samples}))
    assert [(v["state"], v["backends"][0]["state"], v["backends"][0]["reason"]) for v in shown["versions"]] == [
        ("ready", "ready", ""),
        ("unavailable", "unavailable", ""),
        ("unknown", "unknown", "not observed yet"),
    ]


def test_behind_a_gateway_people_see_the_engines() -> None:
    ready = {"v1": "http://a:8000", "v2": "http://b:8000"}
    samples = [
        VectorSample(labels_of({"model": "chat", "version": v, "backend": url}), 1.0) for v, url in ready.items()
    ]
    backends = {v: (url,) for v, url in ready.items()}
    numbers = n.read({"ready": samples})
    shown = view(facts(SPLIT, driver="gateway", backends=backends), numbers)
    assert [(v["state"], v["traffic_share"], v["backends"]) for v in shown["versions"]] == [
        ("ready", 0.95, ({"url": "http://a:8000", "state": "ready", "reason": ""},)),
        ("unavailable", 0.05, ({"url": "http://b:8000", "state": "ready", "reason": ""},)),
    ]
    nobody = BackendObservation("gateway", False, {}, {}, {}, "no gateway is live", holds=True)
    shown = view(facts(nobody, driver="gateway", backends=backends), numbers)
    assert [v["state"] for v in shown["versions"]] == ["ready", "ready"]


@pytest.mark.parametrize(("switched_ago", "latency"), [(None, 0.4), (61.0, 0.4), (59.0, None)])
def test_probes_from_before_a_switch_are_not_held_against_the_new_version(
    switched_ago: float | None, latency: float | None
) -> None:
    numbers = n.read({"p99": [VectorSample(labels_of({"model": "chat", "source": "probe"}), 0.4)]})
    switched_at = None if switched_ago is None else NOW - switched_ago
    shown = view(facts(backend("a", "v2", v2=READY), switched_at=switched_at), numbers)
    assert [v["latency_p99_seconds"] for v in shown["versions"]] == [None, latency]


@pytest.mark.parametrize(
    ("switched_ago", "shown_rates"),
    [(61.0, [5.0, 1.5]), (59.0, [None, 6.5]), (0.0, [None, 6.5])],
    ids=["a-minute-later", "within-the-minute", "while-it-runs"],
)
def test_rates_agree_with_the_shares_during_a_switch(switched_ago: float, shown_rates: list[float | None]) -> None:
    seen = facts(backend("a", "v2", v1=READY, v2=READY), stable="v2", switched_at=NOW - switched_ago)
    versions = view(seen, rates(v1=5.0, v2=1.5))["versions"]
    assert [v["traffic_share"] for v in versions] == [0.0, 1.0]
    assert [v["requests_per_second"] for v in versions] == shown_rates


def test_without_any_rate_a_switch_makes_none() -> None:
    seen = facts(backend("a", "v2", v2=READY), stable="v2", switched_at=NOW)
    assert [v["requests_per_second"] for v in view(seen)["versions"]] == [None, None]


@pytest.mark.parametrize(("v2", "role"), [(1.0, "serving"), (0.0, "idle")])
def test_a_version_that_takes_traffic_is_not_called_idle(v2: float, role: str) -> None:
    assert [v["role"] for v in view(facts(), rates(v1=9.0, v2=v2))["versions"]] == ["stable", role]


def target(health: str = "up", *, models: tuple[tuple[str, str], ...] = (), **labels: str) -> TargetHealth:
    return TargetHealth(
        Target("vllm", "http://a:8000/metrics", "vllm", "a:8000", labels_of(labels), models),
        health=health,
        last_scrape_at=NOW,
        last_good_at=NOW - 1,
        since=NOW - 3600,
        duration_s=0.01,
        samples=5,
        missing=("llm_requests_total",),
    )


def test_target_view() -> None:
    shown = assemble.target_view(target(simulated="true", model="chat"))
    assert shown.model_dump() == {
        "engine": "vllm",
        "auto": False,
        "job": "vllm",
        "instance": "a:8000",
        "url": "http://a:8000/metrics",
        "health": "up",
        "last_error": "",
        "last_error_reason": "",
        "remark": "",
        "last_scrape_at": "2027-01-15T08:00:00.000Z",
        "last_good_at": "2027-01-15T07:59:59.000Z",
        "since": "2027-01-15T07:00:00.000Z",
        "duration_seconds": 0.01,
        "samples": 5,
        "missing": ("llm_requests_total",),
        "blind": False,
        "unknown_labels": (),
        "labels": {"model": "chat", "simulated": "true"},
        "simulated": True,
    }


def test_targets_are_counted_by_health() -> None:
    counts = assemble.target_counts([target(), target("down"), target("unknown"), target()])
    assert counts.model_dump() == {"up": 2, "down": 1, "unknown": 1}


def test_simulation_is_told_by_the_targets_that_report_a_version() -> None:
    whole = target(simulated="true", model="chat")
    one = target(simulated="true", model="chat", version="v2")
    served = target(models=(("llm", "chat"),), simulated="true")
    assert assemble.simulated_versions([whole]) == {"chat": {""}}  # every version
    assert assemble.simulated_versions([one, target(model="chat")]) == {"chat": {"v2"}}
    assert assemble.simulated_versions([served]) == {"chat": {""}}
    assert assemble.simulated_versions([target(model="chat"), target(simulated="true")]) == {}


def alert(state: AlertState = AlertState.FIRING, **changes: Any) -> AlertInstance:
    base = AlertInstance(
        rule="pack;llm;LLMDown",
        labels=labels_of({"alertname": "LLMDown", "severity": "critical", "model": "chat"}),
        annotations=labels_of({"summary": "chat is down", "runbook_url": "docs/runbooks/LLMDown.md"}),
        state=state,
        value=0.0,
        active_at=NOW,
        fired_at=NOW + 60,
    )
    return replace(base, **changes)


def test_alert_view() -> None:
    shown = assemble.alert_view(alert())
    assert shown.model_dump() == {
        "fingerprint": alert().fingerprint,
        "name": "LLMDown",
        "state": "firing",
        "severity": "critical",
        "labels": {"alertname": "LLMDown", "severity": "critical", "model": "chat"},
        "annotations": {"summary": "chat is down", "runbook_url": "docs/runbooks/LLMDown.md"},
        "value": 0.0,
        "active_at": "2027-01-15T08:00:00.000Z",
        "fired_at": "2027-01-15T08:01:00.000Z",
        "resolved_at": None,
        "unknown_since": None,
        "away": (),
        "rule": "pack;llm;LLMDown",
        "runbook": "docs/runbooks/LLMDown.md",
        "simulated": False,
        "held_back": (),
        "acknowledged": None,
        "flapping": "",
    }


@pytest.mark.parametrize(
    ("state", "resolved_at", "word"),
    [
        (AlertState.PENDING, None, "pending"),
        (AlertState.FIRING, None, "firing"),
        (AlertState.INACTIVE, NOW, "resolved"),
        (AlertState.INACTIVE, None, "inactive"),
    ],
)
def test_alert_state(state: AlertState, resolved_at: float | None, word: str) -> None:
    assert assemble.alert_view(alert(state, resolved_at=resolved_at)).state == word


def test_an_alert_value_that_json_has_no_word_for_is_null() -> None:
    assert assemble.alert_view(alert(value=float("nan"))).value is None


def test_history_is_told_oldest_first() -> None:
    name = alert().fingerprint
    later = AlertEvent(2, NOW + 60, name, AlertState.PENDING, AlertState.FIRING, "fired", alert())
    first = AlertEvent(1, NOW, name, AlertState.INACTIVE, AlertState.PENDING, "pending", alert())
    history = assemble.alert_detail(alert(), [later, first]).model_dump()["history"]
    assert [(e["after"], e["sentence"]) for e in history] == [("pending", "pending"), ("firing", "fired")]


def test_alert_counts() -> None:
    assert assemble.alert_counts({AlertState.FIRING: 2}).model_dump() == {"firing": 2, "pending": 0}


@pytest.mark.parametrize(("switched_ago", "rate"), [(30.0, None), (None, 6.5)], ids=["just now", "long ago"])
def test_a_version_that_traffic_has_just_left_has_no_rate_that_looks_back_on_it(
    switched_ago: float | None, rate: float | None
) -> None:
    labels = labels_of({"model": "chat", "version": "v1", "source": "engine", "outcome": "success"})
    numbers = n.read({"outcomes": [VectorSample(labels, 6.5)]})
    switched_at = None if switched_ago is None else NOW - switched_ago
    shown = view(facts(backend("a", "v2", v1=READY, v2=READY), switched_at=switched_at), numbers)
    assert [(v["traffic_share"], v["requests_per_second"]) for v in shown["versions"]] == [(0.0, rate), (1.0, None)]


@pytest.mark.parametrize(
    ("before", "after", "word"),
    [
        (AlertState.FIRING, AlertState.INACTIVE, "resolved"),
        (AlertState.PENDING, AlertState.INACTIVE, "inactive"),
        (AlertState.PENDING, AlertState.FIRING, "firing"),
    ],
)
def test_what_fired_and_does_no_more_is_resolved_in_its_history(
    before: AlertState, after: AlertState, word: str
) -> None:
    event = AlertEvent(1, NOW, "f" * 16, before, after, "what happened", alert())
    assert assemble.alert_detail(alert(), [event]).history[0].after == word


def test_the_model_on_a_gpu_is_told_by_labels_and_else_by_the_pods_name() -> None:
    gauge = n.GpuNumbers({"power_watts": 400.0}, False)
    numbers = n.Numbers(
        gpus={n.GpuKey("n1", f"GPU-{number}"): gauge for number in range(1, 7)},
        gpu_index={"GPU-1": "0"},
        gpu_pods={
            "GPU-1": ("anything-7f9c",),
            "GPU-2": ("pod-a",),
            "GPU-3": ("chat-large-0",),
            "GPU-4": ("chatter-0",),
            "GPU-5": ("chat",),
        },
        gpu_models={"GPU-1": "embed"},
    )
    found = assemble.gpu_views(numbers, ["chat", "chat-large", "embed"], [target(pod="pod-a", model="rerank")])
    assert [view.model for view in found] == ["embed", "rerank", "chat-large", None, "chat", None]
    assert (found[0].index, found[0].pods, found[0].power_watts) == ("0", ("anything-7f9c",), 400.0)


def test_a_mig_instance_has_the_index_of_its_gpu() -> None:
    numbers = n.Numbers(gpus={n.GpuKey("n1", "GPU-1/GI2"): n.GpuNumbers({}, False)}, gpu_index={"GPU-1": "3"})
    assert [view.index for view in assemble.gpu_views(numbers)] == ["3"]
