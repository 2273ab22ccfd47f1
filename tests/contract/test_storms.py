"""A storm in the database: it survives a restart, names what happened before it, and loses no alert."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from alerts.dispatch import GroupStep, Picture, decide
from alerts.interfaces import AlertInstance, AlertState, Message
from alerts.routing.storms import CAUSES, Storms
from alerts.wire import message_from_json
from collectors.samples import labels_of
from controlplane.store.alert_groups import SqlGroupLog
from controlplane.store.alert_log import SqlAlertLog
from controlplane.store.audit import audit
from controlplane.store.clock_steps import ClockSteps
from controlplane.store.database import Database
from controlplane.store.outbox import OutboxStore
from controlplane.store.rollout_log import RolloutLog
from tests.contract.test_rollout_log import record as rollout
from tests.routes import root, stages

STAGES = stages(
    root("ops", ("alertname",), wait_s=10, interval_s=60, repeat_s=7200), storms=Storms(5, 60.0, 0.7, CAUSES)
)
STORM = "ops//storm{node='n1'}"


def alerts(count: int, at: float = 1000.0, over: float | None = None) -> list[AlertInstance]:
    found = []
    for number in range(count):
        labels = labels_of({"alertname": f"A{number}", "node": "n1", "model": "chat", "severity": "warning"})
        one = AlertInstance("f;g;r", labels, (), AlertState.FIRING, 1.0, at, fired_at=at)
        found.append(one if over is None else replace(one, state=AlertState.INACTIVE, resolved_at=over))
    return found


def at(db: Database, second: float, *instances: AlertInstance) -> list[Message]:
    """Store the alerts, decide as a process that has just started, and deliver. Return the messages."""
    SqlAlertLog(db).record("f;g;r", instances, [])

    def one(picture: Picture) -> Sequence[GroupStep]:
        return decide(STAGES, picture, second)

    SqlGroupLog(db).advance(one, second)
    outbox = OutboxStore(db)
    entries = outbox.claim("p", second, 60.0, 100)
    for entry in entries:
        outbox.done(entry, None, second)
    return [message_from_json(entry.payload) for entry in entries]


def test_a_storm_is_one_message_with_what_happened_before(database: Database) -> None:
    RolloutLog(database).start(rollout(created_at=800.0, updated_at=800.0))
    RolloutLog(database).start(rollout("r-2", model="other", created_at=900.0, updated_at=900.0))
    with database.transaction() as session:
        audit(session, "ann", "config.reload", "fleet/t", "one rule changed", 950.0)
        audit(session, "ann", "config.reload", "fleet/t", "too long ago", 100.0)
        audit(session, "ann", "token.create", "token/1", "not about serving", 960.0)
    assert at(database, 1000.0, *alerts(8)) == []
    (message,) = at(database, 1010.0, *alerts(8))
    assert (message.group_key, len(message.firing)) == (STORM, 8)
    assert message.storm is not None
    assert message.storm.acts == (
        "rollout of chat: ann asked",
        "reload of the configuration by ann: one rule changed",
    )
    assert at(database, 1070.0, *alerts(8)) == []
    (message,) = at(database, 1300.0, *alerts(8, over=1290.0))
    assert (message.group_key, message.status, len(message.resolved)) == (STORM, "resolved", 8)
    assert at(database, 1400.0, *alerts(8, over=1290.0)) == []


def test_a_step_of_the_clock_neither_ends_nor_begins_it(database: Database) -> None:
    at(database, 1000.0, *alerts(8))
    at(database, 1010.0, *alerts(8))
    ClockSteps(database).move(5000.0)
    assert at(database, 6020.0, *alerts(8, 6000.0)) == []
    ended = [*alerts(6, 6000.0, over=6090.0), *alerts(8, 6000.0)[6:]]
    # Two of five groups as the threshold are still a storm.
    (message,) = at(database, 6100.0, *ended)
    assert (message.status, len(message.firing), len(message.resolved)) == ("firing", 2, 6)


def test_what_outlives_a_storm_is_sent_by_its_group(database: Database) -> None:
    at(database, 1000.0, *alerts(8))
    at(database, 1010.0, *alerts(8))
    left = [*alerts(7, over=1090.0), alerts(8)[7]]
    (message,) = at(database, 1100.0, *left)
    assert message.storm is not None
    assert (message.status, len(message.resolved), message.storm.rest) == ("resolved", 7, 1)
    messages = [*at(database, 1105.0, *left), *at(database, 1110.0, *left)]
    assert [(one.group_key, one.status, len(one.firing)) for one in messages] == [("ops{alertname='A7'}", "firing", 1)]
