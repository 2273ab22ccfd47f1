"""The read model: one round of queries a second, and partial failure is partial."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest

from alerts.errors import QueryFailed
from alerts.interfaces import AlertInstance, VectorSample
from collectors.samples import labels_of
from controlplane.config.model import Fleet
from controlplane.errors import NotFound, Unavailable
from controlplane.fleet.assemble import ModelFacts
from controlplane.fleet.reader import FleetReader

CONFIG = Fleet.model_validate(
    {
        "fleet": {"name": "prod"},
        "models": [{"name": "chat", "stable": "v1", "traffic": {"driver": "none"}, "versions": {"v1": {}}}],
    }
)


class Clock:
    def __init__(self) -> None:
        self.time = 1_800_000_000.0

    def now(self) -> float:
        return self.time


class FakeQuerier:
    def __init__(self) -> None:
        self.asked: list[str] = []
        self.broken = ""

    async def instant(self, expr: str, at: float) -> Sequence[VectorSample]:
        self.asked.append(expr)
        await asyncio.sleep(0)
        if self.broken and self.broken in expr:
            raise QueryFailed("the store is gone")
        if expr.startswith("sum") and "llm_requests_running" in expr:
            return [VectorSample(labels_of({"model": "chat", "version": "v1", "source": "engine"}), 3.0)]
        return []


class Models:
    error: Exception | None = None

    def facts(self) -> Sequence[ModelFacts]:
        if self.error:
            raise self.error
        return [ModelFacts("chat", "none", "v1", ("v1",))]


class Alerts:
    error: Exception | None = None

    def active(self) -> Sequence[AlertInstance]:
        if self.error:
            raise self.error
        return []


class Rig:
    def __init__(self) -> None:
        self.clock, self.querier, self.models, self.alerts = Clock(), FakeQuerier(), Models(), Alerts()
        self.reader = FleetReader(
            config=lambda: CONFIG,
            querier=self.querier,
            models=self.models,
            alerts=self.alerts,
            targets=list,
            clock=self.clock,
            observe_only=False,
        )


@pytest.fixture
def rig() -> Rig:
    return Rig()


async def test_the_whole_fleet(rig: Rig) -> None:
    fleet = await rig.reader.fleet()
    assert fleet.name == "prod"
    assert fleet.generated_at == "2027-01-15T08:00:00.000Z"
    assert fleet.models[0].versions[0].running == 3.0
    assert fleet.warnings == ()
    assert fleet.observe_only is False


async def test_fifty_browsers_cost_one_round_of_queries_a_second(rig: Rig) -> None:
    await asyncio.gather(*(rig.reader.fleet() for _ in range(50)))
    once = len(rig.querier.asked)
    assert once == len(set(rig.querier.asked))
    rig.clock.time += 0.9
    await rig.reader.models()
    assert len(rig.querier.asked) == once
    rig.clock.time += 0.2
    await rig.reader.models()
    assert len(rig.querier.asked) == 2 * once


async def test_a_clock_that_was_set_back_does_not_freeze_the_page(rig: Rig) -> None:
    await rig.reader.fleet()
    once = len(rig.querier.asked)
    rig.clock.time -= 3600
    await rig.reader.fleet()
    assert len(rig.querier.asked) == 2 * once


async def test_forgetting_reads_anew(rig: Rig) -> None:
    await rig.reader.fleet()
    once = len(rig.querier.asked)
    rig.reader.forget()
    await rig.reader.fleet()
    assert len(rig.querier.asked) == 2 * once


async def test_one_failed_query_costs_its_own_number_only(rig: Rig) -> None:
    rig.querier.broken = "llm_requests_waiting"
    fleet = await rig.reader.fleet()
    assert fleet.models[0].versions[0].running == 3.0
    assert fleet.models[0].versions[0].waiting is None
    assert fleet.warnings == ("waiting: the store is gone",)


async def test_an_unreadable_alert_store_is_unknown_not_zero(rig: Rig) -> None:
    rig.alerts.error = Unavailable("the database is away")
    fleet = await rig.reader.fleet()
    assert fleet.alerts is None
    assert fleet.warnings == ("alerts: the database is away",)


async def test_unreadable_models_are_an_error_not_an_empty_list(rig: Rig) -> None:
    rig.models.error = Unavailable("the database is away")
    assert (await rig.reader.fleet()).models == ()
    with pytest.raises(Unavailable, match="the database is away"):
        await rig.reader.models()


async def test_an_unknown_model_is_answered_with_the_known_ones(rig: Rig) -> None:
    assert (await rig.reader.model("chat")).name == "chat"
    with pytest.raises(NotFound, match=r"'chatt' is not in fleet.yaml; its models: chat"):
        await rig.reader.model("chatt")
