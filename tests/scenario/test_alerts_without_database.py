"""A database that cannot be written or read: alerts still fire, resolve and are sent, and all is written later."""

from __future__ import annotations

import sqlite3
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sqlalchemy import Connection, Executable, Row, TextClause, TextualSelect, text
from sqlmodel import Session

from alerts.errors import DeliveryFailed
from alerts.interfaces import Message, MessageRef
from alerts.rules import parse_rules
from collectors.samples import Layout, Series, labels_of
from controlplane.app.parts.alerting import Alerting
from controlplane.errors import Unavailable
from controlplane.metrics.promql.engine import PromqlEngine
from controlplane.metrics.query.querier import MetricsQuerier
from controlplane.metrics.series.series_store import SeriesStore
from controlplane.schedule import EnduringLoop
from controlplane.store.alert_groups import SqlGroupLog
from controlplane.store.alert_log import SqlAlertLog
from controlplane.store.database import Database, Patience
from controlplane.store.lease import LeaseStore
from controlplane.store.migrate import migrate
from controlplane.store.outbox import OutboxStatus, OutboxStore
from tests.fakes.open_groups import open_groups
from tests.fakes.recipes import alerting_settings
from tests.routes import root

RULES = """
groups:
- name: g
  interval: 5s
  rules: [{alert: Hot, expr: "temp > 85", for: 5s, annotations: {summary: "{{ $value }} °C"}}]
"""
ROUTE = root("box", ("alertname",), wait_s=0, interval_s=5)


class Breakable(Database):
    """A database that can be written, only be read ("full"), or neither ("gone")."""

    state = ""

    @contextmanager
    def transaction(self) -> Iterator[Session]:
        if self.state:
            raise Unavailable(f"the database is {self.state}")
        with super().transaction() as session:
            yield session

    @contextmanager
    def reading(self) -> Iterator[Session]:
        if self.state == "gone":
            raise Unavailable("the database is gone")
        with super().reading() as session:
            yield session

    @contextmanager
    def changing(self) -> Iterator[Connection]:
        if self.state:
            raise Unavailable(f"the database is {self.state}")
        with super().changing() as connection:
            yield connection

    def first(self, query: TextClause | TextualSelect, **values: object) -> Row[Any] | None:
        if self.state == "gone":
            raise Unavailable("the database is gone")
        return super().first(query, **values)

    def rows(self, query: Executable) -> Sequence[Row[Any]]:
        if self.state == "gone":
            raise Unavailable("the database is gone")
        return super().rows(query)


@dataclass
class Box:
    """A notifier that records its messages, and can refuse them."""

    name: str = "box"
    got: list[tuple[str, str, bool, str]] = field(default_factory=list)
    """Messages: status, id, whether it may be a repetition, and the place of the group's message."""
    away: bool = False
    then: str = ""
    db: Breakable | None = None
    meanwhile: Callable[[], Awaitable[None]] | None = None
    """Callback that runs once while a message is being sent."""

    async def send(self, message: Message, root: MessageRef | None) -> MessageRef | None:
        if self.away:
            raise DeliveryFailed("box is away")
        meanwhile, self.meanwhile = self.meanwhile, None
        if meanwhile is not None:
            await meanwhile()
        self.got.append((message.status, message.id, message.repeat, root.place.rpartition("/")[2] if root else ""))
        if self.db is not None and self.then:
            self.db.state, self.then = self.then, ""
        return MessageRef(f"C/ts{len(self.got)}") if root is None else root

    async def close(self) -> None: ...


class World:
    """The alerting of one process, in steps of one second."""

    def __init__(self, db: Breakable, holder: str = "one") -> None:
        self.db, self.at = db, 1_000_000.0
        self.store, self.box = SeriesStore(), Box(db=db)
        self.querier = MetricsQuerier(PromqlEngine(self.store))
        self.alerting = Alerting(db, self.querier, self.store, self, holder)
        self._configured = False
        leases = LeaseStore(db)
        self.loop = EnduringLoop("alerting", 1.0, leases, holder, 15.0, self.alerting.beat, self)
        self.layout = Layout((Series("temp", labels_of({"gpu": "0"})),))

    def now(self) -> float:
        return self.at

    async def run(self, seconds: int, celsius: float, *, deliver: bool = True) -> None:
        if not self._configured:
            self._configured = True
            await self.alerting.configure(alerting_settings(parse_rules(RULES, "f"), 5.0, ROUTE, {"box": self.box}))
        for _ in range(seconds):
            self.at += 1
            self.store.append("gpu", self.layout, round(self.at * 1000), np.array([celsius]))
            await self.loop.run_once()
            await self.alerting.dispatch()
            assert self.loop.stats.last_error is None
            if deliver:
                await self.alerting.deliver()

    def history(self) -> list[tuple[int, str, str]]:
        events = SqlAlertLog(self.db).recent(100)
        return [(round(e.at - 1_000_000), e.before.value, e.after.value) for e in reversed(events)]

    def messages(self) -> list[tuple[str, str, int]]:
        found = reversed(OutboxStore(self.db).recent(100))
        return [(m.payload["status"], m.status.value, m.attempts) for m in found]


@pytest.fixture
def db(tmp_path: Path) -> Iterator[Breakable]:
    made = Breakable(f"sqlite:///{tmp_path}/cp.db")
    migrate(made)
    yield made
    made.close()


@pytest.fixture
def world(db: Breakable) -> Iterator[World]:
    made = World(db)
    yield made
    made.querier.close()


def statuses(world: World) -> list[str]:
    return [status for status, *_ in world.box.got]


WHOLE = [(5, "inactive", "pending"), (10, "pending", "firing"), (25, "firing", "inactive")]


@pytest.mark.parametrize("state", ["full", "gone"])
async def test_an_alert_comes_and_goes_is_told_and_is_written_when_there_is_room(
    world: World, db: Breakable, state: str
) -> None:
    await world.run(2, 50)
    db.state = state
    await world.run(18, 91)
    assert statuses(world) == ["firing"]
    await world.run(20, 50)
    assert statuses(world) == ["firing", "resolved"]
    assert world.box.got[1][3] == "ts1", "the group's message is updated, as its place is remembered"
    assert world.alerting.fault == (
        f"the database is {state}; rules and notifications go on, 3 changes and 2 messages wait in memory"
    )
    db.state = ""
    assert world.history() == []
    await world.alerting.write_back()
    assert world.alerting.fault == ""
    assert world.history() == WHOLE
    assert world.messages() == [("firing", "sent", 1), ("resolved", "sent", 1)]
    assert open_groups(SqlGroupLog(db)) == []
    await world.run(60, 50)
    assert statuses(world) == ["firing", "resolved"]


async def test_a_database_that_another_program_has_locked_delays_no_message(tmp_path: Path) -> None:
    made = Breakable(f"sqlite:///{tmp_path}/cp.db", Patience(lock_s=0))
    migrate(made)
    world = World(made)
    await world.run(2, 50)
    with closing(sqlite3.connect(tmp_path / "cp.db", isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        await world.run(18, 91)
        await world.run(20, 50)
        assert statuses(world) == ["firing", "resolved"]
        assert "locked" in world.alerting.fault
        other.execute("ROLLBACK")
    await world.alerting.write_back()
    assert world.alerting.fault == ""
    assert world.history() == WHOLE
    assert world.messages() == [("firing", "sent", 1), ("resolved", "sent", 1)]
    await world.run(60, 50)
    assert statuses(world) == ["firing", "resolved"]
    world.querier.close()
    made.close()


async def test_what_fires_on_through_the_outage_goes_on_as_if_nothing_had_been(world: World, db: Breakable) -> None:
    await world.run(12, 91)
    assert statuses(world) == ["firing"]
    before = SqlAlertLog(db).active()[0]
    db.state = "gone"
    await world.run(60, 92)
    db.state = ""
    await world.alerting.write_back()
    (after,) = SqlAlertLog(db).active()
    assert (after.active_at, after.fired_at, after.value) == (before.active_at, before.fired_at, 92.0)
    await world.run(20, 50)
    assert statuses(world) == ["firing", "resolved"]
    assert world.box.got[1][3] == "ts1"
    assert len(world.history()) == 3


@pytest.mark.parametrize("state", ["full", "gone"])
async def test_a_message_that_was_queued_before_is_sent_from_memory_once(
    world: World, db: Breakable, state: str
) -> None:
    await world.run(12, 91, deliver=False)
    assert world.messages() == [("firing", "queued", 0)]
    db.state = state
    await world.run(5, 91)
    ((status, _, repeat, _),) = world.box.got
    assert (status, repeat) == ("firing", True)  # another process may have sent it: the notifier looks for it first
    db.state = ""
    await world.alerting.write_back()
    await world.run(120, 91)
    assert statuses(world) == ["firing"]
    assert world.messages() == [("firing", "sent", 2)]


async def test_a_message_that_was_being_sent_is_not_sent_again(world: World, db: Breakable) -> None:
    world.box.then = "full"
    await world.run(20, 91)
    assert db.state == "full"
    assert statuses(world) == ["firing"]
    db.state = ""
    await world.alerting.write_back()
    await world.run(120, 91)
    assert statuses(world) == ["firing"]
    assert world.messages() == [("firing", "sent", 1)]
    group = "box{alertname='Hot'}", open_groups(SqlGroupLog(db))[0].generation
    assert SqlGroupLog(db).roots([group]).keys() == {group}


async def test_a_message_is_sent_once_when_the_database_goes_and_comes_while_it_is_on_its_way(
    world: World, db: Breakable
) -> None:
    async def outage() -> None:
        db.state = "full"
        await world.run(1, 91, deliver=False)
        assert world.alerting.fault.startswith("the database is full")
        db.state = ""
        await world.alerting.write_back()
        assert world.alerting.fault == ""

    world.box.meanwhile = outage
    await world.run(120, 91)
    assert world.box.meanwhile is None
    assert statuses(world) == ["firing"]
    assert world.messages() == [("firing", "sent", 1)]


async def test_a_message_that_could_not_be_sent_meanwhile_is_sent_from_the_database(
    world: World, db: Breakable
) -> None:
    await world.run(2, 50)
    db.state, world.box.away = "full", True
    await world.run(30, 91)
    db.state = ""
    await world.alerting.write_back()
    ((status, where, attempts),) = world.messages()
    assert (status, where, attempts > 2) == ("firing", "queued", True)
    world.box.away = False
    await world.run(60, 91)
    assert statuses(world) == ["firing"]


async def test_a_lease_that_ran_out_meanwhile_and_that_nobody_took_is_taken_again(world: World, db: Breakable) -> None:
    await world.run(2, 50)
    db.state = "full"
    await world.run(20, 91)
    db.state = ""
    with db.transaction() as session:
        session.execute(text("UPDATE lease SET expires_at = 0"))
    await world.alerting.write_back()
    assert world.alerting.fault.startswith("one no longer holds lease alerting")
    assert statuses(world) == ["firing"]
    await world.run(1, 91)
    await world.alerting.write_back()
    assert world.alerting.fault == ""
    assert [rest for _, *rest in world.history()] == [["inactive", "pending"], ["pending", "firing"]]
    await world.run(20, 91)
    assert statuses(world) == ["firing"]


async def test_another_process_that_took_over_has_the_last_word(
    world: World, db: Breakable, caplog: pytest.LogCaptureFixture
) -> None:
    await world.run(2, 50)
    db.state, world.box.away = "full", True
    await world.run(20, 91)
    db.state = ""
    with db.transaction() as session:
        session.execute(text("UPDATE lease SET expires_at = 0"))
    assert LeaseStore(db).acquire("alerting", "two", 60.0) is not None
    await world.alerting.write_back()
    assert world.alerting.fault == ""
    assert "states of 1 rules and 1 messages of this one are dropped" in caplog.text
    assert SqlAlertLog(db).active() == []
    assert [rest for _, *rest in world.history()] == [["inactive", "pending"], ["pending", "firing"]]
    world.box.away = False
    await world.alerting.deliver()
    assert world.box.got == []


async def test_a_disk_that_is_full_before_the_first_decision_is_read(world: World, db: Breakable) -> None:
    await world.loop.run_once()
    other = World(db)  # another process's memory, under the same lease
    db.state = "full"
    other.loop._lease = world.loop._lease
    await other.run(20, 91)
    assert statuses(other) == ["firing"]
    other.querier.close()


async def test_a_process_that_never_read_the_database_says_so(db: Breakable) -> None:
    world = World(db)
    await world.loop.run_once()
    other = World(db, "two")
    db.state = "gone"
    await other.loop.run_once()
    assert other.loop.stats.last_error == "Unavailable: the database is gone"
    for one in (world, other):
        one.querier.close()


async def test_what_was_kept_is_written_at_the_end_and_otherwise_said_to_be_lost(
    world: World, db: Breakable, caplog: pytest.LogCaptureFixture
) -> None:
    await world.run(2, 50)
    db.state = "full"
    await world.run(20, 91)
    await world.alerting.close()
    assert "alerting: lost with this process: the database is full" in caplog.text
    db.state = ""
    await world.alerting.close()
    assert [status for _, status, _ in world.messages()] == [OutboxStatus.SENT]
