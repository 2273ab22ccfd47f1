"""Rules, alerts and the version, as Prometheus tells them."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from typing import Any

import httpx
import pytest

from alerts.evaluate import GroupReport, RuleHealth
from alerts.interfaces import AlertInstance, AlertState, Transition
from alerts.rules import parse_rules
from collectors.samples import labels_of
from controlplane.api.interop.status import go_exponent

NOW = 1_800_000_000.0

RULES = """
groups:
  - name: llm
    interval: 30s
    rules:
      - record: job:up:sum
        expr: sum by (job) (up)
        labels: {team: serving}
      - alert: Down
        expr: up == 0
        for: 1m
        labels: {severity: critical}
        annotations: {summary: "{{ $labels.instance }} is down"}
  - name: gpu
    rules:
      - alert: Hot
        expr: gpu_temperature_celsius > 85
"""


def reports(rig: Any) -> AlertInstance:
    llm, gpu = parse_rules(RULES, "rules.yml")
    labels = labels_of({"alertname": "Down", "severity": "critical", "instance": "b"})
    firing = AlertInstance(
        llm.rules[1].id, labels, (("summary", "b is down"),), AlertState.FIRING, 0.0, NOW - 90, fired_at=NOW - 30
    )
    rig.alert_log.record(
        firing.rule, [firing], [Transition(firing, AlertState.PENDING, AlertState.FIRING, NOW - 30, "fired")]
    )
    healths = (
        RuleHealth(llm.rules[0], "err", "the store is gone", NOW, 0.125),
        RuleHealth(llm.rules[1], "ok", "", NOW, 0.25, instances=(firing,)),
    )
    rig.reports = [
        GroupReport(llm, healths, NOW, 0.375),
        GroupReport(gpu, (RuleHealth(gpu.rules[0]),), None, 0.0),
    ]
    return firing


ALERT = {
    "labels": {"alertname": "Down", "severity": "critical", "instance": "b"},
    "annotations": {"summary": "b is down"},
    "state": "firing",
    "activeAt": "2027-01-15T07:58:30.000Z",
    "value": "0e+00",
}


async def test_rules(rig: Any) -> None:
    reports(rig)
    async with rig.client() as client:
        groups = (await client.get("/api/v1/rules")).json()["data"]["groups"]
    assert groups[0] == {
        "name": "llm",
        "file": "rules.yml",
        "interval": 30.0,
        "limit": 0,
        "evaluationTime": 0.375,
        "lastEvaluation": "2027-01-15T08:00:00.000Z",
        "rules": [
            {
                "type": "recording",
                "name": "job:up:sum",
                "query": "sum by (job) (up)",
                "labels": {"team": "serving"},
                "health": "err",
                "lastError": "the store is gone",
                "evaluationTime": 0.125,
                "lastEvaluation": "2027-01-15T08:00:00.000Z",
            },
            {
                "type": "alerting",
                "name": "Down",
                "query": "up == 0",
                "duration": 60.0,
                "keepFiringFor": 0.0,
                "labels": {"severity": "critical"},
                "annotations": {"summary": "{{ $labels.instance }} is down"},
                "alerts": [ALERT],
                "state": "firing",
                "health": "ok",
                "evaluationTime": 0.25,
                "lastEvaluation": "2027-01-15T08:00:00.000Z",
            },
        ],
    }
    assert (groups[1]["interval"], groups[1]["lastEvaluation"]) == (15.0, "0001-01-01T00:00:00Z")
    assert groups[1]["rules"][0]["health"] == "unknown"


@pytest.mark.parametrize(
    ("params", "names"),
    [
        ({}, ["job:up:sum", "Down", "Hot"]),
        ({"type": "alert"}, ["Down", "Hot"]),
        ({"type": "record"}, ["job:up:sum"]),
        ({"rule_name[]": ["Hot", "Down"]}, ["Down", "Hot"]),
        ({"rule_group[]": "gpu"}, ["Hot"]),
        ({"file[]": "other.yml"}, []),
    ],
)
async def test_rules_are_filtered(rig: Any, params: dict[str, Any], names: list[str]) -> None:
    reports(rig)
    async with rig.client() as client:
        groups = (await client.get("/api/v1/rules", params=params)).json()["data"]["groups"]
    assert [rule["name"] for group in groups for rule in group["rules"]] == names
    assert all(group["rules"] for group in groups)


async def test_rules_without_alerts_and_a_wrong_type(rig: Any) -> None:
    reports(rig)
    async with rig.client() as client:
        groups = (await client.get("/api/v1/rules?exclude_alerts=true")).json()["data"]["groups"]
        wrong = await client.get("/api/v1/rules?type=all")
    assert groups[0]["rules"][1]["alerts"] == []
    assert (wrong.status_code, wrong.json()["error"]) == (400, 'invalid parameter "type": not supported value "all"')


async def test_alerts(rig: Any) -> None:
    reports(rig)
    async with rig.client() as client:
        assert (await client.get("/api/v1/alerts")).json() == {"status": "success", "data": {"alerts": [ALERT]}}


async def test_buildinfo_is_a_version_that_grafana_can_compare(viewer: httpx.AsyncClient) -> None:
    data = (await viewer.get("/api/v1/status/buildinfo")).json()["data"]
    assert data["version"] == "3.0.0+controlplane.0.1.0"


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.0, "0e+00"),
        (-0.0, "-0e+00"),
        (1.0, "1e+00"),
        (2.5, "2.5e+00"),
        (-1234.5, "-1.2345e+03"),
        (1e-7, "1e-07"),
        (1e100, "1e+100"),
        (100.0, "1e+02"),
        (float("inf"), "+Inf"),
        (float("nan"), "NaN"),
    ],
)
def test_alert_values_are_written_as_go_does(value: float, text: str) -> None:
    assert go_exponent(value) == text


@pytest.mark.parametrize(
    ("match", "names"),
    [
        (['{team="serving"}'], ["job:up:sum"]),
        (['{severity=~"crit.*"}', '{team="serving"}'], ["job:up:sum", "Down"]),
        (['{severity="critical",team="serving"}'], []),
        (['{team!="serving",severity!=""}'], ["Down"]),
    ],
)
async def test_rules_are_picked_by_the_labels_that_they_are_written_with(
    rig: Any, match: list[str], names: list[str]
) -> None:
    reports(rig)
    async with rig.client() as client:
        groups = (await client.get("/api/v1/rules", params={"match[]": match})).json()["data"]["groups"]
    assert [rule["name"] for group in groups for rule in group["rules"]] == names
    assert all(group["rules"] for group in groups)


async def test_groups_come_in_pages_and_a_token_holds_when_groups_come_and_go(rig: Any) -> None:
    reports(rig)
    async with rig.client() as client:

        async def page(**params: Any) -> tuple[list[str], str | None]:
            data = (await client.get("/api/v1/rules", params=params)).json()["data"]
            return [group["name"] for group in data["groups"]], data.get("groupNextToken")

        assert await page(group_limit=2) == (["llm", "gpu"], None)
        first, token = await page(group_limit=1)
        # sha1 of "rules.yml;gpu", as in Prometheus
        assert (first, token) == (["llm"], hashlib.sha1(b"rules.yml;gpu", usedforsecurity=False).hexdigest())
        assert await page(group_limit=1, group_next_token=token) == (["gpu"], None)
        assert await page(group_limit=1, **{"rule_name[]": "Down"}) == (["llm"], None)
        rig.reports.pop(0)
        assert await page(group_limit=5, group_next_token=token) == (["gpu"], None)


@pytest.mark.parametrize(
    ("params", "told"),
    [
        ({"match[]": "up{"}, 'invalid parameter "match[]": '),
        ({"group_limit": "0"}, 'invalid parameter "group_limit": group_limit needs to be greater than 0'),
        ({"group_limit": "-1"}, 'invalid parameter "group_limit": group_limit needs to be greater than 0'),
        (
            {"group_limit": "x"},
            'invalid parameter "group_limit": group_limit needs to be a valid number: '
            'strconv.ParseInt: parsing "x": invalid syntax',
        ),
        (
            {"group_next_token": "x"},
            'invalid parameter "group_next_token": '
            "group_limit needs to be present in order to paginate over the groups",
        ),
        (
            {"group_next_token": "x", "group_limit": "1"},
            "invalid parameter \"group_next_token\": invalid group_next_token 'x'. were rule groups changed?",
        ),
    ],
)
async def test_wrong_pages_are_refused_in_the_words_of_prometheus(rig: Any, params: dict[str, str], told: str) -> None:
    reports(rig)
    async with rig.client() as client:
        answer = await client.get("/api/v1/rules", params=params)
    assert (answer.status_code, answer.json()["errorType"]) == (400, "bad_data")
    assert answer.json()["error"].startswith(told)


async def test_scrape_pools_are_the_jobs(viewer: httpx.AsyncClient) -> None:
    assert (await viewer.get("/api/v1/scrape_pools")).json()["data"] == {"scrapePools": ["vllm"]}


async def test_a_follower_says_whose_word_a_rule_is(rig: Any) -> None:
    reports(rig)
    llm, gpu = rig.reports
    told = replace(llm.rules[1], told_by="node-a:1:ab", told_at=NOW - 7, seen_at=NOW - 1)
    unheard = replace(gpu.rules[0], seen_at=NOW - 1)
    rig.reports = [llm._replace(rules=(llm.rules[0], told)), gpu._replace(rules=(unheard,))]
    async with rig.client() as client:
        groups = (await client.get("/api/v1/rules")).json()["data"]["groups"]
    own, heard = groups[0]["rules"]
    assert not {"evaluatedBy", "toldAt", "alertsReadAt"} & own.keys()
    assert {name: heard[name] for name in ("evaluatedBy", "toldAt", "alertsReadAt", "health")} == {
        "evaluatedBy": "node-a:1:ab",
        "toldAt": "2027-01-15T07:59:53.000Z",
        "alertsReadAt": "2027-01-15T07:59:59.000Z",
        "health": "ok",
    }
    (rule,) = groups[1]["rules"]
    assert (rule["health"], rule["lastEvaluation"]) == ("unknown", "0001-01-01T00:00:00Z")
    assert "evaluatedBy" not in rule
