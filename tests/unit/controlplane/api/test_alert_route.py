"""Where the running configuration sends an alert, over HTTP."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import httpx
import pytest

from alerts.dispatch import Stages
from alerts.duty import Roster, Shift
from alerts.routing.config import read_alertmanager
from alerts.routing.tree import Escalation
from controlplane.access.roles import Role
from tests.unit.controlplane.api.conftest import NOW

TREE = """\
route:
  receiver: ops
  routes:
    - {matchers: [team="a"], receiver: ops, group_by: [model]}
receivers: [{name: ops}, {name: pager}]
inhibit_rules:
  - {source_matchers: [alertname="Down"], target_matchers: [team="a"], equal: [model]}
"""


@pytest.fixture
def stages(rig: Any, monkeypatch: pytest.MonkeyPatch) -> Stages:
    routing = replace(read_alertmanager(TREE, "am.yml"), root_sends_none=False)
    (child,) = routing.root.routes
    child = replace(child, escalation=(Escalation(900.0, "pager"),))
    rosters = {"primary": Roster((Shift(NOW - 10, NOW + 10, ("ann",)),), NOW + 99)}
    made = Stages(
        replace(routing, root=replace(routing.root, routes=(child,))),
        {name: (name,) for name in ("ops", "pager")},
        "",
        rotas={"pager": "primary"},
        fallbacks={"primary": "ops"},
        rosters=lambda: rosters,
    )
    monkeypatch.setattr(rig, "stages", lambda: made)
    return made


async def test_the_routes_of_an_alert_with_their_notifiers(stages: Stages, viewer: httpx.AsyncClient) -> None:
    found = (await viewer.get("/cp/v1/alerts/route", params={"label": ["team=a", "model=chat"]})).json()
    (route,) = found["routes"]
    assert (route["path"], route["line"], route["group"], route["continue"]) == (
        "route.routes[0]",
        4,
        {"model": "chat"},
        False,
    )
    assert route["escalation"] == [{"after": "15m", "receiver": "pager"}]
    assert route["sends_to"] == [
        {"notifier": "ops", "after": "", "on_call": [], "held_back": ""},
        {"notifier": "pager", "after": "15m", "on_call": ["ann"], "held_back": ""},
        {
            "notifier": "ops",
            "after": "15m",
            "on_call": [],
            "held_back": "ann is on call in primary until 2027-01-15 08:00 UTC, so the fallback is not needed",
        },
    ]
    assert found["inhibited_by"] == [{"line": 7, "source": ['alertname="Down"'], "equal": {"model": "chat"}}]


async def test_the_silences_that_hold_it_back_now(stages: Stages, rig: Any) -> None:
    async with rig.client(Role.OPERATOR) as client:
        body = {"matchers": ['model="chat"'], "for": "2h", "comment": "new driver"}
        made = (await client.post("/cp/v1/silences", json=body)).json()
        await client.post("/cp/v1/silences", json={**body, "starts_in": "1h"})
        await client.post("/cp/v1/silences", json={**body, "matchers": ["model=code"]})
        found = (await client.get("/cp/v1/alerts/route?label=model=chat")).json()
    assert found["silenced_by"] == [
        {
            "id": made["id"],
            "created_by": "test-operator",
            "comment": "new driver",
            "ends_at": "2027-01-15T10:00:00.000Z",
        }
    ]


async def test_all_routes_and_what_nobody_gets(stages: Stages, viewer: httpx.AsyncClient) -> None:
    found = (await viewer.get("/cp/v1/alerts/route")).json()
    assert [route["path"] for route in found["routes"]] == ["route", "route.routes[0]"]
    assert (await viewer.get("/cp/v1/alerts/route?label=severity=none")).json()["routes"] == []


async def test_what_is_no_label_is_refused(stages: Stages, viewer: httpx.AsyncClient) -> None:
    answer = await viewer.get("/cp/v1/alerts/route?label=team")
    assert (answer.status_code, answer.json()["detail"]) == (400, "label 'team': expected NAME=VALUE")
    answer = await viewer.get("/cp/v1/alerts/route?label=team=a&label=team=b")
    assert (answer.status_code, answer.json()["detail"]) == (400, "label team is given twice")
    assert (await viewer.get("/cp/v1/alerts/route", params={"label": ["ä=b"]})).status_code == 400
    assert (await viewer.get("/cp/v1/alerts/route", params={"label": ["a=b"] * 31})).status_code == 400
