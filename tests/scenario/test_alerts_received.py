"""Alerts of other senders in one process: kill, silence, a database that is away, sleep, a stepped clock."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from alerts.received import ReceivedAlert
from collectors.samples import labels_of
from controlplane.app.parts.alerting import Alerting
from controlplane.metrics.promql.engine import PromqlEngine
from controlplane.metrics.query.querier import MetricsQuerier
from controlplane.metrics.series.series_store import SeriesStore
from controlplane.schedule import EnduringLoop
from controlplane.store.alert_log import SqlAlertLog
from controlplane.store.lease import LeaseStore
from controlplane.store.migrate import migrate
from tests.fakes.recipes import alerting_settings
from tests.routes import root
from tests.scenario.test_alerts_without_database import Box, Breakable

ROUTE = root("box", ("alertname",), wait_s=0, interval_s=1, repeat_s=86400)
START = 1_000_000.0


class Plane:
    """The alerting of one process, in steps of one second. `restart` keeps the database alone, as after kill -9."""

    def __init__(self, db: Breakable) -> None:
        self.db, self.at, self.box = db, START, Box()
        self.queriers: list[MetricsQuerier] = []
        self.sends: dict[str, float] = {}
        """Names of the alerts that a sender repeats every minute, each with its start."""
        self.refused = 0
        self.starts = 0

    def now(self) -> float:
        return self.at

    async def restart(self) -> None:
        self.starts += 1
        store = SeriesStore()
        self.queriers.append(MetricsQuerier(PromqlEngine(store)))
        holder = f"process-{self.starts}"
        self.alerting = Alerting(self.db, self.queriers[-1], store, self, holder)
        with self.db.transaction() as session:
            session.connection().exec_driver_sql("UPDATE lease SET expires_at = 0")
        leases = LeaseStore(self.db)
        self.loop = EnduringLoop("alerting", 1.0, leases, holder, 15.0, self.alerting.beat, self)
        await self.alerting.configure(alerting_settings((), 5.0, ROUTE, {"box": self.box}))

    async def run(self, seconds: int) -> None:
        for _ in range(seconds):
            self.at += 1
            if self.at % 60 == 0:
                for name, starts_at in self.sends.items():
                    await self.send(name, starts_at)
            await self.loop.run_once()
            await self.alerting.dispatch()
            await self.alerting.deliver()
            await self.alerting.write_back()

    async def send(self, name: str, starts_at: float | None = None, ends_in: float = 240.0) -> None:
        start = self.at if starts_at is None else starts_at
        labels = labels_of({"alertname": name})
        await self.alerting.receiving.take([ReceivedAlert(labels, (), "prom", start, self.at + ends_in, self.at)])

    def firing(self) -> list[str]:
        return [dict(alert.labels)["alertname"] for alert in SqlAlertLog(self.db).active()]

    def told(self) -> list[str]:
        return [status for status, *_ in self.box.got]


@pytest.fixture
def plane(tmp_path: Path) -> Iterator[Plane]:
    db = Breakable(f"sqlite:///{tmp_path}/cp.db")
    migrate(db)
    made = Plane(db)
    yield made
    for querier in made.queriers:
        querier.close()
    db.close()


async def test_what_was_taken_survives_a_kill_before_anything_saw_it(plane: Plane) -> None:
    await plane.restart()
    await plane.run(3)
    await plane.send("Hot")
    await plane.restart()
    await plane.run(2)
    assert (plane.firing(), plane.told()) == (["Hot"], ["firing"])
    await plane.restart()
    await plane.run(5)
    assert (plane.firing(), plane.told()) == (["Hot"], ["firing"])


async def test_a_control_plane_that_was_away_for_an_hour_gives_senders_time_to_repeat(plane: Plane) -> None:
    await plane.restart()
    plane.sends = {"Hot": START}
    await plane.run(130)
    await plane.send("Gone")
    await plane.run(1)
    plane.at += 3600
    await plane.restart()
    await plane.run(200)
    assert sorted(plane.firing()) == ["Gone", "Hot"]
    await plane.run(60)
    assert plane.firing() == ["Hot"], "nobody repeated the other one"
    assert plane.told() == ["firing", "firing", "resolved"]


async def test_a_machine_that_slept_ends_nothing(plane: Plane) -> None:
    await plane.restart()
    plane.sends = {"Hot": START}
    await plane.run(70)
    plane.at += 3600
    await plane.run(120)
    assert (plane.firing(), plane.told()) == (["Hot"], ["firing"])


@pytest.mark.parametrize("state", ["full", "gone"])
async def test_a_database_that_is_away_loses_no_alert_and_ends_none(plane: Plane, state: str) -> None:
    await plane.restart()
    plane.sends = {"Hot": START}
    await plane.run(70)
    plane.db.state = state
    await plane.send("New")
    await plane.run(600)
    assert plane.told() == ["firing", "firing"]
    plane.db.state = ""
    await plane.run(10)
    assert sorted(plane.firing()) == ["Hot", "New"]
    await plane.restart()
    await plane.run(130)
    assert sorted(plane.firing()) == ["Hot", "New"]
    plane.sends = {}
    await plane.run(500)
    assert (plane.firing(), plane.told()) == ([], ["firing", "firing", "resolved", "resolved"])


async def test_a_clock_that_is_set_ends_nothing(plane: Plane) -> None:
    await plane.restart()
    await plane.send("Hot")
    await plane.run(10)
    for step in (86_400.0, -172_800.0):
        plane.at += step
        plane.alerting.clock_was_set(step)
        await plane.run(10)
    assert (plane.firing(), plane.told()) == (["Hot"], ["firing"])
    await plane.restart()
    await plane.run(205)
    assert plane.firing() == ["Hot"]
    await plane.run(60)
    assert (plane.firing(), plane.told()) == ([], ["firing", "resolved"])


async def test_an_ended_alert_is_forgotten_and_may_come_again(plane: Plane) -> None:
    await plane.restart()
    await plane.send("Hot")
    await plane.run(5)
    await plane.send("Hot", ends_in=0)
    await plane.run(2)
    assert plane.told() == ["firing", "resolved"]
    await plane.run(1300)
    with plane.db.reading() as session:
        counts = [
            session.connection().exec_driver_sql(f"SELECT count(*) FROM {table}").scalar_one()
            for table in ("received_alert", "alert_instance")
        ]
    assert counts == [1, 0], "the newest change stays, for its number"
    await plane.send("Hot")
    await plane.run(2)
    assert (plane.firing(), plane.told()) == (["Hot"], ["firing", "resolved", "firing"])


async def test_an_alert_that_another_sender_raises_again_leaves_nothing_behind(plane: Plane) -> None:
    await plane.restart()
    await plane.send("Hot")
    await plane.run(5)
    await plane.send("Hot", ends_in=0)
    later = ReceivedAlert(labels_of({"alertname": "Hot"}), (), "other", plane.at + 1, plane.at + 240, plane.at + 1)
    await plane.alerting.receiving.take([later])
    await plane.run(2)
    assert [alert.rule for alert in SqlAlertLog(plane.db).active()] == ["received;other;Hot"]
    await plane.run(300)
    assert plane.firing() == []


async def test_ends_that_come_twice_or_before_their_start_page_nobody(plane: Plane) -> None:
    await plane.restart()
    await plane.send("Hot", ends_in=0)
    await plane.run(3)
    for _ in range(3):
        await plane.send("Hot")
    await plane.run(3)
    for _ in range(3):
        await plane.send("Hot", ends_in=0)
        await plane.run(1)
    assert plane.told() == ["firing", "resolved"]


async def test_a_start_that_comes_after_its_end_fires_until_nobody_repeats_it(plane: Plane) -> None:
    """As in Alertmanager: nothing tells a late request from an alert that fires again."""
    await plane.restart()
    start = plane.at
    await plane.send("Hot", start)
    await plane.run(60)
    await plane.send("Hot", start, ends_in=0)
    await plane.run(60)
    assert plane.told() == ["firing", "resolved"]
    await plane.send("Hot", start)
    await plane.run(10)
    assert plane.firing() == ["Hot"]
    await plane.run(300)
    assert plane.told() == ["firing", "resolved", "firing", "resolved"]
