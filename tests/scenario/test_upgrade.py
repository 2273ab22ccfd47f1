"""Databases of an earlier release, with rollouts and messages under way, and of a later release.

tests/fixtures/databases has them as SQL, written by those releases.
"""

from __future__ import annotations

import json
import logging
import os
import sqlite3
import subprocess
import sys
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text

from alerts.dispatch import Dispatcher
from alerts.evaluate import GroupEvaluator
from alerts.interfaces import AlertState, Message, MessageRef, VectorSample
from alerts.rules import parse_rules
from alerts.sender import MessageSender
from alerts.template import Surroundings
from collectors.samples import labels_of
from controlplane.access import TokenStore
from controlplane.api.metrics import OwnMetrics
from controlplane.app.services import build_services
from controlplane.app.wiring import running
from controlplane.config.loader import load_fleet
from controlplane.config.model import BudgetSection, Cost
from controlplane.cost.ledger import CostLedger
from controlplane.errors import Unreadable
from controlplane.fleet.history import KINDS, Cursor, History
from controlplane.fleet.log_ring import LogRing
from controlplane.metrics.series.series_store import SeriesStore
from controlplane.store.alert_groups import SqlGroupLog
from controlplane.store.alert_log import SqlAlertLog
from controlplane.store.audit import AuditStore
from controlplane.store.database import Database
from controlplane.store.migrate import differences, migrate
from controlplane.store.outbox import OutboxStore
from controlplane.store.unreadable import report
from tests.fakes.rollout_world import START, World, restore
from tests.patience import PROCESS_S, until
from tests.routes import root, stages

DATABASES = Path(__file__).parent.parent / "fixtures" / "databases"
RELEASES = sorted(path.stem for path in DATABASES.glob("schema-*.sql"))
NEWEST = RELEASES[-1]
TOKEN = "cp_0123456789ab_" + "a" * 64
RULE = "f.yml;g;Slow"
GROUP = """
groups:
- name: g
  rules:
  - {alert: Slow, expr: x, for: 5m, labels: {severity: warning}, annotations: {summary: "{{ $labels.model }} is slow"}}
"""


def stored(release: str) -> str:
    return (DATABASES / f"{release}.sql").read_text()


@dataclass
class Receiver:
    """Records its messages, and the place of the message that each continues."""

    name: str = "ops"
    told: list[tuple[str, str, MessageRef | None]] = field(default_factory=list)

    async def send(self, message: Message, root: MessageRef | None) -> MessageRef | None:
        told = message.notice.title if message.notice else " ".join(dict(message.group_labels).values())
        self.told.append((message.status, told, root))
        return root or MessageRef(f"C1/new {told}")

    async def close(self) -> None: ...


class Slow:
    """A querier that returns the slow models."""

    def __init__(self, *models: str) -> None:
        self.models = models

    async def instant(self, expr: str, at: float) -> Sequence[VectorSample]:
        return [VectorSample(labels_of({"model": model}), 7.5) for model in self.models]


class Alerts:
    """The alerting of this release on a world's database, with the rule that the other releases had."""

    def __init__(self, world: World) -> None:
        self.world, self.receiver, self.slow = world, Receiver(), Slow("told", "queued", "pending")
        self.log, self.groups = SqlAlertLog(world.db), SqlGroupLog(world.db)
        (group,) = parse_rules(GROUP, "f.yml")
        self.evaluator = GroupEvaluator(
            group, self.slow, self.log, SeriesStore(retention_s=60.0), world.clock, around=Surroundings()
        )
        self.dispatcher = Dispatcher(stages(root("ops")), self.groups, world.clock)
        self.sender = MessageSender(
            OutboxStore(world.db), self.groups, {"ops": self.receiver}, world.clock, holder="today"
        )

    async def beat(self, at: float) -> None:
        self.world.clock.time = at
        (rule,) = (await self.evaluator.evaluate(at)).rules
        assert rule.last_error == ""
        await self.dispatcher.tick(at)
        while await self.sender.tick():
            pass

    def states(self) -> dict[str, tuple[AlertState, float, float | None]]:
        return {dict(i.labels)["model"]: (i.state, i.active_at, i.fired_at) for i in self.log.load(RULE)}


def counted(db: Database) -> dict[str, int]:
    with db.reading() as session:
        query = "SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite%'"
        names = [row[0] for row in session.connection().execute(text(query))]
        count = "SELECT count(*) FROM {}".format
        return {name: session.connection().execute(text(count(name))).scalar_one() for name in names}


def test_todays_release_can_be_written_down_before_its_schema_changes(tmp_path: Path) -> None:
    made = subprocess.run(
        [sys.executable, DATABASES / "make.py"],
        cwd=DATABASES.parents[2],
        env={**os.environ, "PYTHONPATH": "."},
        capture_output=True,
        text=True,
        check=True,
        timeout=PROCESS_S,
    )
    restore(tmp_path / "a.db", made.stdout, "http://a")
    db = Database(f"sqlite:///{tmp_path / 'a.db'}")
    assert differences(db) == []
    assert min(counted(db)[name] for name in ("alert_instance", "alert_group", "outbox", "rollout", "ledger")) > 0
    db.close()


@pytest.mark.parametrize("release", RELEASES)
def test_it_is_migrated_to_the_schema_of_today(tmp_path: Path, release: str) -> None:
    restore(tmp_path / "a.db", stored(release), "http://a")
    db = Database(f"sqlite:///{tmp_path / 'a.db'}")
    before = counted(db)
    migrate(db)
    assert differences(db) == []
    assert {name: count for name, count in counted(db).items() if name in before} == before
    db.close()


@pytest.mark.parametrize("release", RELEASES)
async def test_alerts_go_on_and_nobody_is_told_twice(tmp_path: Path, release: str) -> None:
    async with World(tmp_path, stored=stored(release), policy=(3,)) as world:
        alerts = Alerts(world)
        assert alerts.states() == {
            "over": (AlertState.INACTIVE, START - 900, START - 600),
            "pending": (AlertState.PENDING, START - 60, None),
            "queued": (AlertState.FIRING, START - 400, START - 100),
            "told": (AlertState.FIRING, START - 900, START - 600),
        }
        await alerts.beat(START + 30)
        # The queued message is sent, the pending end updates its own message, and no sent message is repeated.
        told = [entry for entry in alerts.receiver.told if entry[0] != "notice"]
        assert told == [("firing", "Slow queued", None), ("resolved", "Slow over", MessageRef("C1/1.5"))]
        # `for` continues and does not start again.
        await alerts.beat(START + 239)
        assert alerts.states()["pending"] == (AlertState.PENDING, START - 60, None)
        await alerts.beat(START + 241)
        assert alerts.states()["pending"] == (AlertState.FIRING, START - 60, START + 241)
        alerts.slow.models = ("queued", "pending")
        await alerts.beat(START + 260)
        assert alerts.receiver.told[-2:] == [
            ("firing", "Slow pending", None),
            ("resolved", "Slow told", MessageRef("C1/2.5")),
        ]
        assert report(world.db, world.clock.now()) == []
        events = alerts.log.history(alerts.log.active()[0].fingerprint)
        assert events != []
        assert len(alerts.log.recent()) == 5 + 2


@pytest.mark.parametrize("release", RELEASES)
async def test_a_rollout_goes_on_to_its_end(tmp_path: Path, release: str) -> None:
    async with World(tmp_path, stored=stored(release), policy=(3,)) as world:
        world.clock.time = START + 30
        before, first = await world.service.list()
        assert (before.rollout.phase.value, first.rollout.ok) == ("preparing", True)
        assert (await world.finish()).ok is True
        status = await world.service.model("model")
        assert (status.stable, status.previous) == ("v2", "v3")
        assert world.triton.serving == 2
        events = (await world.service.show(before.rollout.id)).events
        assert events[0].sentence == "ann asked to promote model from v3 to v2"
        assert report(world.db, world.clock.now()) == []


@pytest.mark.parametrize("release", RELEASES)
async def test_a_control_plane_starts_on_it(tmp_path: Path, release: str, caplog: pytest.LogCaptureFixture) -> None:
    restore(tmp_path / "controlplane.db", stored(release), "http://127.0.0.1:1")
    (tmp_path / "fleet.yaml").write_text("fleet: {name: test}\nnotifiers: [{name: ops, type: log}]\n")
    loaded = load_fleet(tmp_path / "fleet.yaml")
    with caplog.at_level(logging.WARNING):
        async with running(loaded, tmp_path, TOKEN, "127.0.0.1:8080", observe_only=False) as (plane, db):
            await until(lambda: not plane.not_ready())
            alerts = SqlAlertLog(db)
            # The rule is no longer configured: its alerts end, and messages about the end are sent.
            await until(lambda: not alerts.active())
            await until(lambda: all(entry.status.value == "sent" for entry in OutboxStore(db).recent(50)))
            services = build_services(plane, db, "127.0.0.1", LogRing(0.0))
            assert services.unread() == []
            fleet = await services.fleet.fleet()
            assert [w for w in fleet.warnings if "read" in w] == []
            items, _ = History(db).since(Cursor(), 100, KINDS)
            assert {item.kind for item in items} == {"alert", "audit", "rollout"}
            assert "ann" in {token.name for token in TokenStore(db).list()}
            assert "token.create" in {act.action for act in AuditStore(db).recent(50)}
            (spent,) = CostLedger(
                db, Cost(gpu_hour_usd=2.0, budgets=(BudgetSection(model="model", monthly_usd=1.0),))
            ).reports(START)
            assert spent.spent == pytest.approx(2 * 2.0 / 60 * 2)
            (waiting, _) = await services.rollouts.list(None, 10)
            await until(lambda: services.rollouts.attention() != ())
            assert not waiting.rollout.finished
    assert [r.getMessage() for r in caplog.records if "cannot" in r.getMessage() or r.levelno > logging.WARNING] == []


TOMORROW = """
UPDATE rollout SET state = json_set(state, '$.format', 99) WHERE active_model IS NOT NULL;
UPDATE alert_instance SET format = 99, state = 'muted' WHERE labels LIKE '%told%';
UPDATE alert_instance SET away = '[{"job": "a"}]' WHERE labels LIKE '%pending%';
UPDATE alert_event SET instance = json_set(instance, '$.format', 99);
UPDATE alert_group SET format = 99, notified = '[{"format": 99}]';
UPDATE outbox SET payload = json_set(payload, '$.format', 99) WHERE kind = 'alert' AND status = 'queued';
UPDATE model_state SET observation = json_set(observation, '$.zone', 'b');
"""


async def test_rows_of_tomorrow_stand_still_and_are_said_and_nothing_is_lost(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with World(tmp_path, stored=stored(NEWEST), policy=(3,)) as world:
        with sqlite3.connect(tmp_path / "cp.db") as connection:
            connection.executescript(TOMORROW)
        before = _documents(world.db)
        alerts = Alerts(world)
        with caplog.at_level(logging.ERROR):
            for second in (30, 60, 90, 150):
                await alerts.beat(START + second)
                await world.engine.tick(world.clock.now())
        # No alert that still fires is sent again, and no alert is sent as resolved unless its end is known.
        told = [entry for entry in alerts.receiver.told if entry[0] != "notice"]
        assert told == [("resolved", "Slow over", MessageRef("C1/1.5"))]
        assert alerts.states()["told"] == (AlertState.PENDING, START + 30, None)
        assert {row.table for row in report(world.db, world.clock.now())} == {"alert_group", "alert_instance"}
        lines = [record.getMessage() for record in caplog.records]
        assert len(lines) == len(set(lines))
        (rollout,) = (line for line in lines if line.startswith("rollout"))
        assert rollout.endswith("model and engines stay as they are")
        assert {line.split(" of table ")[1].split()[0] for line in lines if " of table " in line} == {
            "alert_instance",
            "alert_group",
        }
        assert world.triton.loads == []
        with pytest.raises(Unreadable):
            await world.promote("v9")
        # Every stored document still exists: in its row, or in the table `unreadable`.
        assert before <= _documents(world.db)


async def test_a_control_plane_says_what_it_cannot_read(tmp_path: Path) -> None:
    restore(tmp_path / "controlplane.db", stored(NEWEST), "http://127.0.0.1:1")
    migrated = Database(f"sqlite:///{tmp_path / 'controlplane.db'}")
    migrate(migrated)
    migrated.close()
    with sqlite3.connect(tmp_path / "controlplane.db") as connection:
        connection.executescript(TOMORROW)
    (tmp_path / "fleet.yaml").write_text("fleet: {name: test}\nnotifiers: [{name: ops, type: log}]\n")
    loaded = load_fleet(tmp_path / "fleet.yaml")
    async with running(loaded, tmp_path, TOKEN, "127.0.0.1:8080", observe_only=False) as (plane, db):
        services = build_services(plane, db, "127.0.0.1", LogRing(0.0))
        # The rule of these alerts is not configured any more, so that they are kept aside. Loops of their own read
        # the instances and the groups, one row at a time.
        await until(lambda: Counter(row.table for row in services.unread()) == {"alert_instance": 2, "alert_group": 3})
        metrics = OwnMetrics(services).render().decode()
        assert 'controlplane_unreadable_rows{table="alert_instance"} 2.0' in metrics
        assert 'controlplane_unreadable_rows{table="token"} 0.0' in metrics
        fleet = await services.fleet.fleet()
        assert f"database: a row of alert_instance cannot be read: {RULE} 8aa923cef588d5da " in "\n".join(
            fleet.warnings
        )
        (need,) = fleet.attention
        assert (need.model, need.need) == ("model", "person")


def _documents(db: Database) -> set[str]:
    """Return every stored document of the later release, from all tables, with its keys sorted."""
    found: set[str] = set()
    with db.reading() as session:
        rows = session.connection().execute(
            text(
                "SELECT state FROM rollout UNION ALL SELECT instance FROM alert_event "
                "UNION ALL SELECT payload FROM outbox UNION ALL SELECT notified FROM alert_group "
                "UNION ALL SELECT away FROM alert_instance "
                "UNION ALL SELECT json_extract(document, '$.notified') FROM unreadable "
                "UNION ALL SELECT json_extract(document, '$.away') FROM unreadable"
            )
        )
        for (stored_text,) in rows:
            if stored_text and ("99" in stored_text or "job" in stored_text):
                found.add(json.dumps(json.loads(stored_text), sort_keys=True))
    return found


def test_a_database_of_tomorrows_schema_is_refused_and_left_alone(tmp_path: Path) -> None:
    restore(tmp_path / "a.db", stored(NEWEST) + "UPDATE alembic_version SET version_num = '9999';", "http://a")
    db = Database(f"sqlite:///{tmp_path / 'a.db'}")
    before: Any = counted(db)
    with pytest.raises(Exception, match="has a schema that this version does not know"):
        migrate(db)
    assert counted(db) == before
    db.close()
