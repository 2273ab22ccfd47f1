"""The read model: one round of queries a second, and partial failure is partial."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence

import pytest

from alerts.interfaces import AlertState, VectorSample
from collectors.samples import labels_of
from controlplane.config.model import Fleet
from controlplane.errors import NotFound, QueryError, Unavailable
from controlplane.fleet.reader import FleetReader
from controlplane.metrics.promql.values import Vector
from controlplane.rollout.attention import Attention, Need
from controlplane.rollout.reporting.reader import ModelStatus
from controlplane.rollout.stored.recorded import RecordedRollout
from controlplane.store.stored import UnreadRow

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


class FakeQueries:
    def __init__(self) -> None:
        self.asked: list[str] = []
        self.broken = ""

    async def instant_value(self, expr: str, at: float) -> Vector:
        self.asked.append(expr)
        await asyncio.sleep(0)
        if self.broken and self.broken in expr:
            raise QueryError("execution", "the store is gone")
        if expr.startswith("sum") and "llm_requests_running" in expr:
            labels = labels_of({"model": "chat", "version": "v1", "source": "engine"})
            return Vector(at, [VectorSample(labels, 3.0)])
        return Vector(at, [])


class Models:
    error: Exception | None = None

    async def models(self) -> Sequence[ModelStatus]:
        if self.error:
            raise self.error
        gone = ModelStatus("gone", "v1", None, None, None, "", None, False)
        return [ModelStatus("chat", "v1", None, None, None, "", None, False), gone]

    async def list(self, model: str | None = None, limit: int = 50) -> Sequence[RecordedRollout]:
        return []

    def attention(self) -> Sequence[Attention]:
        return [Attention("chat", "r-1", Need.WENT_BACK, "v2 failed. v1 serves again", 0.0)]


class Alerts:
    error: Exception | None = None

    def counts(self) -> Mapping[AlertState, int]:
        if self.error:
            raise self.error
        return {AlertState.FIRING: 2, AlertState.PENDING: 1}


class Rig:
    def __init__(self) -> None:
        self.clock, self.queries, self.models, self.alerts = Clock(), FakeQueries(), Models(), Alerts()
        self.unread: list[UnreadRow] = []
        self.reader = FleetReader(
            config=lambda: CONFIG,
            queries=self.queries,
            models=self.models,
            alerts=self.alerts,
            targets=list,
            clock=self.clock,
            unread=lambda: self.unread,
            observe_only=False,
        )


@pytest.fixture
def rig() -> Rig:
    return Rig()


async def test_the_whole_fleet(rig: Rig) -> None:
    fleet = await rig.reader.fleet()
    assert fleet.name == "prod"
    assert fleet.generated_at == "2027-01-15T08:00:00.000Z"
    assert [m.name for m in fleet.models] == ["chat"]
    assert fleet.models[0].versions[0].running == 3.0
    assert fleet.alerts is not None
    assert fleet.alerts.model_dump() == {"firing": 2, "pending": 1}
    assert fleet.warnings == ()
    (need,) = fleet.attention
    assert (need.need, need.rollout, need.sentence) == ("went_back", "r-1", "v2 failed. v1 serves again")
    assert fleet.observe_only is False


async def test_fifty_browsers_cost_one_round_of_queries_a_second(rig: Rig) -> None:
    await asyncio.gather(*(rig.reader.fleet() for _ in range(50)))
    once = len(rig.queries.asked)
    assert once == len(set(rig.queries.asked))
    rig.clock.time += 0.9
    await rig.reader.models()
    assert len(rig.queries.asked) == once
    rig.clock.time += 0.2
    await rig.reader.models()
    assert len(rig.queries.asked) == 2 * once


async def test_a_clock_that_was_set_back_does_not_freeze_the_page(rig: Rig) -> None:
    await rig.reader.fleet()
    once = len(rig.queries.asked)
    rig.clock.time -= 3600
    await rig.reader.fleet()
    assert len(rig.queries.asked) == 2 * once


async def test_forgetting_reads_anew(rig: Rig) -> None:
    await rig.reader.fleet()
    once = len(rig.queries.asked)
    rig.reader.forget()
    await rig.reader.fleet()
    assert len(rig.queries.asked) == 2 * once


async def test_what_was_being_read_when_it_was_forgotten_is_not_used_again(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    counts = rig.alerts.counts

    def changed_meanwhile() -> Mapping[AlertState, int]:
        rig.reader.forget()
        return counts()

    monkeypatch.setattr(rig.alerts, "counts", changed_meanwhile)
    await rig.reader.fleet()
    once = len(rig.queries.asked)
    monkeypatch.setattr(rig.alerts, "counts", counts)
    await rig.reader.fleet()
    await rig.reader.fleet()
    assert len(rig.queries.asked) == 2 * once


async def test_those_who_wait_share_a_reading_that_began_after_they_asked(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    await rig.reader.fleet()
    once = len(rig.queries.asked)
    counts = rig.alerts.counts

    def changes_all_the_time() -> Mapping[AlertState, int]:
        rig.reader.forget()
        return counts()

    monkeypatch.setattr(rig.alerts, "counts", changes_all_the_time)
    rig.reader.forget()
    await asyncio.gather(*(rig.reader.fleet() for _ in range(20)))
    assert len(rig.queries.asked) == 2 * once


async def test_one_failed_query_costs_its_own_number_only(rig: Rig) -> None:
    rig.queries.broken = "llm_requests_waiting"
    fleet = await rig.reader.fleet()
    assert fleet.models[0].versions[0].running == 3.0
    assert fleet.models[0].versions[0].waiting is None
    assert fleet.warnings == ("waiting: the store is gone",)


async def test_an_unreadable_alert_store_is_unknown_not_zero(rig: Rig) -> None:
    rig.alerts.error = Unavailable("the database is away")
    fleet = await rig.reader.fleet()
    assert fleet.alerts is None
    assert fleet.warnings == ("alerts: the database is away",)


async def test_rows_that_cannot_be_read_are_warnings(rig: Rig) -> None:
    rig.unread += [UnreadRow("outbox", f"m{number}", "it is of format 2") for number in range(7)]
    warnings = (await rig.reader.fleet()).warnings
    assert warnings[0] == "database: a row of outbox cannot be read: m0 (it is of format 2)"
    assert warnings[4:] == (
        "database: a row of outbox cannot be read: m4 (it is of format 2)",
        "database: 2 more rows cannot be read; the log names them",
    )


async def test_unreadable_models_are_an_error_not_an_empty_list(rig: Rig) -> None:
    rig.models.error = Unavailable("the database is away")
    assert (await rig.reader.fleet()).models == ()
    with pytest.raises(Unavailable, match="the database is away"):
        await rig.reader.models()


async def test_an_unknown_model_is_answered_with_the_known_ones(rig: Rig) -> None:
    assert (await rig.reader.model("chat")).name == "chat"
    with pytest.raises(NotFound, match=r"'chatt' is not in fleet.yaml; its models: chat"):
        await rig.reader.model("chatt")
