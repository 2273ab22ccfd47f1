"""The explanation of an alert: legs with their deliveries, and what changed around its start."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import httpx
import numpy as np
import pytest

from alerts.dispatch import decide
from alerts.interfaces import AlertInstance, AlertState, Transition
from collectors.samples import labels_of
from controlplane.config.model import Fleet
from controlplane.errors import QueryError
from controlplane.metrics.promql.values import Matrix, MatrixSeries, QueryValue
from controlplane.store.alert_groups import SqlGroupLog
from controlplane.store.audit import audit
from controlplane.store.outbox import OutboxStore
from tests.unit.controlplane.api.conftest import NOW

FLEET = {
    "fleet": {"name": "test"},
    "notifiers": [{"name": "ops", "type": "log"}, {"name": "pager", "type": "log"}],
    "route": {
        "receiver": "ops",
        "group_by": ["alertname"],
        "group_wait": "10s",
        "routes": [{"matchers": ['severity="critical"'], "receiver": "pager", "group_wait": "0s"}],
    },
    "inhibit_rules": [{"source_matchers": ['alertname="Down"'], "target_matchers": ['alertname="Slow"']}],
}


def fire(rig: Any, name: str, at: float, severity: str = "warning", **labels: str) -> AlertInstance:
    every = labels_of({"alertname": name, "severity": severity, **labels})
    made = AlertInstance(f"r.yml;g;{name}", every, (), AlertState.FIRING, 1.0, at, fired_at=at)
    rig.alert_log.record(made.rule, [made], [Transition(made, AlertState.PENDING, AlertState.FIRING, at, "fired")])
    return made


def dispatch(rig: Any, at: float) -> None:
    SqlGroupLog(rig.db).advance(lambda picture: decide(rig.stages(), picture, at), at)


async def explained(client: httpx.AsyncClient, alert: AlertInstance) -> dict[str, Any]:
    answer = await client.get(f"/cp/v1/alerts/{alert.fingerprint}/explanation")
    assert answer.status_code == 200
    return dict(answer.json())


async def test_a_message_that_was_retried_and_one_that_is_held_back(rig: Any, viewer: httpx.AsyncClient) -> None:
    rig.config = Fleet.model_validate(FLEET)
    down, slow = fire(rig, "Down", NOW - 60, "critical", model="chat"), fire(rig, "Slow", NOW - 50, model="chat")
    dispatch(rig, NOW - 40)
    (entry,) = rig.outbox.claim("a", NOW - 39, 60, 5)
    rig.outbox.retry(entry, "pager: HTTP 503", NOW + 5)
    (leg,) = (await explained(viewer, down))["legs"]
    delivery = leg.pop("delivery")
    group = "pager/{severity=\"critical\"}{alertname='Down'}"
    assert leg == {
        "stage": "underway",
        "sentence": "a message of its group is on its way; nothing else is sent before that has arrived",
        "route": "route.routes[0]",
        "line": 0,
        "receiver": "pager",
        "notifier": "pager",
        "group": group,
        "mutes": [],
        "due_at": None,
    }
    assert (delivery["status"], delivery["attempts"], delivery["error"]) == ("retrying", 1, "pager: HTTP 503")
    assert delivery["id"] == f"{group}/{int(NOW - 40)}/1"
    (held,) = (await explained(viewer, slow))["legs"]
    assert (held["stage"], held["delivery"], held["notifier"]) == ("inhibition", None, "ops")
    assert [(mute["stage"], mute["by"]) for mute in held["mutes"]] == [("inhibition", [down.fingerprint])]


async def test_changes_are_those_of_its_model_its_node_and_the_configuration(
    rig: Any, viewer: httpx.AsyncClient
) -> None:
    rig.config = Fleet.model_validate(FLEET)
    slow = fire(rig, "Slow", NOW, model="chat", node="n1")
    hot = fire(rig, "Hot", NOW - 300, node="n1")
    fire(rig, "Hot", NOW - 200, node="n2")
    fire(rig, "Old", NOW - 1900, node="n1")
    fire(rig, "Late", NOW + 301, node="n1")
    with rig.db.transaction() as session:
        audit(session, "ann", "config.reload", "fleet/test", "route changed", NOW - 100)
        audit(session, "ann", "config.reload", "fleet/test", "too early", NOW - 1801)
    changes = (await explained(viewer, slow))["changes"]
    assert [(one["kind"], one["ref"], one["sentence"]) for one in changes] == [
        ("alert", hot.fingerprint, "fired"),
        ("audit", "ann", "route changed"),
    ]


async def test_an_alert_that_nobody_knows(viewer: httpx.AsyncClient) -> None:
    answer = await viewer.get("/cp/v1/alerts/0123456789abcdef/explanation")
    assert (answer.status_code, answer.json()["detail"]) == (
        404,
        "there is no alert 0123456789abcdef, active or resolved; `cp alerts list` lists them",
    )


async def test_a_flapping_alert_says_so_everywhere(rig: Any, viewer: httpx.AsyncClient) -> None:
    rig.config = Fleet.model_validate(FLEET)
    flapping = fire(rig, "Slow", NOW - 30)
    earlier = tuple(NOW - 30.0 - seconds for seconds in (240, 180, 120, 60))
    flapping = replace(flapping, changes=earlier)
    rig.alert_log.record(flapping.rule, [flapping], [])
    fire(rig, "Calm", NOW - 30)
    dispatch(rig, NOW - 30)
    dispatch(rig, NOW - 20)
    outbox = OutboxStore(rig.db)
    for entry in outbox.claim("p", NOW - 20, 60.0, 10):
        outbox.done(entry, None, NOW - 20)
    shown = {alert["name"]: alert["flapping"] for alert in (await viewer.get("/cp/v1/alerts")).json()["items"]}
    assert shown == {"Slow": "flapping: 5 changes in the last 5 minutes", "Calm": ""}
    ended = replace(flapping, state=AlertState.INACTIVE, resolved_at=NOW - 10.0)
    change = Transition(ended, AlertState.FIRING, AlertState.INACTIVE, NOW - 10.0, "ended")
    rig.alert_log.record(flapping.rule, [ended], [change])
    alert = (await viewer.get(f"/cp/v1/alerts/{flapping.fingerprint}")).json()
    assert (alert["state"], alert["flapping"]) == ("resolved", "flapping: 6 changes in the last 5 minutes")
    (leg,) = (await explained(viewer, flapping))["legs"]
    assert (leg["stage"], leg["sentence"]) == (
        "flapping",
        "flapping: 6 changes in the last 5 minutes; its receiver was told so, and what becomes of it when it has not "
        "changed for 15m",
    )


async def test_a_list_of_few_alerts_knows_what_holds_them_back(rig: Any, viewer: httpx.AsyncClient) -> None:
    rig.config = Fleet.model_validate(FLEET)
    slow, down = fire(rig, "Slow", NOW - 60, model="chat"), fire(rig, "Down", NOW - 50, "critical", model="chat")
    (listed,) = (await viewer.get("/cp/v1/alerts", params={"limit": 1})).json()["items"]
    assert (listed["fingerprint"], [one["stage"] for one in listed["held_back"]]) == (slow.fingerprint, ["inhibition"])
    assert listed["held_back"][0]["by"] == [down.fingerprint]
    assert (await viewer.get(f"/cp/v1/alerts/{slow.fingerprint}")).json()["held_back"] == listed["held_back"]


async def test_changes_of_targets_and_gpus_are_among_the_others_in_the_order_of_time(
    rig: Any, viewer: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    slow = fire(rig, "Slow", NOW - 50, model="chat")
    fire(rig, "Hot", NOW - 40, model="chat")

    async def down(expr: str, at: float) -> QueryValue:
        times = np.array([NOW - 1800.0, *(NOW - 90 + 30 * n for n in range(4))])
        labels = labels_of({"job": "vllm", "instance": "a:1"})
        return Matrix(
            [MatrixSeries(labels, times[1:], np.array([1.0, 1.0, 0.0, 0.0]))] if expr.startswith("up") else []
        )

    monkeypatch.setattr(rig.queries, "instant_value", down)
    found = await explained(viewer, slow)
    told = [(item["kind"], item["what"], item["sentence"]) for item in found["changes"]]
    assert told == [
        ("target", "appeared", "vllm/a:1 appeared"),
        ("alert", "firing", "fired"),
        ("target", "down", "vllm/a:1 went down: its scrapes fail"),
    ]
    assert found["metrics_fault"] is None

    async def broken(expr: str, at: float) -> QueryValue:
        raise QueryError("timeout", "query timed out")

    monkeypatch.setattr(rig.queries, "instant_value", broken)
    found = await explained(viewer, slow)
    assert [item["kind"] for item in found["changes"]] == ["alert"]
    assert found["metrics_fault"] == "query timed out"
