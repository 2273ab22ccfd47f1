"""What others saw of a candidate, out of real series: jumps from nothing, old counters, and who is believed."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest

from alerts.interfaces import AlertInstance, AlertState
from controlplane.errors import QueryError, Unavailable
from controlplane.metrics.promql.values import QueryValue
from controlplane.rollout import evidence as reading
from controlplane.rollout.evidence import EvidenceReader
from controlplane.rollout.model import Evidence, Rollout
from controlplane.rollout.options import Options
from tests.unit.controlplane.metrics.conftest import load
from tests.unit.controlplane.rollout.test_records import PLAN, ROLLOUT

SINCE, NOW = 60.0, 180.0


class Series:
    """Queries over series in promtool's notation, one sample a minute from 0."""

    def __init__(self, text: str = "") -> None:
        self._engine = load(text)

    async def instant_value(self, expr: str, at: float) -> QueryValue:
        return self._engine.instant(expr, at)


class Alerts:
    def __init__(self, *alerts: AlertInstance) -> None:
        self._alerts = alerts

    def active(self, state: AlertState | None = None, limit: int = 100) -> list[AlertInstance]:
        assert state is AlertState.FIRING
        return list(self._alerts)


def alert(fired_at: float = 100.0, **labels: str) -> AlertInstance:
    given = {"alertname": "LLMErrorRateHigh", "model": "chat", "version": "v2", "severity": "critical", **labels}
    annotations = (("summary", "9% fail"),)
    return AlertInstance("r", tuple(given.items()), annotations, AlertState.FIRING, 1, 0, fired_at)


def rollout(*rollback_on: str) -> Rollout:
    return replace(ROLLOUT, plan=replace(PLAN, options=Options(rollback_on=rollback_on)))


async def read(text: str = "", *alerts: AlertInstance) -> Evidence:
    return await EvidenceReader(Series(text), Alerts(*alerts)).read(rollout(), SINCE, NOW)


def requests(source: str, outcome: str, values: str, version: str = "v2", model: str = "chat") -> str:
    labels = f'model="{model}",version="{version}",source="{source}",outcome="{outcome}"'
    return f"llm_requests_total{{{labels}}} {values}\n"


async def test_a_counter_that_begins_with_the_candidate_is_counted_from_its_first_value() -> None:
    text = requests("engine", "success", "_ _ 7 9") + requests("engine", "error", "_ _ 3 3")
    assert await read(text) == Evidence(12, 3, "engine")


async def test_what_a_counter_held_before_is_not_this_rollouts() -> None:
    text = requests("engine", "success", "100 100 101 105") + requests("engine", "error", "40 40 40 40")
    assert await read(text) == Evidence(5, 0, "engine")


async def test_the_source_nearest_to_the_client_is_believed_and_never_added_to_another() -> None:
    text = requests("gateway", "rejected", "_ _ 4 4") + requests("engine", "success", "_ _ 900 900")
    text += requests("probe", "timeout", "_ _ 1 1")
    assert await read(text) == Evidence(4, 4, "gateway")


async def test_what_nobody_counted_is_unknown_and_other_versions_do_not_count() -> None:
    text = requests("engine", "error", "_ 5 5 5", version="v1") + requests("engine", "error", "_ 5 5 5", model="other")
    assert await read(text) == Evidence()
    assert await read(requests("probe", "error", "0 0 0 0")) == Evidence(), "a probe that asks another version"


async def test_a_client_that_gave_up_is_no_failure() -> None:
    assert await read(requests("engine", "aborted", "_ _ 5 5")) == Evidence(5, 0, "engine")


async def test_the_mean_is_of_the_same_source() -> None:
    text = requests("engine", "success", "_ 5 5 10")
    for part, values in (("sum", "_ 2 2 20"), ("count", "_ 5 5 10")):
        text += f'llm_request_duration_seconds_{part}{{model="chat",version="v2",source="engine"}} {values}\n'
        text += f'llm_request_duration_seconds_{part}{{model="chat",version="v2",source="probe"}} 9x3\n'
    assert (await read(text)).mean_s == 3.6


async def test_a_named_alert_on_another_version_or_none_calls_the_rollout_off() -> None:
    old = alert(version="v1", fired_at=70)
    reader = EvidenceReader(Series(""), Alerts(alert(), old, alert(version="v1", model="x"), alert(severity="none")))
    assert await reader.read(rollout("LLMErrorRateHigh"), SINCE, NOW) == Evidence(
        alerts=("LLMErrorRateHigh (9% fail)",), called_off_by=("LLMErrorRateHigh (9% fail)",)
    )
    assert (await reader.read(rollout("Another"), SINCE, NOW)).called_off_by == ()


async def test_alerts_on_the_version_that_began_with_it() -> None:
    found = await read("", alert(), alert(fired_at=59), alert(version="v1"), alert(model="x"), alert(severity="none"))
    assert found == Evidence(alerts=("LLMErrorRateHigh (9% fail)",))


@pytest.mark.parametrize("error", [QueryError("execution", "too many samples"), Unavailable("the database is locked")])
async def test_what_cannot_be_read_is_unknown_with_the_reason(error: Exception) -> None:
    class Broken(Series):
        async def instant_value(self, expr: str, at: float) -> QueryValue:
            raise error

    found = await EvidenceReader(Broken(), Alerts()).read(rollout(), SINCE, NOW)
    assert found == Evidence(unknown=str(error))


async def test_a_metrics_server_that_hangs_holds_nothing_up(monkeypatch: pytest.MonkeyPatch) -> None:
    class Hanging(Series):
        async def instant_value(self, expr: str, at: float) -> QueryValue:
            await asyncio.Event().wait()
            raise AssertionError("never")

    monkeypatch.setattr(reading, "LOOK_S", 0.05)
    found = await EvidenceReader(Hanging(), Alerts()).read(rollout(), SINCE, NOW)
    assert found == Evidence(unknown="they could not be read within 0.05 s")


def test_a_request_that_did_not_fit_neither_verifies_nor_blames_a_candidate() -> None:
    misfits = ({"source": "probe", "outcome": "invalid"}, 9.0)
    good = ({"source": "probe", "outcome": "success"}, 1.0)

    assert reading.evidence([misfits], [], []) == Evidence()
    counted = reading.evidence([misfits, good], [], [])
    assert (counted.requests, counted.failed) == (1.0, 0)
