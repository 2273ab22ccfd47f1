"""Clicks on the buttons of alerts' messages: what they act on, and what they refuse."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from sqlmodel import SQLModel

import controlplane.store.tables  # noqa: F401 - fills SQLModel.metadata
from alerts.dispatch.buttons import ACKNOWLEDGE, GIVE_BACK, MOST_VALUE, SILENCE, SNOOZE, buttons_of
from alerts.interfaces import AlertInstance, AlertState, Mark, Message, Transition
from alerts.wire import message_to_json
from collectors.samples import labels_of
from controlplane.access.roles import Role
from controlplane.errors import Conflict, NotFound
from controlplane.fleet.alerting.pipeline import Pipeline
from controlplane.fleet.holding.desk import desk_on
from controlplane.slack.actions import Person
from controlplane.slack.alerts import AlertActions
from controlplane.store.alert_groups import SqlGroupLog
from controlplane.store.database import Database
from controlplane.store.outbox import OutboxStore, enqueue
from tests.routes import stages

ANA = Person("ana", Role.OPERATOR)


class World:
    """A desk, an outbox with one message about two alerts, and a clock."""

    def __init__(self, db: Database) -> None:
        self.db, self.at = db, 1000.0
        self.desk = desk_on(db, Pipeline(stages, SqlGroupLog(db).read), self)
        self.acts = {one.name: one.run for one in AlertActions(self.desk, OutboxStore(db), self).actions()}
        self.hot, self.slow = self.fire("Hot"), self.fire("Slow")
        self.message = Message("g", "ops", "firing", (("model", "chat"),), (self.hot, self.slow), (), 1, 7)
        with db.transaction() as session:
            enqueue(session, "alert", "ops", self.message.id, message_to_json(self.message), 1000.0)

    def now(self) -> float:
        return self.at

    def fire(self, name: str, state: AlertState = AlertState.FIRING, fired_at: float = 900.0) -> AlertInstance:
        from controlplane.store.alert_log import SqlAlertLog

        labels = labels_of({"alertname": name, "model": "chat", "severity": "warning"})
        one = AlertInstance(f"f;g;{name}", labels, (), state, 1.0, 800.0, fired_at=fired_at)
        SqlAlertLog(self.db).record(one.rule, [one], [Transition(one, AlertState.PENDING, state, 900.0, "")])
        return one

    async def click(self, action: str, value: str = "g/7/1") -> str:
        return await self.acts[action](ANA, value)

    def taken(self) -> list[str]:
        """Return the names of the acknowledged alerts."""
        from controlplane.store.alert_log import SqlAlertLog

        active = SqlAlertLog(self.db).active()
        holds = self.desk.standings(active)
        return sorted(dict(one.labels)["alertname"] for one in active if holds[one.fingerprint].acknowledged)


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    db = Database(f"sqlite:///{tmp_path}/cp.db")
    SQLModel.metadata.create_all(db.engine)
    yield World(db)
    db.close()


async def test_a_click_takes_what_the_message_shows_and_still_fires(world: World) -> None:
    world.fire("Slow", fired_at=950.0)  # it resolved, and fired again, after the message
    assert "ana: Hot (model=chat)." in await world.click(ACKNOWLEDGE)
    assert world.taken() == ["Hot"]
    assert "Hot (model=chat)" in await world.click(ACKNOWLEDGE), "a repeated click changes nothing"
    assert await world.click(GIVE_BACK) == (
        "Given back by you as ana: Hot (model=chat), Slow (model=chat). What still fires is notified again."
    )
    assert world.taken() == []


async def test_a_click_on_a_message_whose_alerts_are_over_says_so(world: World) -> None:
    for name in ("Hot", "Slow"):
        world.fire(name, AlertState.INACTIVE)
    with pytest.raises(Conflict, match="no alert of this message fires any more"):
        await world.click(SNOOZE)
    with pytest.raises(NotFound, match="not stored any more"):
        await world.click(SNOOZE, "g/7/2")


async def test_a_silence_is_made_once_a_message_and_does_not_come_back(world: World) -> None:
    said = await world.click(SILENCE)
    assert said.startswith('Silenced by you as ana until 1970-01-01T02:16:40.000Z: model="chat". It holds back 2')
    assert await world.click(SILENCE) == said
    assert len(world.desk.listed()) == 1
    world.at = 9000.0
    with pytest.raises(Conflict, match="that silence ended at"):
        await world.click(SILENCE)


def test_buttons_are_those_that_do_something(world: World) -> None:
    message = world.message
    marks = tuple(Mark(one.fingerprint, "acknowledged by ana") for one in message.firing)
    assert [one.action for one in buttons_of(message)] == [ACKNOWLEDGE, SNOOZE, SILENCE]
    assert [one.action for one in buttons_of(replace(message, marks=marks[:1]))] == [ACKNOWLEDGE, SNOOZE, SILENCE]
    assert [one.action for one in buttons_of(replace(message, marks=marks))] == [GIVE_BACK, SILENCE]
    assert [one.action for one in buttons_of(replace(message, group_labels=()))] == [ACKNOWLEDGE, SNOOZE]
    assert buttons_of(replace(message, firing=(), resolved=message.firing)) == ()
    assert buttons_of(replace(message, group_key="x" * MOST_VALUE)) == ()
