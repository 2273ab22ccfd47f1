"""The reading half of Alertmanager's API."""

from __future__ import annotations

from typing import Any

import pytest
import yaml
from fastapi.responses import JSONResponse

from alerts.interfaces import AlertInstance, AlertState, Transition
from alerts.routing.config import read_alertmanager
from collectors.samples import labels_of
from controlplane.api.interop.alertmanager import AlertGroup, GettableAlert
from controlplane.config.model import Fleet
from tests.unit.controlplane.api.conftest import NOW

FLEET = {
    "fleet": {"name": "test", "external_url": "https://cp.example.com/"},
    "notifiers": [{"name": "ops", "type": "slack", "channel": "#ops", "token_env": "SLACK_BOT_TOKEN"}],
    "route": {"receiver": "ops", "group_by": ["model"], "group_wait": "10s"},
}


def fire(rig: Any, state: AlertState = AlertState.FIRING, **labels: str) -> AlertInstance:
    made = AlertInstance(
        f"rules.yml;g;{labels['alertname']}",
        labels_of(labels),
        (("summary", f"{labels['alertname']} at {NOW}"),),
        state,
        1.0,
        NOW - 90,
        fired_at=NOW - 30 if state is AlertState.FIRING else None,
    )
    rig.alert_log.record(made.rule, [made], [Transition(made, AlertState.INACTIVE, state, NOW - 30, "fired")])
    return made


def three(rig: Any) -> None:
    rig.config = Fleet.model_validate(FLEET)
    fire(rig, alertname="Down", severity="critical", model="chat")
    fire(rig, alertname="Watchdog", severity="none")
    fire(rig, AlertState.PENDING, alertname="Slow", severity="warning", model="chat")


async def test_a_firing_alert_has_alertmanagers_fields(rig: Any) -> None:
    three(rig)
    async with rig.client() as client:
        found = (await client.get("/api/v2/alerts", params={"filter": 'alertname="Down"'})).json()
    (alert,) = found
    fingerprint = alert.pop("fingerprint")
    assert alert == {
        "labels": {"alertname": "Down", "model": "chat", "severity": "critical"},
        "annotations": {"summary": f"Down at {NOW}"},
        "startsAt": "2027-01-15T07:59:30.000Z",
        "updatedAt": "2027-01-15T08:00:00.000Z",
        "endsAt": "2027-01-15T08:05:00.000Z",
        "receivers": [{"name": "ops"}],
        "status": {"state": "active", "silencedBy": [], "inhibitedBy": [], "mutedBy": []},
        "generatorURL": f"https://cp.example.com/alerts/{fingerprint}",
    }


async def test_the_answer_is_byte_for_byte_what_its_model_writes(rig: Any) -> None:
    three(rig)
    fire(rig, alertname="Zeichen", model='"ä"\u2028\x01\x7f\\/😀', severity="warning")
    async with rig.client() as client:
        answer = await client.get("/api/v2/alerts")
    assert answer.headers["content-type"] == "application/json"
    models = [GettableAlert.model_validate(one).model_dump(by_alias=True) for one in answer.json()]
    assert len(models) == 3
    assert answer.content == JSONResponse(models).body


@pytest.mark.parametrize(
    ("params", "names"),
    [
        ({}, ["Down", "Watchdog"]),
        ({"filter": "severity=~crit.*"}, ["Down"]),
        ({"filter": ["severity=~crit.*", "model!=chat"]}, []),
        ({"filter": '{severity="none",model=""}'}, ["Watchdog"]),
        ({"receiver": "o.s"}, ["Down"]),
        ({"receiver": "op"}, []),
        ({"active": "false"}, []),
        ({"silenced": "false", "inhibited": "false", "unprocessed": "false"}, ["Down", "Watchdog"]),
    ],
)
async def test_alerts_are_filtered(rig: Any, params: dict[str, Any], names: list[str]) -> None:
    three(rig)
    async with rig.client() as client:
        found = (await client.get("/api/v2/alerts", params=params)).json()
    assert sorted(alert["labels"]["alertname"] for alert in found) == names
    assert [alert["fingerprint"] for alert in found] == sorted(alert["fingerprint"] for alert in found)


ROUTES = [
    {"receiver": "pager", "matchers": ['severity="critical"'], "group_by": ["node"], "continue": True},
    {"receiver": "ops", "matchers": ['model="chat"'], "group_by": ["severity"]},
]


@pytest.mark.parametrize(
    ("params", "expected"),
    [
        (
            {},
            [
                ({}, "ops", ["Slow"]),
                ({"node": "n1"}, "pager", ["Down"]),
                ({"node": "n2"}, "pager", ["Lost"]),
                ({"severity": "critical"}, "ops", ["Down", "Lost"]),
            ],
        ),
        ({"receiver": "p.*"}, [({"node": "n1"}, "pager", ["Down"]), ({"node": "n2"}, "pager", ["Lost"])]),
        ({"filter": "node=n2"}, [({"node": "n2"}, "pager", ["Lost"]), ({"severity": "critical"}, "ops", ["Lost"])]),
        ({"active": "false"}, []),
    ],
)
async def test_groups_are_those_of_the_routes_that_alerts_take(
    rig: Any, params: dict[str, str], expected: list[tuple[dict[str, str], str, list[str]]]
) -> None:
    pager = {"name": "pager", "type": "log"}
    route = {"receiver": "ops", "group_by": ["model"], "routes": ROUTES}
    rig.config = Fleet.model_validate({**FLEET, "notifiers": [*FLEET["notifiers"], pager], "route": route})
    for name, node in (("Down", "n1"), ("Lost", "n2")):
        fire(rig, alertname=name, severity="critical", model="chat", node=node)
    fire(rig, alertname="Slow", severity="warning")
    fire(rig, alertname="Watchdog", severity="none")
    async with rig.client() as client:
        answer = await client.get("/api/v2/alerts/groups", params=params)
        alerts = {one["fingerprint"]: one for one in (await client.get("/api/v2/alerts")).json()}
    found = answer.json()
    names = [sorted(alert["labels"]["alertname"] for alert in group["alerts"]) for group in found]
    assert [(g["labels"], g["receiver"]["name"], n) for g, n in zip(found, names, strict=True)] == expected
    assert all(alert == alerts[alert["fingerprint"]] for group in found for alert in group["alerts"])
    models = [AlertGroup.model_validate(one).model_dump(by_alias=True) for one in found]
    assert answer.content == JSONResponse(models).body


@pytest.mark.parametrize(
    ("params", "said"),
    [
        ({"filter": "a~b"}, "filter: 'a~b': expected one of =, !=, =~ and !~, got '~b'"),
        ({"filter": "a=~("}, 'filter: a=~"(": error parsing regexp: missing closing ): `(`'),
        ({"receiver": "("}, "receiver: error parsing regexp: missing closing ): `(`"),
    ],
)
async def test_a_wrong_filter_is_told_as_a_json_string(rig: Any, params: dict[str, str], said: str) -> None:
    async with rig.client() as client:
        answer = await client.get("/api/v2/alerts", params=params)
        missing = await client.get("/api/v2/nothing")
    assert (answer.status_code, answer.json()) == (400, said)
    assert (missing.status_code, type(missing.json())) == (404, str)


async def test_status_has_a_routing_that_reads_back_and_no_secret(rig: Any) -> None:
    three(rig)
    async with rig.client() as client:
        status = (await client.get("/api/v2/status")).json()
        receivers = (await client.get("/api/v2/receivers")).json()
        silences = (await client.get("/api/v2/silences")).json()
    original = status["config"]["original"]
    root = read_alertmanager(original, "am.yml").root
    assert (root.receiver, root.group_by, root.group_wait_s, root.repeat_interval_s) == ("ops", ("model",), 10, 14400)
    assert yaml.safe_load(original)["receivers"] == [{"name": "ops"}] == receivers
    assert status["cluster"] == {"status": "disabled", "peers": []}
    assert status["versionInfo"]["version"].startswith("0.28.0+controlplane.")
    assert silences == []
