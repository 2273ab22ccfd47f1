"""A replica that follows: what it makes of a database that hangs, is away, or is nobody else's."""

from __future__ import annotations

import logging
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
from sqlmodel import Session, select

from alerts.evaluate import GroupReport, RuleHealth
from alerts.interfaces import AlertInstance, AlertState
from alerts.rule_ids import RuleIds
from alerts.rules import parse_rules
from collectors.samples import labels_of
from controlplane.app.parts.sharing import REPORT_S, Sharing
from controlplane.errors import Unavailable
from controlplane.store.alert_log import SqlAlertLog
from controlplane.store.database import Database
from controlplane.store.lease import Lease, LeaseStore
from controlplane.store.replicas import Replicas
from controlplane.store.tables.replica import RuleReportRow
from tests.fakes.migrated import write_migrated
from tests.patience import HANG_S

(GROUP,) = parse_rules("groups: [{name: g, rules: [{alert: Hot, expr: 'temp > 85'}]}]", "/a/f.yml")
HOT = GROUP.rules[0].id
FIRING = AlertInstance("/b/f.yml;g;Hot", labels_of({"alertname": "Hot"}), (), AlertState.FIRING, 91.0, 1.0)
IDS = RuleIds({HOT})


class Slow(Database):
    """A database whose reading can hang, or fail."""

    def __init__(self, url: str) -> None:
        super().__init__(url)
        self.answers = threading.Event()
        self.answers.set()
        self.reads = 0
        self.away = False

    @contextmanager
    def reading(self) -> Iterator[Session]:
        self.reads += 1
        assert self.answers.wait(HANG_S)
        if self.away:
            raise Unavailable("the database is away")
        with super().reading() as session:
            yield session


@dataclass
class Clock:
    at: float = 1000.0

    def now(self) -> float:
        return self.at


@pytest.fixture
async def db(tmp_path: Path) -> AsyncIterator[Slow]:
    made = Slow(write_migrated(tmp_path / "x.db"))
    SqlAlertLog(made).record(FIRING.rule, [FIRING], [])
    yield made
    made.answers.set()
    made.close()


def sharing(db: Database, clock: Clock, *, others: bool = True) -> Sharing:
    return Sharing(db, clock, Replicas(db, "me", clock) if others else None, clock.now)


async def eventually(happened: Callable[[], bool], again: Callable[[], object]) -> None:
    for _ in range(int(HANG_S * 2)):
        if happened():
            return
        await again()  # type: ignore[misc]  # it waits half a second for the database
    raise AssertionError


async def test_a_database_that_hangs_costs_a_turn_half_a_second_and_is_asked_once(
    db: Slow, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    one = sharing(db, Clock())
    db.answers.clear()
    before = db.reads
    for _ in range(3):
        assert await one.states(IDS) is None
    assert (db.reads - before, one.fault) == (1, "the database does not answer")
    db.answers.set()
    found = []

    async def again() -> None:
        found.append(await one.states(IDS))

    await eventually(lambda: one.fault == "", again)
    assert found[-1] is not None
    assert found[-1].states == {HOT: [FIRING]}
    said = [r.getMessage() for r in caplog.records]
    assert said == [
        "alerting: the database does not answer; alert states are shown as they were last read",
        "alerting: alert states can be read again",
    ]


async def test_a_database_that_is_away_is_said_once_and_its_states_are_not_known(
    db: Slow, caplog: pytest.LogCaptureFixture
) -> None:
    one = sharing(db, Clock())
    db.away = True
    assert [await one.states(IDS) for _ in range(3)] == [None, None, None]
    assert one.fault == "the database is away"
    assert len(caplog.records) == 1
    db.away = False
    seen = await one.states(IDS)
    assert seen is not None
    assert (seen.at, one.fault) == (1000.0, "")


async def test_how_rules_do_is_written_and_read_at_a_bounded_rate(db: Slow) -> None:
    clock = Clock()
    one, other = sharing(db, clock), sharing(db, clock)
    lease = LeaseStore(db).acquire("alerting", "one", 60)
    assert lease is not None
    for second in range(31):
        clock.at = 1000.0 + second
        await one.tell(lease, [GroupReport(GROUP, (RuleHealth(GROUP.rules[0], "ok", "", clock.at),), clock.at, 0.1)])
        await other.states(IDS)
    with db.reading() as session:
        assert [row.at for row in session.exec(select(RuleReportRow))] == [1000.0 + 2 * REPORT_S]
    assert other.told[HOT].last_evaluation == 1030.0


async def test_who_can_have_no_others_writes_nothing(db: Slow) -> None:
    one = sharing(db, Clock(), others=False)
    await one.beat()
    await one.inherit(Lease("alerting", "me", 1))
    await one.tell(Lease("alerting", "me", 1), [GroupReport(GROUP, (RuleHealth(GROUP.rules[0]),), 1.0, 0.1)])
    assert one.alone
    assert one.shared_time(5.0) == 5.0
    with db.reading() as session:
        assert session.exec(select(RuleReportRow)).all() == []


async def test_closing_waits_for_no_answer(db: Slow) -> None:
    one = sharing(db, Clock())
    db.answers.clear()
    assert await one.states(IDS) is None
    await one.close()
