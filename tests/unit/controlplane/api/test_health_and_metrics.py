"""Health, readiness and the control plane's own metrics."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families

from alerts.evaluate import GroupReport, RuleHealth
from alerts.rules import RecordingRule, RuleGroup
from collectors.discovery.group import DroppedTarget
from controlplane.access.roles import Role
from controlplane.errors import Unavailable
from controlplane.metrics.write.shipping.shipper import ShippingReport
from controlplane.rollout.attention import Attention, Need
from controlplane.store.outbox import enqueue


def samples(text: str) -> dict[tuple[str, ...], float]:
    return {
        (s.name, *(f"{k}={v}" for k, v in sorted(s.labels.items()))): s.value
        for family in text_string_to_metric_families(text)
        for s in family.samples
    }


async def test_health_needs_no_token(rig: Any) -> None:
    async with rig.client(None) as client:
        assert (await client.get("/healthz")).json() == {"status": "ok"}
        assert (await client.get("/readyz")).json() == {"status": "ready", "not_ready": {}}


async def test_readiness_names_what_is_missing(rig: Any) -> None:
    rig.not_ready["database"] = "migrations are running"
    async with rig.client(Role.VIEWER) as client:
        answer = await client.get("/readyz")
    assert (answer.status_code, answer.headers["retry-after"]) == (503, "5")
    assert answer.json() == {"status": "not ready", "not_ready": {"database": "migrations are running"}}


async def test_readiness_tells_strangers_which_part_and_nothing_of_it(rig: Any) -> None:
    rig.not_ready["database"] = "postgresql+psycopg://ops@db.internal/cp: connection refused"
    for headers in ({}, {"Authorization": "Bearer cp_0123456789ab_" + "0" * 64}, {"Cookie": "cp_session=made-up"}):
        async with rig.client(None) as client:
            answer = await client.get("/readyz", headers=headers)
        assert answer.status_code == 503
        assert list(answer.json()["not_ready"]) == ["database"]
        assert "ops" not in answer.text
        assert "db.internal" not in answer.text


async def test_readiness_is_told_when_nobody_can_be_known(rig: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def away(*_: object) -> None:
        raise Unavailable("postgresql+psycopg://ops@db.internal/cp: connection refused")

    monkeypatch.setattr(rig.tokens, "authenticate", away)
    rig.not_ready["database"] = "away"
    async with rig.client(Role.VIEWER) as client:
        answer = await client.get("/readyz")
        assert (answer.status_code, list(answer.json()["not_ready"])) == (503, ["database"])
        refused = await client.get("/cp/v1/fleet")
    assert refused.status_code == 503
    assert "db.internal" not in refused.text


async def test_own_metrics(rig: Any, viewer: httpx.AsyncClient) -> None:
    rule = RecordingRule("f;g;r", "r", "up")
    failing = RuleHealth(rule, health="err", last_evaluation=rig.clock.time, failures=2)
    rig.reports.append(GroupReport(RuleGroup("f", "g", (rule,)), (failing,), rig.clock.time, 0.5))
    rig.reports.append(GroupReport(RuleGroup("f", "later", (rule,)), (RuleHealth(rule),), None, 0.0))
    rig.store("vllm/a", rig.clock.time, ("up", {"job": "vllm"}, 1.0))
    with rig.db.transaction() as session:
        enqueue(session, "alert", "ops", "m1", {}, rig.clock.time)
    rig.targets[0] = replace(rig.targets[0], duplicates=3, instead="answers with an empty body")
    rig.dropped_targets += [DroppedTarget("vllm", ()), DroppedTarget("vllm", ())]
    rig.discovery_faults += ["a.json: not JSON"]
    rig.discovery_remarks += ["PodMonitor a/b selects nothing"]
    listed = (await viewer.get("/cp/v1/targets")).json()
    assert (listed["dropped"], listed["faults"]) == (2, ["a.json: not JSON"])
    assert listed["remarks"] == ["PodMonitor a/b selects nothing"]
    await viewer.get("/cp/v1/models/nope")
    await viewer.get("/no/such/path/1")
    await viewer.get("/no/such/path/2")
    answer = await viewer.get("/metrics")
    assert answer.headers["content-type"].startswith("text/plain; version=")
    found = samples(answer.text)
    expected = {
        ("controlplane_build_info", "version=0.1.0"): 1.0,
        ("controlplane_targets", "engine=vllm", "health=up"): 1.0,
        ("controlplane_target_blind", f"target_instance={rig.targets[0].target.instance}", "target_job=vllm"): 1.0,
        ("controlplane_targets_dropped", "target_job=vllm"): 2.0,
        ("controlplane_discovery_faults",): 1.0,
        (
            "controlplane_target_samples_duplicate",
            f"target_instance={rig.targets[0].target.instance}",
            "target_job=vllm",
        ): 3.0,
        ("controlplane_store_series",): 1.0,
        ("controlplane_store_samples_appended_total",): 1.0,
        ("controlplane_rule_group_duration_seconds", "rule_group=f;g"): 0.5,
        ("controlplane_rule_group_last_evaluation_timestamp_seconds", "rule_group=f;g"): rig.clock.time,
        ("controlplane_rule_evaluation_failures_total", "rule_group=f;g"): 2.0,
        ("controlplane_outbox_messages", "status=queued"): 1.0,
        ("controlplane_outbox_messages", "status=dead"): 0.0,
        ("controlplane_collected", "part=rules"): 1.0,
        ("controlplane_lease_held", "lease=alerting"): 1.0,
        ("controlplane_lease_held", "lease=rollouts"): 0.0,
        ("controlplane_http_requests_total", "method=GET", "route=/cp/v1/models/{name}", "status=404"): 1.0,
        ("controlplane_http_requests_total", "method=GET", "route=unmatched", "status=404"): 2.0,
    }
    assert {key: found.get(key) for key in expected} == expected
    assert ("controlplane_rule_group_duration_seconds", "rule_group=f;later") not in found


async def test_own_metrics_of_remote_write(rig: Any) -> None:
    dropped = Counter({"status_400": 20, "status_418": 1})
    rig.shipping.append(ShippingReport("mimir", 1000, 30, 4096, dropped, 500, 8192, 12.5, ""))
    async with rig.client() as client:
        found = samples((await client.get("/metrics")).text)
    name, endpoint = "controlplane_remote_write_", "endpoint=mimir"
    assert {key: value for key, value in found.items() if key[0].startswith(name) and value} == {
        (f"{name}samples_sent_total", endpoint): 1000.0,
        (f"{name}samples_retried_total", endpoint): 30.0,
        (f"{name}samples_dropped_total", endpoint, "reason=status_400"): 20.0,
        (f"{name}samples_dropped_total", endpoint, "reason=status_418"): 1.0,
        (f"{name}bytes_sent_total", endpoint): 4096.0,
        (f"{name}samples_pending", endpoint): 500.0,
        (f"{name}queue_bytes", endpoint): 8192.0,
        (f"{name}lag_seconds", endpoint): 12.5,
    }
    # Reasons that usually occur are there from the beginning: the first sample is an increase.
    assert found[f"{name}samples_dropped_total", endpoint, "reason=age"] == 0.0


async def test_what_cannot_be_read_is_absent_and_said_so(rig: Any) -> None:
    def broken() -> Any:
        raise Unavailable("the database is away")

    rig.outbox.depth = broken
    async with rig.client() as client:
        found = samples((await client.get("/metrics")).text)
    assert found["controlplane_collected", "part=outbox"] == 0.0
    assert found["controlplane_collected", "part=targets"] == 1.0
    assert not any(name == "controlplane_outbox_messages" for name, *_ in found)


async def test_what_cannot_be_read_is_logged_once_until_it_can_be(
    rig: Any, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def broken() -> Any:
        raise Unavailable("the database is away")

    caplog.set_level("INFO", "controlplane.api.metrics")
    async with rig.client() as client:
        with monkeypatch.context() as away:
            away.setattr(rig.outbox, "depth", broken)
            for _ in range(3):
                await client.get("/metrics")
        for _ in range(2):
            await client.get("/metrics")
    assert caplog.messages == [
        "own metrics: outbox cannot be read: the database is away",
        "own metrics: outbox can be read again",
    ]


async def test_two_apps_in_one_process_do_not_share_a_registry(rig: Any) -> None:
    async with rig.client(Role.VIEWER) as first, rig.client(Role.VIEWER) as second:
        await first.get("/healthz")
        found = samples((await second.get("/metrics")).text)
    assert not any(key[0] == "controlplane_http_requests_total" for key in found)


async def test_rollouts_that_run_are_metrics(rig: Any, viewer: httpx.AsyncClient) -> None:
    plan = SimpleNamespace(from_version="v1", to_version="v2", strategy="canary")
    rig.rollouts.running = lambda: (SimpleNamespace(model="chat", plan=plan),)
    text = (await viewer.get("/metrics")).text
    assert [line for line in text.splitlines() if line.startswith("controlplane_rollout_running{")] == [
        'controlplane_rollout_running{from_version="v1",model="chat",strategy="canary",to_version="v2"} 1.0'
    ]


async def test_rollouts_that_need_attention_are_metrics_of_every_model(rig: Any, viewer: httpx.AsyncClient) -> None:
    found = (Attention("chat", "r-1", Need.PERSON, "see to it", 0.0), Attention("gone", "r-2", Need.WAITING, "?", 0.0))
    rig.rollouts.attention = lambda: found
    text = (await viewer.get("/metrics")).text
    lines = [line for line in text.splitlines() if line.startswith("controlplane_rollout_attention{")]
    assert sorted(lines) == [
        'controlplane_rollout_attention{model="chat",need="decision"} 0.0',
        'controlplane_rollout_attention{model="chat",need="person"} 1.0',
        'controlplane_rollout_attention{model="chat",need="waiting"} 0.0',
        'controlplane_rollout_attention{model="chat",need="went_back"} 0.0',
        'controlplane_rollout_attention{model="gone",need="decision"} 0.0',
        'controlplane_rollout_attention{model="gone",need="person"} 0.0',
        'controlplane_rollout_attention{model="gone",need="waiting"} 1.0',
        'controlplane_rollout_attention{model="gone",need="went_back"} 0.0',
    ]
