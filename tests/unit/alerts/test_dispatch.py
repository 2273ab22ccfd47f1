"""Grouping as timelines: which message each receiver gets, and when."""

from __future__ import annotations

import random
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import pytest

from alerts.dispatch import Decide, Deliveries, Dispatcher, GroupState, GroupStep, Picture, decide, next_due
from alerts.holds import Acknowledgement, Holds, Silence
from alerts.interfaces import AlertInstance, AlertState, Message, MessageRef
from alerts.notify.card import render
from alerts.routing.intervals import TimeInterval, time_span
from alerts.routing.matchers import Matcher, Op
from alerts.routing.tree import Node
from alerts.wire import message_from_json, message_to_json, summary
from collectors.samples import labels_of
from tests.routes import key_of, root, stages

ROUTE = root("ops", ("alertname", "model"), wait_s=10, interval_s=60, repeat_s=3600)
KEY = "ops{alertname='Slow',model='chat'}"


def alert(version: str, *, model: str = "chat", severity: str = "warning", **fields: Any) -> AlertInstance:
    labels = labels_of({"alertname": "Slow", "model": model, "version": version, "severity": severity})
    return replace(AlertInstance("f;g;Slow", labels, (), AlertState.FIRING, 1.0, 0.0, fired_at=0.0), **fields)


def ended(version: str, at: float, **fields: str) -> AlertInstance:
    return replace(alert(version, **fields), state=AlertState.INACTIVE, resolved_at=at)


@dataclass
class Timeline:
    """A timeline that keeps the groups between decisions."""

    route: Node = ROUTE
    holds: Holds = field(default_factory=Holds)
    groups: dict[str, GroupState] = field(default_factory=dict)
    steps: list[GroupStep] = field(default_factory=list)

    def at(self, second: float, *alerts: AlertInstance, underway: str = "", dead: str = "") -> list[Message]:
        deliveries = Deliveries({underway}, {dead})
        picture = Picture(alerts, self.groups, deliveries, self.holds)
        self.steps += (steps := decide(stages(self.route), picture, second))
        self.groups |= {s.state.key: s.state for s in steps}
        return [s.message for s in steps if s.message]

    def told(self, second: float, *alerts: AlertInstance, **deliveries: str) -> list[tuple[str, str, str]]:
        """Return (status, firing versions, resolved versions) of each message."""
        return [(m.status, versions(m.firing), versions(m.resolved)) for m in self.at(second, *alerts, **deliveries)]


def versions(alerts: tuple[AlertInstance, ...]) -> str:
    return " ".join(dict(a.labels)["version"] for a in alerts)


def test_a_group_waits_for_company_and_tells_of_all_at_once() -> None:
    line = Timeline()
    assert line.told(0, alert("v1")) == []
    assert line.told(9, alert("v1"), alert("v2")) == []
    assert line.told(10, alert("v1"), alert("v2")) == [("firing", "v1 v2", "")]
    assert [s.sentence for s in line.steps] == [
        f"{KEY} opened with 1 alert(s)",
        f"{KEY} sends 2 new and 0 resolved alert(s), 2 firing",
    ]


def test_without_group_wait_it_tells_at_once() -> None:
    line = Timeline(replace(ROUTE, group_wait_s=0))
    assert line.told(0, alert("v1")) == [("firing", "v1", "")]


def test_changes_wait_for_group_interval_since_the_last_message() -> None:
    line = Timeline()
    line.at(0, alert("v1"))
    line.at(10, alert("v1"))
    assert line.told(69, alert("v1"), alert("v2")) == []
    assert line.told(70, alert("v1"), alert("v2")) == [("firing", "v1 v2", "")]
    assert line.told(129, alert("v2"), ended("v1", 100)) == []
    assert line.told(130, alert("v2"), ended("v1", 100)) == [("firing", "v2", "v1")]


def test_an_unchanged_group_repeats_itself_and_nothing_else_does() -> None:
    line = Timeline()
    line.at(0, alert("v1"))
    line.at(10, alert("v1"))
    assert [line.told(t, alert("v1")) for t in (100, 3609)] == [[], []]
    assert line.told(3610, alert("v1")) == [("firing", "v1", "")]
    assert line.steps[-1].sentence == f"{KEY} repeats 1 firing alert(s) after 1h"


def test_resolving_tells_once_and_closes() -> None:
    line = Timeline()
    line.at(0, alert("v1"))
    line.at(10, alert("v1"))
    (message,) = line.at(70, ended("v1", 40))
    assert (message.status, message.firing, message.resolved) == ("resolved", (), (ended("v1", 40),))
    assert not line.groups[KEY].is_open
    assert line.told(5000, ended("v1", 40)) == []


def test_what_resolved_before_anyone_was_told_is_not_told() -> None:
    line = Timeline()
    line.at(0, alert("v1"))
    assert line.told(5, ended("v1", 4)) == []
    assert not line.groups[KEY].is_open
    assert line.steps[-1].sentence == f"{KEY} closed: its alerts resolved before the first message"


def test_a_resolved_notice_survives_a_pause_longer_than_the_alerts_own_memory() -> None:
    line = Timeline()
    line.at(0, alert("v1"))
    line.at(10, alert("v1"))
    (message,) = line.at(7200)
    assert (message.status, versions(message.resolved)) == ("resolved", "v1")
    assert message.resolved[0].resolved_at == 7200


def test_a_reopened_group_is_a_new_generation_and_ids_never_repeat() -> None:
    line = Timeline(replace(ROUTE, group_wait_s=0, group_interval_s=0))
    messages = [*line.at(0, alert("v1")), *line.at(1, ended("v1", 1)), *line.at(1, alert("v1"))]
    assert [(m.generation, m.sequence) for m in messages] == [(0, 1), (0, 2), (1, 1)]
    pruned = Timeline(line.route).at(2, alert("v1"))
    assert len({m.id for m in (*messages, *pruned)}) == 4


def test_alerts_that_return_between_two_decisions_are_not_told() -> None:
    line = Timeline()
    line.at(0, alert("v1"))
    line.at(10, alert("v1"))
    assert line.told(100, alert("v1", active_at=90.0, fired_at=95.0)) == []


def test_groups_are_told_apart_by_group_by() -> None:
    line = Timeline(replace(ROUTE, group_wait_s=0))
    messages = line.at(0, alert("v1"), alert("v1", model="code"), alert("v2"))
    assert [(dict(m.group_labels)["model"], versions(m.firing)) for m in messages] == [
        ("chat", "v1 v2"),
        ("code", "v1"),
    ]
    everything = Timeline(replace(ROUTE, group_wait_s=0, group_by=("...",)))
    assert len(everything.at(0, alert("v1"), alert("v2"))) == 2
    one = Timeline(replace(ROUTE, group_wait_s=0, group_by=()))
    assert [m.group_key for m in one.at(0, alert("v1"), alert("v1", model="code"))] == [key_of(one.route, ())]


def test_pending_alerts_and_the_watchdog_are_not_told() -> None:
    line = Timeline(replace(ROUTE, group_wait_s=0))
    assert line.told(0, alert("v1", state=AlertState.PENDING, fired_at=None), alert("v2", severity="none")) == []
    assert line.groups == {}


def test_while_a_message_is_underway_the_group_waits_and_then_tells_the_newest() -> None:
    line = Timeline()
    line.at(0, alert("v1"))
    line.at(10, alert("v1"))
    for second in (70, 500, 4000):
        assert line.told(second, alert("v1"), alert("v2"), underway=KEY) == []
    assert line.told(4001, alert("v2"), alert("v3"), ended("v1", 3000)) == [("firing", "v2 v3", "v1")]


def test_a_closed_group_does_not_reopen_while_its_last_word_is_underway() -> None:
    line = Timeline(replace(ROUTE, group_wait_s=0))
    line.at(0, alert("v1"))
    line.at(60, ended("v1", 50))
    assert line.told(61, alert("v1"), underway=KEY) == []
    assert line.told(62, alert("v1")) == [("firing", "v1", "")]


def test_a_message_that_was_given_up_is_told_anew_after_a_quarter_of_an_hour() -> None:
    line = Timeline()
    line.at(0, alert("v1"))
    line.at(10, alert("v1"))
    assert line.told(909, alert("v1"), dead=KEY) == []
    assert line.told(910, alert("v1"), dead=KEY) == [("firing", "v1", "")]


def test_the_group_of_a_receiver_that_is_gone_closes_in_silence() -> None:
    line = Timeline(replace(ROUTE, group_wait_s=0))
    line.at(0, alert("v1"))
    line.route = replace(ROUTE, receiver="other", group_wait_s=0)
    assert [m.group_key for m in line.at(100, alert("v1"))] == [key_of(line.route, alert("v1").labels)]
    assert not line.groups[KEY].is_open


def test_a_changed_grouping_ends_the_old_message_and_says_where_its_alerts_are() -> None:
    line = Timeline(replace(ROUTE, group_wait_s=0))
    line.at(0, alert("v1"))
    line.route = replace(ROUTE, group_by=("alertname",), group_wait_s=0)
    old, new = line.at(100, alert("v1"))
    assert (old.group_key, old.status, old.firing, old.resolved, old.moved) == (KEY, "resolved", (), (), 1)
    assert (new.group_key, new.status) == (key_of(line.route, alert("v1").labels), "firing")
    assert not line.groups[KEY].is_open
    card = render(old)
    assert card.title.startswith("MOVED: ")
    assert card.lines == ("the routes have changed; 1 alerts still fire, and other messages tell of them",)
    assert message_from_json(message_to_json(old)) == old
    assert summary(old).endswith("(1 moved)")


def test_an_acknowledged_alert_stays_in_the_old_message_when_the_grouping_changes() -> None:
    line = Timeline(replace(ROUTE, group_wait_s=0))
    firing = alert("v1")
    line.at(0, firing)
    line.route = replace(ROUTE, group_by=("alertname",), group_wait_s=0)
    line.holds = Holds((), {firing.fingerprint: Acknowledgement(firing.fingerprint, 0.0, "ana", 50.0)})
    assert line.at(100, firing) == []
    assert line.groups[KEY].is_open
    (over,) = line.at(200, ended("v1", 150))
    assert (over.group_key, over.status, len(over.resolved)) == (KEY, "resolved", 1)


def test_the_message_carries_what_a_notifier_needs() -> None:
    line = Timeline(replace(ROUTE, group_wait_s=0))
    (message,) = line.at(1_700_000_000, alert("v1"))
    assert message.id == f"{KEY}/1700000000/1"
    assert (message.receiver, message.console_url, message.repeat) == ("ops", "http://c", False)
    assert message.sent_at is not None
    assert message.sent_at.isoformat() == "2023-11-14T22:13:20+00:00"


class Log:
    """A GroupLog in memory. Its messages are underway for some seconds, and some are given up."""

    def __init__(self) -> None:
        self.alerts: list[AlertInstance] = []
        self.groups: dict[str, GroupState] = {}
        self.arrives: dict[str, tuple[float, bool]] = {}
        self.looks = 0
        self.sent: list[tuple[float, str, str, str]] = []

    def advance(self, decide: Decide, at: float) -> Sequence[GroupStep]:
        self.looks += 1
        underway = {key for key, (until, _) in self.arrives.items() if at < until}
        dead = {key for key, (until, lost) in self.arrives.items() if at >= until and lost}
        steps = decide(Picture(self.alerts, self.groups, Deliveries(underway, dead)))
        self.groups |= {s.state.key: s.state for s in steps}
        for step in steps:
            if step.message:
                key = step.state.key
                # Depends only on the message's age, so that it is equal in both runs.
                self.arrives[key] = at + step.message.sequence % 4, step.message.sequence % 5 == 4
                told = step.message
                self.sent.append((at, key, versions(told.firing), versions(told.resolved)))
        return steps

    def roots(self, wanted: Collection[tuple[str, int]]) -> Mapping[tuple[str, int], MessageRef]:
        raise AssertionError("not asked for here")

    def remember(self, places: Mapping[tuple[str, int], MessageRef]) -> None:
        raise AssertionError("not asked for here")


class At:
    def now(self) -> float:
        raise AssertionError("the time is passed in")


@pytest.mark.parametrize("seed", range(8))
async def test_looking_only_when_something_can_be_due_tells_the_same_at_the_same_seconds(seed: int) -> None:
    rng = random.Random(seed)
    route = replace(ROUTE, group_interval_s=40, repeat_interval_s=300)
    every, when_due = Log(), Log()
    dispatchers = [
        (every, Dispatcher(stages(route), every, At())),
        (when_due, Dispatcher(stages(route), when_due, At())),
    ]
    alerts: dict[tuple[str, str], AlertInstance] = {}
    for second in range(3000):
        changed = second % 15 == 0 and rng.random() < 0.15
        if changed:
            model, version = rng.choice("ab"), rng.choice("123")
            before = alerts.get((model, version))
            firing = before is not None and before.state is AlertState.FIRING
            one = ended(version, second, model=model) if firing else alert(version, model=model)
            alerts[model, version] = replace(one, active_at=float(second))
        for log, dispatcher in dispatchers:
            log.alerts = list(alerts.values())
            await dispatcher.tick(float(second), changed=changed or log is every)
    assert when_due.sent == every.sent
    assert len(every.sent) > 15
    assert when_due.looks < every.looks / 2 or any(lost for _, lost in when_due.arrives.values())


def silencing(*versions: str) -> Holds:
    """Return silences of these versions, until second 10,000."""
    return Holds([Silence(v, (Matcher("version", Op.EQUAL, v),), 0.0, 10_000.0, "ann", "works", 0.0) for v in versions])


def test_what_is_muted_from_the_start_is_told_once_it_is_not() -> None:
    line = Timeline(holds=silencing("v1"))
    assert line.told(0, alert("v1")) == []
    assert line.groups == {}
    line.holds = Holds()
    assert line.told(100, alert("v1")) == []
    assert line.told(110, alert("v1")) == [("firing", "v1", "")]


def test_what_is_muted_after_it_was_told_is_not_called_over() -> None:
    line = Timeline()
    line.at(0, alert("v1"))
    assert line.told(10, alert("v1")) == [("firing", "v1", "")]
    line.holds = silencing("v1")
    assert line.told(100, alert("v1")) == []
    assert line.told(9999, alert("v1")) == []  # nor repeated
    line.holds = Holds()
    assert line.told(9999, alert("v1")) == [("firing", "v1", "")]  # the repeat that was due meanwhile


def test_what_was_told_and_ends_while_it_is_muted_is_called_over() -> None:
    line = Timeline()
    line.at(0, alert("v1"))
    line.at(10, alert("v1"))
    line.holds = silencing("v1")
    line.at(50, alert("v1"))
    assert line.told(100, ended("v1", 90)) == [("resolved", "", "v1")]
    assert [group.is_open for group in line.groups.values()] == [False]


def test_a_group_goes_on_without_what_is_muted_and_takes_it_in_again() -> None:
    line = Timeline()
    line.at(0, alert("v1"), alert("v2"))
    assert line.told(10, alert("v1"), alert("v2")) == [("firing", "v1 v2", "")]
    line.holds = silencing("v1")
    assert line.told(70, alert("v1"), ended("v2", 60)) == [("resolved", "", "v2")]
    assert [group.is_open for group in line.groups.values()] == [True]
    assert line.told(5000, alert("v1")) == []
    line.holds = Holds()
    assert line.told(5001, alert("v1")) == [("firing", "v1", "")]
    assert len({m.generation for step in line.steps if (m := step.message)}) == 1


def test_a_group_whose_only_alert_is_muted_before_anyone_was_told_stays_silent() -> None:
    line = Timeline()
    line.at(0, alert("v1"))
    line.holds = silencing("v1")
    assert line.told(10, alert("v1")) == []
    assert line.told(20, ended("v1", 15)) == []
    assert line.steps[-1].sentence == f"{KEY} closed: its alerts resolved before the first message"


def test_it_is_looked_again_when_what_is_muted_may_change() -> None:
    group = GroupState(KEY, "ops", (("alertname", "Slow"), ("model", "chat")), 1, 1, True, 0.0, 10.0, (alert("v1"),))
    picture = Picture([alert("v1")], {KEY: group}, holds=silencing("v1"))
    assert next_due(stages(ROUTE), picture, 100.0) == 10_000.0
    in_the_morning = TimeInterval(times=(time_span("06:00", "12:00"),))
    muted = replace(ROUTE, mute_intervals=("morning",))
    assert next_due(stages(muted, intervals={"morning": (in_the_morning,)}), picture, 100.0) == 120.0
