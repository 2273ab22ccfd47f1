"""In which stage an alert is, at each second of its life."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from alerts.dispatch import Deliveries, Picture, decide, explain
from alerts.holds import Acknowledgement, Holds, Silence
from alerts.interfaces import AlertInstance, AlertState
from alerts.routing.matchers import Matcher, Op
from alerts.routing.tree import InhibitRule
from collectors.samples import labels_of
from tests.routes import root, stages

DOWN_HOLDS = InhibitRule(1, (Matcher("alertname", Op.EQUAL, "Down"),), (Matcher("alertname", Op.EQUAL, "Slow"),))
STAGES = stages(root("ops", ("alertname",)), DOWN_HOLDS)
KEY = "ops{alertname='Slow'}"


def alert(name: str = "Slow", **fields: Any) -> AlertInstance:
    labels = labels_of({"alertname": name, "severity": "warning"})
    return replace(AlertInstance(f"f;g;{name}", labels, (), AlertState.FIRING, 1.0, 0.0, fired_at=0.0), **fields)


def told(picture: Picture, at: float, instance: AlertInstance | None = None) -> tuple[str, str, float | None]:
    (leg,) = explain(STAGES, picture, instance or alert(), at)
    return leg.stage, leg.sentence, leg.due_at


def after(seconds: list[float], *alerts: AlertInstance) -> Picture:
    """Return the picture after decisions at these seconds."""
    picture = Picture(alerts)
    for second in seconds:
        steps = decide(STAGES, picture, second)
        picture = picture._replace(groups={**picture.groups, **{step.state.key: step.state for step in steps}})
    return picture


def test_the_life_of_an_alert() -> None:
    pending = alert(state=AlertState.PENDING, fired_at=None)
    assert told(Picture([pending]), 0, pending) == (
        "not firing",
        "it is pending: nothing is sent before its condition has held for the rule's `for`",
        None,
    )
    assert told(Picture([alert()]), 0) == ("opening", "its group opens within a second", 0)
    waits = "its group waits 10s for more alerts (group_wait)"
    assert told(after([0], alert()), 4) == ("waiting", waits, 10)
    sent = after([0, 10], alert())
    assert told(sent, 11) == ("sent", "the last message has it; it is repeated after 1h", 3610)
    underway = sent._replace(deliveries=Deliveries({KEY}))
    assert told(underway, 11)[0] == "underway"
    over = alert(state=AlertState.INACTIVE, resolved_at=20.0)
    ending = sent._replace(instances=[over])
    pause = "changes of its group are sent at most every 1m (group_interval)"
    assert told(ending, 21, over) == ("waiting", pause, 70)
    assert told(after([0, 10], alert())._replace(groups={}, instances=[over]), 99, over)[0] == "over"


def test_a_message_that_was_given_up_is_named_and_comes_again() -> None:
    picture = after([0, 10], alert())._replace(deliveries=Deliveries((), {KEY}))
    assert told(picture, 20) == (
        "given up",
        "the last message of its group was given up; the group is sent again later",
        910,
    )
    (leg,) = explain(STAGES, picture, alert(), 20)
    assert (leg.message, leg.message_at, leg.notifier, leg.group) == (f"{KEY}/0/1", 10, "ops", KEY)


def test_every_reason_that_holds_an_alert_back_is_told() -> None:
    down = alert("Down")
    silence = Silence("s1", (Matcher("alertname", Op.EQUAL, "Slow"),), 0, 100, "ann", "planned work", 0)
    ack = Acknowledgement(alert().fingerprint, 0.0, "bob", 1.0)
    holds = Holds([silence], {alert().fingerprint: ack})
    (leg,) = explain(STAGES, Picture([alert(), down], holds=holds), alert(), 5)
    assert [(mute.stage.value, mute.by) for mute in leg.mutes] == [
        ("inhibition", (down.fingerprint,)),
        ("silence", ("s1",)),
        ("acknowledgement", ("bob",)),
    ]
    assert leg.stage == "inhibition"
    assert [mute.sentence for mute in leg.mutes] == [
        'held back while {alertname="Down",severity="warning"} fires',
        "silenced by s1 of ann: planned work",
        "acknowledged by bob",
    ]
    assert leg.sentence == leg.mutes[0].sentence
    (later,) = explain(STAGES, Picture([alert(), down], holds=holds), alert(), 100)
    assert [mute.stage.value for mute in later.mutes] == ["inhibition", "acknowledgement"]


def test_an_acknowledgement_is_of_one_episode() -> None:
    holds = Holds((), {alert().fingerprint: Acknowledgement(alert().fingerprint, 0.0, "bob", 1.0, until=50.0)})
    assert told(Picture([alert()], holds=holds), 5)[:2] == ("acknowledgement", "snoozed by bob")
    assert told(Picture([alert()], holds=holds), 50)[0] == "opening"
    again = alert(fired_at=40.0)
    assert told(Picture([again], holds=holds), 45, again)[0] == "opening"


def test_an_alert_that_nothing_sends() -> None:
    quiet = replace(alert(), labels=labels_of({"alertname": "Watchdog", "severity": "none"}))
    (leg,) = explain(STAGES, Picture([quiet]), quiet, 0)
    assert (leg.stage, leg.notifier) == ("unrouted", "")
    nobody = stages(root("ops", ("alertname",)), notifiers={"ops": ()})
    (leg,) = explain(nobody, Picture([alert()]), alert(), 0)
    assert (leg.stage, leg.sentence) == ("no notifier", "receiver ops has no notifier, so its alerts are dropped")
