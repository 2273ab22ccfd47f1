"""The page of one alert: its chart, its runbook, and the rollout that may be its cause."""

from __future__ import annotations

import html
import json
import re
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest

from alerts.evaluate import GroupReport, RuleHealth
from alerts.interfaces import AlertState
from alerts.rules import RuleGroup, parse_rules
from controlplane.access.roles import Role
from controlplane.fleet.alerting.explanations import ChangeView, Explanations
from controlplane.fleet.reader import FleetReader
from controlplane.web.alerting import alert as alert_page
from tests.unit.controlplane.api.conftest import NOW
from tests.unit.controlplane.web.reading import words

RULES = """\
groups:
- name: g
  rules:
  - alert: GPULost
    expr: max by (model, gpu) (gpu_temperature_celsius) > 85
    labels: {severity: warning}
"""


def loaded(console: Any, fingerprint: str, text: str = RULES) -> RuleGroup:
    """Let the rule of a recorded alert be one of the rules in force."""
    (group,) = parse_rules(text, "f")
    (rule,) = group.rules
    mine = replace(rule, id=f"f;g;{fingerprint}")
    console.rig.reports.append(GroupReport(group, (RuleHealth(mine),), NOW, 0.1))
    return group


def chart(page: str) -> Any:
    """Return what the chart of a page draws."""
    found = re.search(r'data-chart="([^"]+)"', page)
    assert found
    return json.loads(html.unescape(found[1]))


async def test_the_chart_is_of_what_is_compared_for_the_alerts_own_labels(console: Any) -> None:
    fingerprint = console.alert("GPULost", model="chat", gpu="g$1")
    loaded(console, fingerprint)
    async with console.browser(Role.VIEWER) as browser:
        page = await browser.page(f"/alerts/{fingerprint}")
    drawn = chart(page)
    assert drawn["thresholds"] == [{"label": "85", "value": 85.0}]
    (query,) = drawn["queries"]
    assert query["legend"] == "gpu model"
    assert query["expr"] == (
        "(max by (model, gpu) (gpu_temperature_celsius)) and on (gpu, model) label_replace(label_replace("
        'vector(1), "gpu", "g$$1", "", ""), "model", "chat", "", "")'
    )
    assert f'data-marks="/cp/v1/alerts/{fingerprint}/episodes"' in page
    assert "/static/js/charts.js" in page


async def test_the_chart_is_before_what_is_known_and_what_happened(console: Any) -> None:
    fingerprint = console.alert("GPULost", model="chat")
    loaded(console, fingerprint)
    async with console.browser(Role.VIEWER) as browser:
        page = await browser.page(f"/alerts/{fingerprint}")
    order = [
        page.index(part) for part in ('<section id="measured"', "<dt>Severity</dt>", "Changes around", ">History<")
    ]
    assert order == sorted(order)
    assert 'id="measured" class="measured" data-still' in page, "a refresh leaves the chart as it is"


async def test_an_alert_without_a_rule_has_no_chart(console: Any) -> None:
    fingerprint = console.alert("Sent")
    async with console.browser(Role.VIEWER) as browser:
        assert "data-chart" not in await browser.page(f"/alerts/{fingerprint}")


async def test_the_first_section_of_the_runbook_is_on_the_page(console: Any) -> None:
    known, unknown = console.alert("GPULost"), console.alert("Own")
    async with console.browser(Role.VIEWER) as browser:
        page = await browser.page(f"/alerts/{known}")
        assert "What it means The driver reports that a GPU does not answer" in words(page)
        assert "Clients" not in words(page)
        assert 'href="/runbooks/GPULost">' in page
        assert "What it means" not in await browser.page(f"/alerts/{unknown}")


async def test_episodes_are_those_of_the_history(console: Any) -> None:
    fingerprint = console.alert("Hot")
    async with console.rig.client(Role.VIEWER) as client:
        (one,) = (await client.get(f"/cp/v1/alerts/{fingerprint}/episodes")).json()["items"]
        assert (one["name"], one["fired_at"], one["resolved_at"]) == ("Hot", "2027-01-15T08:00:00.000Z", None)
        assert (await client.get("/cp/v1/alerts/0123456789abcdef/episodes")).status_code == 404


@pytest.fixture
def rolled(console: Any, monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    """Return what a rollout of the model chat is, shortly before each alert."""
    rollout = SimpleNamespace(id="r-1", kind="promote", finished=True, ok=True, from_="v1", to="v2")
    model = SimpleNamespace(name="chat", stable="v2", previous="v1", can_promote=True, rollout=None)
    change = ChangeView(
        at="2027-01-15T07:59:30Z", kind="rollout", subject="chat", ref="r-1", what="succeeded", sentence=""
    )
    of = Explanations.of

    def explained(self: Explanations, instance: Any) -> Any:
        return of(self, instance).model_copy(update={"changes": (change,)})

    async def read(*_: object) -> Any:
        return rollout

    async def status(_self: FleetReader, _name: str) -> Any:
        return model

    monkeypatch.setattr(Explanations, "of", explained)
    monkeypatch.setattr(alert_page, "read_rollout", read)
    monkeypatch.setattr(FleetReader, "model", status)
    return SimpleNamespace(rollout=rollout, model=model)


async def test_a_fresh_version_that_serves_is_a_suspect_with_a_way_back(console: Any, rolled: SimpleNamespace) -> None:
    fingerprint = console.alert("Slow", model="chat")
    async with console.browser(Role.OPERATOR) as browser:
        page = await browser.page(f"/alerts/{fingerprint}")
        assert "chat went from v1 to v2 shortly before this alert began, and v2 serves." in words(page)
        assert 'hx-get="/models/chat/rollback"' in page
        assert "Roll back to v1…" in page
    async with console.browser(Role.VIEWER) as browser:
        page = await browser.page(f"/alerts/{fingerprint}")
        assert "A fresh version may be the cause" in page
        assert "/rollback" not in page


@pytest.mark.parametrize(
    ("of", "changes"),
    [
        ("rollout", {"ok": False}),
        ("model", {"stable": "v3"}),
        ("model", {"previous": None}),
        ("model", {"can_promote": False}),
    ],
)
async def test_a_version_that_does_not_serve_is_no_suspect(
    console: Any, rolled: SimpleNamespace, of: str, changes: dict[str, Any]
) -> None:
    vars(getattr(rolled, of)).update(changes)
    fingerprint = console.alert("Slow", model="chat")
    async with console.browser(Role.OPERATOR) as browser:
        assert "may be the cause" not in await browser.page(f"/alerts/{fingerprint}")


async def test_a_rollout_under_way_is_a_suspect_too(console: Any, rolled: SimpleNamespace) -> None:
    vars(rolled.rollout).update(finished=False, ok=None)
    vars(rolled.model).update(stable="v1", previous=None, rollout=rolled.rollout)
    fingerprint = console.alert("Slow", AlertState.PENDING, model="chat")
    async with console.browser(Role.OPERATOR) as browser:
        page = await browser.page(f"/alerts/{fingerprint}")
    assert "chat is on its way from v1 to v2." in words(page)
    assert "Roll back to v1…" in page
