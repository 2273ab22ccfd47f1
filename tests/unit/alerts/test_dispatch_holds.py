"""Acknowledgements, snoozes and silences as timelines: what each message says, and when."""

from __future__ import annotations

from dataclasses import replace

from alerts.dispatch import Picture, next_due
from alerts.holds import Acknowledgement, Holds, Silence, Silences
from alerts.interfaces import AlertInstance, Mark, Message
from alerts.notify.card import render
from alerts.routing.matchers import Matcher, Op
from alerts.wire import message_from_json, message_to_json
from tests.routes import stages
from tests.unit.alerts.test_dispatch import KEY, ROUTE, Timeline, alert, ended, silencing, versions


def taking(*alerts: AlertInstance, until: float | None = None, by: str = "ann") -> Holds:
    """Return acknowledgements of these alerts by one person."""
    found = [Acknowledgement(one.fingerprint, one.fired_at or 0.0, by, 20.0, until) for one in alerts]
    return Holds((), {one.fingerprint: one for one in found})


def told(message: Message) -> tuple[str, str, str, str]:
    """Return the status, what fires, what is marked, and what resolved."""
    by_fingerprint = {one.fingerprint: dict(one.labels)["version"] for one in message.firing}
    marked = " ".join(by_fingerprint[mark.fingerprint] for mark in message.marks)
    return message.status, versions(message.firing), marked, versions(message.resolved)


def notified() -> Timeline:
    """Return a group whose alert v1 was notified at second 10."""
    line = Timeline()
    line.at(0, alert("v1"))
    assert line.told(10, alert("v1")) == [("firing", "v1", "")]
    return line


def test_an_acknowledged_alert_is_not_repeated_and_its_end_is_told() -> None:
    line = notified()
    line.holds = taking(alert("v1"))
    (edit,) = line.at(20, alert("v1"))
    assert (edit.edit, told(edit)) == (True, ("firing", "v1", "v1", ""))
    assert [line.at(t, alert("v1")) for t in (21, 80, 3610, 9000)] == [[], [], [], []]
    (over,) = line.at(9001, ended("v1", 9000))
    assert (over.edit, told(over)) == (False, ("resolved", "", "", "v1"))
    assert not line.groups[KEY].is_open


def test_an_update_of_the_group_does_not_read_as_if_the_acknowledged_alert_had_resolved() -> None:
    line = notified()
    line.holds = taking(alert("v1"))
    line.at(20, alert("v1"))
    (message,) = line.at(70, alert("v1"), alert("v2"))
    assert told(message) == ("firing", "v1 v2", "v1", "")
    assert line.at(71, alert("v1"), alert("v2")) == [], "what the message says is not edited into it again"
    card = render(message)
    assert card.lines == ("Slow: value 1", "Slow: value 1 (acknowledged by ann)"), "news come first"
    (message,) = line.at(130, alert("v1"), ended("v2", 120))
    assert told(message) == ("firing", "v1", "v1", "v2")
    assert message_from_json(message_to_json(message)) == message
    assert line.groups[KEY].is_open


def test_a_higher_severity_is_another_alert_and_is_told() -> None:
    line = notified()
    line.holds = taking(alert("v1"))
    line.at(20, alert("v1"))
    (message,) = line.at(70, alert("v1"), alert("v1", severity="critical"))
    assert [
        (dict(one.labels)["severity"], one.fingerprint in {m.fingerprint for m in message.marks})
        for one in message.firing
    ] == [
        ("critical", False),
        ("warning", True),
    ]
    assert render(message).severity == "critical"


def test_another_episode_is_not_acknowledged() -> None:
    line = notified()
    line.holds = taking(alert("v1"))
    line.at(20, alert("v1"))
    line.at(70, ended("v1", 65))
    again = alert("v1", fired_at=100.0)
    line.at(100, again)
    (message,) = line.at(110, again)
    assert told(message) == ("firing", "v1", "", "")
    assert message.generation == 100


def test_a_snooze_ends_by_itself_and_the_group_tells_again() -> None:
    line = notified()
    line.holds = taking(alert("v1"), until=1000.0)
    (edit,) = line.at(20, alert("v1"))
    assert [mark.text for mark in edit.marks] == ["snoozed by ann"]
    picture = Picture([alert("v1")], line.groups, holds=line.holds)
    assert next_due(stages(ROUTE), picture, 21.0) == 1000.0
    assert line.at(999, alert("v1")) == []
    (message,) = line.at(1000, alert("v1"))
    assert (message.edit, told(message)) == (False, ("firing", "v1", "", ""))
    assert line.at(1001, alert("v1")) == []


def test_an_alert_that_is_given_back_is_told_again_after_the_interval() -> None:
    line = notified()
    line.holds = taking(alert("v1"))
    line.at(20, alert("v1"))
    line.holds = Holds()
    assert line.at(30, alert("v1")) == []
    assert line.told(70, alert("v1")) == [("firing", "v1", "")]


def test_an_alert_that_nobody_was_told_of_is_silent_when_it_is_acknowledged() -> None:
    line = Timeline(holds=taking(alert("v1")))
    assert line.told(0, alert("v1")) == []
    assert line.groups == {}
    assert line.told(10, alert("v1"), alert("v2")) == []
    assert line.told(20, alert("v1"), alert("v2")) == [("firing", "v2", "")], "nobody knows v1 from this group"


def test_what_is_acknowledged_while_a_message_is_underway_is_shown_after_it() -> None:
    line = notified()
    line.holds = taking(alert("v1"))
    assert line.at(11, alert("v1"), underway=KEY) == []
    (edit,) = line.at(12, alert("v1"))
    assert edit.edit


def test_a_silence_after_the_notification_causes_no_message_and_its_end_tells_again() -> None:
    line = notified()
    line.holds = silencing("v1")
    assert line.at(20, alert("v1")) == []
    assert line.groups[KEY].held == (alert("v1").fingerprint,)
    line.holds = Holds()
    assert line.told(500, alert("v1")) == [("firing", "v1", "")]
    assert line.groups[KEY].held == ()


def test_a_silenced_alert_is_left_out_of_updates_and_its_end_is_told_all_the_same() -> None:
    line = Timeline()
    line.at(0, alert("v1"), alert("v2"))
    line.at(10, alert("v1"), alert("v2"))
    line.holds = silencing("v1")
    assert line.told(70, alert("v1"), alert("v2"), alert("v3")) == [("firing", "v2 v3", "")]
    assert line.told(130, ended("v1", 120), alert("v2"), alert("v3")) == [("firing", "v2 v3", "v1")]


def test_an_edit_shows_no_alert_that_was_not_told_yet() -> None:
    line = notified()
    line.holds = taking(alert("v1"))
    (edit,) = line.at(20, alert("v1"), alert("v2"))
    assert told(edit) == ("firing", "v1", "v1", "")
    assert line.told(70, alert("v1"), alert("v2")) == [("firing", "v1 v2", "")]


def test_a_message_of_an_earlier_release_has_no_marks() -> None:
    (message,) = Timeline(replace(ROUTE, group_wait_s=0)).at(0, alert("v1"))
    stored = message_to_json(replace(message, marks=(Mark("a", "b"),)))
    old = {key: value for key, value in stored.items() if key != "marks"} | {"format": 2}
    assert message_from_json(old) == message


def test_silences_are_found_in_their_order_by_value_and_without() -> None:
    def silence(name: str, *matchers: Matcher) -> Silence:
        return Silence(name, matchers, 0.0, 1.0, "ann", "", 0.0)

    index = Silences(
        [
            silence("any", Matcher("model", Op.NOT_EQUAL, "code")),
            silence("chat", Matcher("severity", Op.MATCHES, "w.*"), Matcher("model", Op.EQUAL, "chat")),
            silence("none"),
            silence("missing", Matcher("node", Op.EQUAL, "")),
            silence("code", Matcher("model", Op.EQUAL, "code")),
        ]
    )
    found = [one.id for one in index.covering({"model": "chat", "severity": "warning"})]
    assert found == ["any", "chat", "missing"]
    assert [one.id for one in index.covering({"model": "code", "node": "n1"})] == ["code"]
