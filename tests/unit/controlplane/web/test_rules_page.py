"""The page of rules, and the page that tries one."""

from __future__ import annotations

import html
import json
import re
from typing import Any
from urllib.parse import parse_qs, quote, urlsplit

import pytest

from alerts.evaluate import GroupReport, RuleHealth
from alerts.interfaces import AlertInstance, AlertState
from alerts.rules import parse_rules
from collectors.samples import labels_of
from controlplane.access.roles import Role
from tests.unit.controlplane.api.conftest import NOW
from tests.unit.controlplane.api.test_rule_trials import measured
from tests.unit.controlplane.web.reading import words

__all__ = ["measured"]

RULES = """\
groups:
- name: gpus
  interval: 30s
  rules:
  - {record: "gpu:hot", expr: gpu_temperature_celsius > 0}
  - alert: Cold
    expr: gpu_temperature_celsius < 10
  - alert: Hot
    expr: gpu_temperature_celsius > 85
    for: 2m
    labels: {severity: critical}
    annotations: {runbook_url: /runbooks/GPULost}
  - alert: Broken
    expr: up == 0
"""


@pytest.fixture
def rules(console: Any) -> None:
    (group,) = parse_rules(RULES, "rules.yml")
    recording, cold, hot, broken = group.rules
    firing = AlertInstance(hot.id, labels_of({"alertname": "Hot"}), (), AlertState.FIRING, 90.0, NOW - 20, fired_at=NOW)
    healths = (
        RuleHealth(recording, "ok", last_evaluation=NOW, evaluation_s=0.002),
        RuleHealth(cold),
        RuleHealth(hot, "ok", last_evaluation=NOW, evaluation_s=0.004, instances=(firing, firing)),
        RuleHealth(broken, "err", "timeout: <b>too slow</b>", NOW, 30.0),
    )
    console.rig.reports.append(GroupReport(group, healths, NOW, 0.25))


def shown(page: str) -> list[str]:
    return re.findall(r'label=alertname%3D%22(\w+)%22"', page)


async def test_a_group_has_its_rules_with_what_needs_a_look_first(console: Any, rules: None) -> None:
    async with console.browser(Role.VIEWER) as browser:
        page = await browser.page("/rules")
    assert shown(page) == ["Broken", "Hot", "Cold"]
    told = words(page)
    assert "gpus rules.yml · every 30 s · last evaluation 2027-01-15 08:00:00, took 250 ms" in told
    assert "firing Hot 2 critical gpu_temperature_celsius > 85 85 2 min 4 ms runbook try" in told
    assert "timeout: <b>too slow</b>" in told
    assert "inactive not evaluated Cold" in told
    assert 'href="/rules/try?rule=rules.yml%3Bgpus%3BHot"' in page
    assert "all 4 firing 1 pending 0 inactive 2 with error 1 recording 1" in told


@pytest.mark.parametrize(
    ("state", "names"), [("firing", ["Hot"]), ("error", ["Broken"]), ("pending", []), ("recording", [])]
)
async def test_tabs_narrow_the_rules(console: Any, rules: None, state: str, names: list[str]) -> None:
    async with console.browser(Role.VIEWER) as browser:
        page = await browser.page(f"/rules?state={state}")
    assert shown(page) == names
    assert ("No rule of this state." in page) is (state == "pending")


async def test_without_rules_the_page_says_where_they_are_set(console: Any) -> None:
    async with console.browser(Role.VIEWER) as browser:
        assert "Name packs or rule files in fleet.yaml" in await browser.page("/rules")


async def test_a_rule_is_tried_by_its_address(console: Any, measured: Any) -> None:
    async with console.browser(Role.VIEWER) as browser:
        page = await browser.page("/rules/try?expr=gpu_temperature_celsius+%3E+85&for=2m&range=1h")
    told = words(page)
    assert "It would have fired once" in told
    assert "gpu=g1 node=n1" in told
    assert '<rect class="firing" x="533.3" y="0" width="133.3" height="16">' in page
    assert '<rect class="pending" x="500.0" y="4" width="33.3" height="8">' in page
    assert "&#34;value&#34;: 85.0" in page, "the threshold is on the chart"
    live = page.split('id="live"')[1].split("</div>")[0]
    assert "It would have fired" not in live, "a refresh of the page must not evaluate again"


async def test_an_open_page_does_not_repeat_its_trial(
    console: Any, measured: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def never(*_: object, **__: object) -> None:
        raise AssertionError("the trial was repeated")

    address = "/rules/try?expr=gpu_temperature_celsius+%3E+85&range=1h"
    async with console.browser(Role.VIEWER) as browser:
        assert "It would have fired once" in await browser.page(address)
        monkeypatch.setattr(measured.queries, "range_json", never)
        answer = await browser.client.get(address, headers={"HX-Target": "live"})
    assert answer.status_code == 200 and answer.text.strip().startswith('<div id="live"')


async def test_the_form_is_filled_from_a_rule_in_force(console: Any, rules: None, measured: Any) -> None:
    async with console.browser(Role.VIEWER) as browser:
        page = await browser.page("/rules/try?rule=" + quote("rules.yml;gpus;Hot") + "&range=1h")
        assert ">gpu_temperature_celsius &gt; 85</textarea>" in page
        assert 'name="for" value="2m"' in page
        assert "It would have fired once" in words(page)
        assert "there is no rule nothing" in await browser.page("/rules/try?rule=nothing", 404)


async def test_a_trial_of_a_rule_in_force_has_the_interval_of_its_group(
    console: Any, rules: None, measured: Any
) -> None:
    asked = "&rule=" + quote("rules.yml;gpus;Hot")
    async with console.browser(Role.VIEWER) as browser:
        page = await browser.page("/rules/try?range=1h" + asked)
        assert "evaluated every 30 s" in words(page)
        assert '<input type="hidden" name="rule" value="rules.yml;gpus;Hot">' in page, "it is sent with a changed form"
        changed = "/rules/try?range=1h&expr=gpu_temperature_celsius+%3E+80"
        assert "evaluated every 30 s" in words(await browser.page(changed + asked))
        assert "evaluated every 15 s" in words(await browser.page(changed))
        assert "evaluated every 15 s" in words(await browser.page(changed + "&rule=gone"))


async def test_a_range_is_a_prometheus_duration(console: Any, measured: Any) -> None:
    async with console.browser(Role.VIEWER) as browser:
        page = await browser.page("/rules/try?expr=gpu_temperature_celsius+%3E+85&range=+1h30m+")
    assert "2027-01-15 06:30:00 – 2027-01-15 08:00:00" in words(page)
    assert 'data-ranges="1h30m"' in page and "<option selected>1h30m</option>" in page


NAME = 'Hot "50%" & #1/a'
"""An alert's name with every character that breaks an address."""


async def test_any_name_of_an_alert_makes_whole_links(console: Any) -> None:
    rule = {"alert": NAME, "expr": "up == 0", "annotations": {"runbook_url": "https://r"}}
    (group,) = parse_rules(json.dumps({"groups": [{"name": "g", "rules": [rule]}]}), "rules.yml")
    console.rig.reports.append(GroupReport(group, (RuleHealth(group.rules[0], "ok"),), NOW, 0.25))
    async with console.browser(Role.VIEWER) as browser:
        page = await browser.page("/rules")
        links = [html.unescape(link) for link in re.findall(r'href="([^"]+)"', page)]
        (alerts,) = [link for link in links if link.startswith("/alerts?state=active&label=")]
        assert parse_qs(urlsplit(alerts).query)["label"] == ['alertname="Hot \\"50%\\" & #1/a"']
        await browser.page(alerts)
        assert f"/runbooks/{quote(NAME, safe='')}" in links
        (trial,) = [link for link in links if link.startswith("/rules/try?rule=")]
        assert ">up == 0</textarea>" in await browser.page(trial)


@pytest.mark.parametrize(
    ("query", "says"),
    [
        ("expr=sum+by+(model+(up)", "error line 1 expr: 1:15: parse error: unexpected '('"),
        ("expr=up&for=soon", "for: 'soon' is not a duration such as 5m"),
        ("expr=up&range=99d", "the range must end after its start and last 31d at most"),
        ("expr=" + quote("alert: X\nexpr: up\nfore: 1m"), "error line 3 group trial: rule 1: unknown field fore"),
    ],
)
async def test_a_fault_stays_beside_the_form(console: Any, measured: Any, query: str, says: str) -> None:
    async with console.browser(Role.VIEWER) as browser:
        page = await browser.page(f"/rules/try?{query}")
    assert says in words(page)
    assert 'aria-invalid="true" aria-describedby="findings"' in page


async def test_an_empty_form_says_what_to_type(console: Any) -> None:
    async with console.browser(Role.VIEWER) as browser:
        page = await browser.page("/rules/try")
    assert "Type an expression such as gpu_temperature_celsius > 80" in words(page)
    assert "data-chart" not in page
