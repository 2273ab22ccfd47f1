"""Trials of rules over the API: real samples, the embedded engine, and the rules' own state machine."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from collectors.samples import Layout, Series, labels_of
from controlplane.access.roles import Role
from controlplane.fleet.alerting import trials
from controlplane.metrics.promql.engine import PromqlEngine
from controlplane.metrics.query.querier import MetricsQuerier
from tests.unit.controlplane.api.conftest import NOW

PATH = "/cp/v1/rules/try"


@pytest.fixture
async def measured(rig: Any, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Yield the rig with an hour of a temperature: 70 °C, and 90 °C from 30 to 20 minutes ago."""
    layout = Layout(raw=(Series("gpu_temperature_celsius", labels_of({"node": "n1", "gpu": "g1"})),))
    for second in range(-3600, 1, 15):
        value = 90.0 if -1800 <= second < -1200 else 70.0
        rig.series_store.append("t", layout, round((NOW + second) * 1000), np.array([value]))
    querier = MetricsQuerier(PromqlEngine(rig.series_store), workers=1)
    monkeypatch.setattr(rig, "queries", querier)
    yield rig
    querier.close()


async def tried(rig: Any, status: int = 200, role: Role = Role.VIEWER, /, **body: Any) -> Any:
    async with rig.client(role) as client:
        answer = await client.post(PATH, json=body)
    assert answer.status_code == status, answer.text
    return answer.json()


async def test_an_expression_says_when_it_would_have_fired(measured: Any) -> None:
    found = await tried(measured, rule="gpu_temperature_celsius > 85", **{"for": "2m", "range": "1h"})
    assert (found["fired"], found["step_seconds"], found["for_seconds"]) == (1, 15.0, 120.0)
    (episode,) = found["episodes"]
    assert episode == {
        "labels": {"node": "n1", "gpu": "g1"},
        "active_at": "2027-01-15T07:30:00.000Z",
        "fired_at": "2027-01-15T07:32:00.000Z",
        "ended_at": "2027-01-15T07:40:00.000Z",
        "peak": 90.0,
    }
    (alert,) = found["alerts"]
    assert (alert["fired"], alert["firing_seconds"], alert["longest_seconds"], alert["pending_only"]) == (
        1,
        480.0,
        480.0,
        0,
    )


async def test_a_higher_threshold_or_a_longer_for_does_not_fire(measured: Any) -> None:
    found = await tried(measured, rule="gpu_temperature_celsius > 90", range="1h")
    assert (found["evaluated"], found["fired"], found["alerts"]) == (True, 0, [])
    found = await tried(measured, rule="gpu_temperature_celsius > 85", **{"for": "11m", "range": "1h"})
    assert (found["fired"], found["alerts"][0]["pending_only"]) == (0, 1)


async def test_a_rule_in_yaml_brings_its_own_for_and_labels(measured: Any) -> None:
    text = "alert: Hot\nexpr: |\n  gpu_temperature_celsius\n    > 85\nfor: 5m\nlabels: {severity: critical}\n"
    for rule in (text, "- " + text.replace("\n", "\n  ")):
        found = await tried(measured, rule=rule, range="1h")
        assert found["alerts"][0]["labels"] == {"alertname": "Hot", "gpu": "g1", "node": "n1", "severity": "critical"}
        assert found["episodes"][0]["fired_at"] == "2027-01-15T07:35:00.000Z"
    assert "it has no annotation runbook_url" in found["findings"][0]["sentence"]


async def test_a_range_that_begins_within_an_episode_judges_its_begin_too(measured: Any) -> None:
    found = await tried(measured, rule="gpu_temperature_celsius > 85", **{"for": "2m", "range": "25m"})
    assert found["episodes"][0]["fired_at"] == "2027-01-15T07:35:00.000Z", "the samples of `for` before it count"


@pytest.mark.parametrize(
    ("rule", "line", "sentence"),
    [
        ("sum by (model (up)", 1, "expr: 1:15: parse error: unexpected '('"),
        ("alert: X\nexpr: up == 0\nfor: 5mm", 3, "for: expected a duration such as 15s, 2m or 1h30m, got '5mm'"),
        ("alert: X\nexpr: sum(", 2, "expr:"),
        ("record: a:b\nexpr: up", 0, "0 alerting rules are given: give one"),
        ("alert: X\nexpr: up\nfore: 5m", 3, "unknown field fore"),
    ],
)
async def test_a_fault_is_told_at_its_place_and_nothing_is_evaluated(
    measured: Any, rule: str, line: int, sentence: str
) -> None:
    found = await tried(measured, rule=rule)
    errors = [one for one in found["findings"] if one["level"] == "error"]
    assert (found["evaluated"], errors[0]["line"]) == (False, line)
    assert sentence in errors[0]["sentence"]


async def test_what_the_linter_doubts_is_a_warning_and_the_trial_goes_on(measured: Any) -> None:
    found = await tried(measured, rule="gpu_temprature_celsius > 85", range="1h")
    (finding,) = found["findings"]
    assert finding["level"] == "warning"
    assert "the nearest known name is gpu_temperature_celsius" in finding["sentence"]
    assert found["evaluated"]


async def test_a_long_range_has_a_longer_step_and_says_so(measured: Any) -> None:
    found = await tried(measured, rule="gpu_temperature_celsius > 85", range="7d")
    assert (found["step_seconds"], found["interval_seconds"]) == (210.0, 15.0)


@pytest.mark.parametrize(("interval", "seconds"), [("\n  interval: 1m", 60.0), ("", 15.0)])
async def test_a_rule_file_is_evaluated_at_the_interval_of_its_group(
    measured: Any, interval: str, seconds: float
) -> None:
    rule = f"groups:\n- name: gpus{interval}\n  rules:\n  - alert: Hot\n    expr: gpu_temperature_celsius > 85\n"
    found = await tried(measured, rule=rule, range="1h")
    assert (found["interval_seconds"], found["step_seconds"], found["fired"]) == (seconds, seconds, 1)


@pytest.mark.parametrize(
    ("bounds", "says"),
    [
        ({"MOST_SERIES": 1}, "the expression has more than 1 series: aggregate it, or select fewer"),
        ({"MOST_SAMPLES": 100}, "the expression has more than 100 results: aggregate it, or take a shorter range"),
    ],
)
async def test_a_result_that_is_too_large_is_refused(
    measured: Any, monkeypatch: pytest.MonkeyPatch, bounds: dict[str, int], says: str
) -> None:
    for name, value in bounds.items():
        monkeypatch.setattr(trials, name, value)
    expr = 'gpu_temperature_celsius > 0 or label_replace(gpu_temperature_celsius, "gpu", "g2", "", "")'
    assert says in (await tried(measured, 400, rule=expr, range="1h"))["detail"]


@pytest.mark.parametrize(
    "body", [{"rule": ""}, {"rule": "up", "range": "40d"}, {"rule": "up", "more": 1}, {"rule": " "}]
)
async def test_a_wrong_request_is_refused(measured: Any, body: dict[str, Any]) -> None:
    await tried(measured, 400, **body)


async def test_a_rule_whose_results_are_alike_fails_as_it_would(measured: Any) -> None:
    rule = 'alert: X\nexpr: gpu_temperature_celsius or label_replace(gpu_temperature_celsius, "gpu", "g2", "", "")\n'
    answer = await tried(measured, 422, rule=rule + "labels: {gpu: all}", range="1h")
    assert "two results have the same labels" in str(answer)


async def test_runbooks_are_listed_with_their_pack_and_severity(rig: Any) -> None:
    async with rig.client(Role.VIEWER) as client:
        items = (await client.get("/cp/v1/runbooks")).json()["items"]
    (one,) = [item for item in items if item["name"] == "GPULost"]
    assert one == {
        "name": "GPULost",
        "title": "The driver reports that a GPU does not answer (gpu_up 0).",
        "pack": "gpu",
        "severities": ["critical"],
    }
    assert [item["name"] for item in items] == sorted(item["name"] for item in items)


async def test_a_for_that_is_longer_than_any_range_is_refused(measured: Any) -> None:
    rule = "alert: Hot\nexpr: gpu_temperature_celsius > 85\nfor: 99y\nlabels: {severity: critical}\n"
    found = await tried(measured, 400, rule=rule, range="1h")
    assert found["detail"].startswith("for must last 31d at most")


async def test_a_recorded_metric_that_begins_like_a_field_is_an_expression(measured: Any) -> None:
    found = await tried(measured, rule="alert:errors:sum > 0 or gpu_temperature_celsius > 85", range="1h")
    assert (found["evaluated"], found["fired"]) == (True, 1)
