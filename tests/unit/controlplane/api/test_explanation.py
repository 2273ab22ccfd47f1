"""The explanation of an alert: legs with their deliveries, and what changed around its start."""

from __future__ import annotations

from typing import Any

import httpx

from alerts.dispatch import decide
from alerts.interfaces import AlertInstance, AlertState, Transition
from collectors.samples import labels_of
from controlplane.config.model import Fleet
from controlplane.store.alert_groups import SqlGroupLog
from controlplane.store.audit import audit
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
