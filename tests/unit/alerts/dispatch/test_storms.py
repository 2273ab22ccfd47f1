"""Many alerts that begin together, as timelines: which messages come, of which alerts, and when."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace

import pytest

from alerts.dispatch import GroupState, Happened, Picture, Stages, decide, explain, has_cause, next_due
from alerts.dispatch.storms import cause_of, is_storm
from alerts.holds import Acknowledgement, Holds, Silence
from alerts.interfaces import Above, AlertInstance, AlertState, Escalated, Message, StormCount
from alerts.notify.card import render
from alerts.notify.payload import webhook_payload
from alerts.notify.words import CHINESE
from alerts.routing.matchers import Matcher, Op
from alerts.routing.storms import CAUSES, Storms
from alerts.routing.tree import Escalation, Node
from alerts.wire import message_from_json, message_to_json, summary
from collectors.samples import labels_of
from tests.routes import root, stages

SETTINGS = Storms(5, 60.0, 0.7, CAUSES)
ROUTE = root("ops", ("model", "alertname"), wait_s=10, interval_s=60, repeat_s=1800)
N1 = "ops//storm{node='n1'}"


def alert(name: str, at: float, end: float = 1e9, severity: str = "warning", **labels: str) -> AlertInstance:
    """Return an alert that fires from `at`; `end` is kept in its value for the timeline."""
    every = labels_of({"alertname": name, "severity": severity, **labels})
    return AlertInstance(f"f;g;{name}", every, (), AlertState.FIRING, end, at, fired_at=at)


def of_node(node: str, at: float, count: int, end: float = 1e9, **labels: str) -> list[AlertInstance]:
    return [alert(f"A{n}", at, end, node=node, model=f"m{n}", **labels) for n in range(count)]


@dataclass
class Timeline:
    """A timeline of decisions, one a second."""

    route: Node = ROUTE
    storms: Storms | None = SETTINGS
    groups: dict[str, GroupState] = field(default_factory=dict)
    holds: Holds = field(default_factory=Holds)
    happened: Sequence[Happened] = ()
    now: int = -1
    sentences: list[str] = field(default_factory=list)

    @property
    def stages(self) -> Stages:
        return stages(self.route, storms=self.storms, notifiers={"boss": ("boss",)})

    def picture(self, alerts: Iterable[AlertInstance], at: float) -> Picture:
        seen = []
        for one in alerts:
            if at >= (one.fired_at or 0.0):
                over = one.value <= at
                ended = replace(one, state=AlertState.INACTIVE, resolved_at=one.value)
                seen += [ended if over else one]

        def happened(since: float, until: float) -> Sequence[Happened]:
            return [one for one in self.happened if since <= one.at < until]

        return Picture(seen, self.groups, holds=self.holds, happened=happened)

    def until(self, end: int, alerts: Sequence[AlertInstance]) -> list[tuple[int, Message]]:
        """Decide at each second up to `end`. Return the messages with their seconds. Nothing comes before it is due."""
        found: list[tuple[int, Message]] = []
        due, last = 0.0, Picture()
        for at in range(self.now + 1, end + 1):
            picture = self.picture(alerts, at)
            steps = decide(self.stages, picture, at)
            same = picture.instances == last.instances
            assert not steps or not same or at >= due, f"{steps} came at {at}, before {due}"
            self.groups |= {step.state.key: step.state for step in steps}
            self.sentences += [step.sentence for step in steps]
            found += [(at, step.message) for step in steps if step.message]
            due, last = next_due(self.stages, self.picture(alerts, at), at), picture
        self.now = end
        return found


def names(messages: Iterable[tuple[int, Message]]) -> list[tuple[int, str, str, int, int]]:
    """Return second, group, status, and the numbers of firing and of resolved alerts."""
    return [(at, m.group_key, m.status, len(m.firing), len(m.resolved)) for at, m in messages]


def test_without_the_setting_each_group_sends() -> None:
    found = Timeline(storms=None).until(20, of_node("n1", 0, 8))
    assert len(found) == 8


def test_alerts_of_one_node_are_one_message_that_names_it() -> None:
    line = Timeline()
    ((at, message),) = line.until(20, of_node("n1", 0, 8))
    assert (at, message.group_key, len(message.firing), message.group_labels) == (10, N1, 8, (("node", "n1"),))
    assert message.storm is not None
    assert (message.storm.label, message.storm.value, message.storm.groups) == ("node", "n1", 8)
    assert summary(message) == "FIRING: storm: node n1 (8 firing)"
    card = render(message)
    assert card.title == "FIRING: storm, node n1"
    assert card.lines[0] == ("8 alerts of 8 groups with node=n1 began together; this message stands for all of them")
    assert card.lines[1] == "1 × A0 (warning)"
    assert (len(card.lines), card.more) == (10, 3)
    assert card.links[0].url == "http://c/alerts?state=active&label=node%3D%22n1%22"


def test_the_link_of_a_storm_quotes_the_name_of_its_cause() -> None:
    ((_, message),) = Timeline().until(20, of_node('n1,"b', 0, 8))
    assert message.console_url == "http://c/alerts?state=active&label=node%3D%22n1%2C%5C%22b%22"


def test_fewer_groups_are_no_storm() -> None:
    assert len(Timeline().until(20, of_node("n1", 0, 4))) == 4
    one_group = [alert("A", 0, node="n1", model="m", gpu=str(n)) for n in range(50)]
    assert [key for _, key, *_ in names(Timeline().until(20, one_group))] == ["ops{alertname='A',model='m'}"]


def test_alerts_that_begin_one_after_another_are_no_storm() -> None:
    slowly = [alert(f"A{n}", 61.0 * n, node="n1", model=f"m{n}") for n in range(8)]
    assert len(Timeline().until(600, slowly)) == 8


def test_groups_that_wait_already_are_folded_too() -> None:
    line = Timeline()
    alerts = [*of_node("n1", 0, 4), *(alert(f"B{n}", 8, node="n1", model=f"m{n}") for n in range(4))]
    found = line.until(30, alerts)
    assert names(found) == [(18, N1, "firing", 8, 0)]
    assert f"ops{{alertname='A0',model='m0'}} closed: its alerts are in the message of {N1}" in line.sentences


def test_what_was_told_already_stays_where_it_was_told() -> None:
    line = Timeline()
    alerts = [*of_node("n1", 0, 2), *(alert(f"B{n}", 30, node="n1", model=f"m{n}") for n in range(6))]
    found = names(line.until(60, alerts))
    assert [(at, count) for at, _, _, count, _ in found] == [(10, 1), (10, 1), (40, 6)]


def test_critical_alerts_that_the_cause_does_not_explain_page_by_themselves() -> None:
    line = Timeline()
    other = alert("Fire", 5, severity="critical", node="n2", model="chat")
    within = alert("Xid", 5, severity="critical", node="n1", model="chat")
    found = line.until(30, [*of_node("n1", 0, 8), other, within])
    assert names(found) == [
        (10, N1, "firing", 9, 0),
        (15, "ops{alertname='Fire',model='chat'}", "firing", 1, 0),
    ]
    assert render(found[0][1]).severity == "critical"
    assert found[0][1].storm is not None
    assert StormCount("Xid", "critical", 1) in found[0][1].storm.counts


def test_without_a_cause_every_group_sends() -> None:
    apart = [alert(f"A{n}", 0, node=f"n{n}", model=f"m{n}") for n in range(8)]
    assert len(Timeline().until(20, apart)) == 8


def test_later_alerts_of_the_cause_join_and_their_message_is_updated() -> None:
    line = Timeline()
    later = [alert("Late", 200, node="n1", model="chat"), alert("Later", 450, node="n1", model="chat")]
    too_late = alert("TooLate", 800, node="n1", model="chat")
    found = names(line.until(900, [*of_node("n1", 0, 8), *later, too_late]))
    assert found == [
        (10, N1, "firing", 8, 0),
        (200, N1, "firing", 9, 0),
        (450, N1, "firing", 10, 0),
        (810, "ops{alertname='TooLate',model='chat'}", "firing", 1, 0),
    ]


def test_the_end_of_all_of_it_is_one_message() -> None:
    line = Timeline()
    found = line.until(700, of_node("n1", 0, 8, end=300.0))
    assert names(found) == [(10, N1, "firing", 8, 0), (300, N1, "resolved", 0, 8)]
    assert render(found[-1][1]).title == "RESOLVED: storm, node n1"
    assert not line.groups[N1].is_open


def test_what_still_fires_when_it_is_over_is_sent_by_its_own_group() -> None:
    line = Timeline()
    alerts = [*of_node("n1", 0, 7, end=300.0), alert("Stays", 0, node="n1", model="chat")]
    found = line.until(700, alerts)
    assert names(found) == [
        (10, N1, "firing", 8, 0),
        (300, N1, "resolved", 0, 7),
        (310, "ops{alertname='Stays',model='chat'}", "firing", 1, 0),
    ]
    card = render(found[1][1])
    assert card.lines[0] == "the storm is over; 1 alerts still fire, and their groups send them"
    assert line.sentences.count(f"{N1} is over; 1 alert(s) go back to their groups") == 1


def test_what_still_fires_when_it_is_over_and_ends_before_its_group_sends_is_told_to_be_over() -> None:
    line = Timeline()
    alerts = [*of_node("n1", 0, 7, end=300.0), alert("Stays", 0, end=305, node="n1", model="chat")]
    assert names(line.until(700, alerts))[1:] == [
        (300, N1, "resolved", 0, 7),
        (310, "ops{alertname='Stays',model='chat'}", "resolved", 0, 1),
    ]
    assert not any(group.is_open for group in line.groups.values())


def test_what_is_silenced_when_the_others_have_ended_stays_with_the_storm() -> None:
    line = Timeline()
    alerts = [*of_node("n1", 0, 7, end=300.0), alert("Stays", 0, end=900, node="n1", model="chat")]
    line.until(200, alerts)
    chat = (Matcher("model", Op.EQUAL, "chat"),)
    line.holds = Holds((Silence("s1", chat, 200.0, 5000.0, "ana", "", 200.0),))
    found = line.until(1200, alerts)
    assert names(found) == [(300, N1, "resolved", 0, 7), (900, N1, "resolved", 0, 1)]
    assert found[0][1].storm is not None and found[0][1].storm.rest == 0
    assert not any(group.is_open for group in line.groups.values())


def test_a_storm_is_not_called_over_while_an_acknowledged_alert_of_it_fires() -> None:
    line = Timeline()
    alerts = [*of_node("n1", 0, 7, end=300.0), alert("Stays", 0, node="n1", model="chat")]
    line.until(200, alerts)
    one = alerts[-1].fingerprint
    line.holds = Holds((), {one: Acknowledgement(one, 0.0, "ana", 200.0, until=500.0)})
    key = "ops{alertname='Stays',model='chat'}"
    assert names(line.until(300, alerts))[-1:] == [(300, N1, "firing", 1, 7)]
    # It is acknowledged no more: its own group tells it again.
    assert names(line.until(600, alerts)) == [(500, N1, "resolved", 0, 0), (510, key, "firing", 1, 0)]


def test_it_is_told_to_be_over_although_all_ends_were_told_before() -> None:
    line = Timeline()
    alerts = [alert(f"A{n}", 0, 300.0 if n < 5 else 5000.0, node="n1", model=f"m{n}") for n in range(7)]
    found = names(line.until(600, alerts))
    # With five groups as the threshold, two groups are as many as a storm may have.
    assert found == [(10, N1, "firing", 7, 0), (300, N1, "firing", 2, 5)]
    moved = [replace(one, value=700.0) if one.value == 5000.0 and "m6" in str(one.labels) else one for one in alerts]
    assert names(line.until(800, moved)) == [
        (700, N1, "resolved", 0, 1),
        (710, "ops{alertname='A5',model='m5'}", "firing", 1, 0),
    ]


def test_a_third_of_the_threshold_is_few() -> None:
    ends = [300.0, 300.0, 300.0, 300.0, 300.0, 300.0, 5000.0, 400.0, 5000.0]
    alerts = [alert(f"A{n}", 0, end, node="n1", model=f"m{n}") for n, end in enumerate(ends)]
    found = names(Timeline(storms=replace(SETTINGS, groups=9)).until(500, alerts))
    assert [(at, status, firing, resolved) for at, _, status, firing, resolved in found] == [
        (10, "firing", 9, 0),
        (300, "firing", 3, 6),
        (400, "resolved", 0, 1),
        (410, "firing", 1, 0),
        (410, "firing", 1, 0),
    ]


def test_it_is_closed_in_words_when_it_is_over_without_an_end() -> None:
    """A higher threshold in fleet.yaml ends a storm of which all alerts still fire."""
    line = Timeline()
    alerts = of_node("n1", 0, 7)
    line.until(40, alerts)
    line.storms = replace(SETTINGS, groups=30)
    found = line.until(100, alerts)
    assert len(found) == 8
    (over,) = [message for _, message in found if message.group_key == N1]
    assert (over.status, over.firing, over.resolved) == ("resolved", (), ())
    card = render(over)
    assert card.lines == ("the storm is over; 7 alerts still fire, and their groups send them",)
    assert sum(message.status == "firing" for _, message in found) == 7


def test_it_does_not_open_when_its_alerts_end_before_the_first_message() -> None:
    assert Timeline().until(100, of_node("n1", 0, 8, end=5.0)) == []


def test_it_is_repeated_like_any_group() -> None:
    found = names(Timeline().until(1900, of_node("n1", 0, 8)))
    assert found == [(10, N1, "firing", 8, 0), (1810, N1, "firing", 8, 0)]


def test_each_notifier_has_its_own_and_an_escalation_waits() -> None:
    steps = (Escalation(900.0, "boss"),)
    pager = replace(
        ROUTE,
        path="route.routes[0]",
        receiver="pager",
        matchers=(Matcher("model", Op.MATCHES, "m[0-6]"),),
        goes_on=True,
    )
    everyone = replace(ROUTE, path="route.routes[1]", escalation=steps, key="/{}")
    line = Timeline(replace(ROUTE, routes=(replace(pager, key='/{model=~"m[0-6]"}'), everyone)))
    found = names(line.until(1000, of_node("n1", 0, 8)))
    assert found == [
        (10, N1, "firing", 8, 0),
        (10, "pager//storm{node='n1'}", "firing", 7, 0),
        (900, "boss//storm^15m{node='n1'}", "firing", 8, 0),
    ]


def test_an_escalation_of_a_storm_says_which_step_it_is_and_follows_the_message_of_the_storm() -> None:
    steps = (Escalation(60.0, "boss"), Escalation(120.0, "boss"))
    found = Timeline(replace(ROUTE, escalation=steps)).until(200, of_node("n1", 0, 8))
    above = (Above(N1, 0),)
    assert [(at, message.escalated) for at, message in found] == [
        (10, None),
        (60, Escalated(1, 2, 60.0, above)),
        (120, Escalated(2, 2, 120.0, above)),
    ]


def test_an_acknowledged_alert_of_a_storm_is_marked_and_the_rest_goes_on() -> None:
    line = Timeline()
    alerts = of_node("n1", 0, 8)
    line.until(20, alerts)
    one = Acknowledgement(alerts[0].fingerprint, 0.0, "ann", 20.0)
    line.holds = Holds((), {one.fingerprint: one})
    (leg,) = explain(line.stages, line.picture(alerts, 21), alerts[0], 21)
    assert (leg.stage, leg.sentence) == ("acknowledgement", f"acknowledged by ann; storm: folded into message {N1}/0/1")
    ((at, message),) = line.until(100, alerts)
    assert (at, message.edit, len(message.firing), [mark.text for mark in message.marks]) == (
        21,
        True,
        8,
        ["acknowledged by ann"],
    )


def test_rollouts_of_its_models_and_reloads_shortly_before_are_named() -> None:
    line = Timeline(
        happened=[
            Happened(3.0, "m1", "rollout of m1: moved to v2"),
            Happened(4.0, "other", "rollout of other: moved"),
            Happened(5.0, None, "reload of the configuration by ann: a rule"),
            Happened(650.0, None, "reload of the configuration by ann: another rule"),
        ]
    )
    ((_, message),) = line.until(630, of_node("n1", 600, 8))
    assert message.storm is not None
    assert message.storm.acts == ("rollout of m1: moved to v2", "reload of the configuration by ann: a rule")
    assert "shortly before: rollout of m1: moved to v2" in render(message).lines


def test_turning_it_off_sends_what_it_held_by_the_groups() -> None:
    line = Timeline()
    alerts = of_node("n1", 0, 8)
    line.until(20, alerts)
    line.storms = None
    (_, ended), *others = line.until(40, alerts)
    assert (ended.group_key, ended.moved, len(others)) == (N1, 8, 8)
    assert f"{N1} closed: the receiver or the grouping has changed" in line.sentences


def test_explain_names_the_message() -> None:
    line = Timeline()
    alerts = of_node("n1", 0, 8)
    line.until(5, alerts)
    (leg,) = explain(line.stages, line.picture(alerts, 5), alerts[0], 5)
    assert (leg.stage, leg.sentence, leg.due_at) == (
        "storm",
        f"storm: it will be in the first message of {N1}",
        10,
    )
    line.until(20, alerts)
    (leg,) = explain(line.stages, line.picture(alerts, 20), alerts[0], 20)
    assert (leg.stage, leg.sentence, leg.message) == ("storm", f"storm: folded into message {N1}/0/1", f"{N1}/0/1")


def test_messages_survive_storage_and_say_it_in_every_form() -> None:
    ((_, message),) = Timeline().until(20, of_node("n1", 0, 8))
    assert message_from_json(message_to_json(message)) == message
    old = {key: value for key, value in message_to_json(message).items() if key != "storm"} | {"format": 3}
    assert message_from_json(old) == replace(message, storm=None)
    assert render(message, CHINESE).title == "告警中: 告警风暴，node n1"
    body = webhook_payload(message, "ops", message.console_url)
    assert (body["groupLabels"], len(body["alerts"])) == ({"node": "n1"}, 8)


def test_an_instance_names_its_node() -> None:
    """A node whose targets are all down: its alerts have instances of it, and no label `node`."""
    targets = [alert("InstanceDown", 0, instance=f"n1:{8000 + n}", job=f"j{n}") for n in range(8)]
    line = Timeline(replace(ROUTE, group_by=("job",)))
    ((_, message),) = line.until(20, targets)
    assert (message.group_key, len(message.firing)) == (N1, 8)


@pytest.mark.parametrize(
    ("labels", "cause", "expected"),
    [
        ({"node": "n1"}, ("node", "n1"), True),
        ({"node": "n2", "instance": "n1:80"}, ("node", "n1"), False),
        ({"instance": "n1:80"}, ("node", "n1"), True),
        ({"instance": "[::1]:80"}, ("node", "::1"), True),
        ({"instance": "n1"}, ("node", "n1"), True),
        ({"instance": ""}, ("node", ""), False),
        ({"rack": "r1"}, ("rack", "r1"), True),
    ],
)
def test_who_has_a_cause(labels: dict[str, str], cause: tuple[str, str], *, expected: bool) -> None:
    assert has_cause(labels_of(labels), cause) is expected


@pytest.mark.parametrize(
    ("fresh", "calm", "expected"),
    [
        ([{"node": "n1", "rack": "r1"}] * 4, [], ("node", "n1")),
        ([{"node": f"n{n}", "rack": "r1"} for n in range(4)], [], ("rack", "r1")),
        # One more is explained by the rack than by the node.
        ([*[{"node": "n1", "rack": "r1"}] * 4, {"node": "n2", "rack": "r1"}], [], ("rack", "r1")),
        # All alerts of this fleet are of one model: that explains nothing.
        ([{"node": f"n{n}", "model": "chat"} for n in range(4)], [{"model": "chat"}] * 9, None),
        ([{"node": f"n{n}", "model": "chat"} for n in range(4)], [{"model": "chat"}] * 4, ("model", "chat")),
        (
            [{"node": f"n{n}", "model": "chat"} for n in range(4)],
            [{"model": "a"}] * 6 + [{"model": "chat"}] * 3,
            ("model", "chat"),
        ),
        (
            [{"alertname": "Slow", "model": f"m{n}"} for n in range(4)],
            [{"alertname": "Hot"}] * 9,
            ("alertname", "Slow"),
        ),
        ([{"node": "n1"}] * 2 + [{"node": "n2"}] * 2, [], None),
        ([{"team": "a"}] * 4, [], None),
    ],
)
def test_what_the_cause_is(
    fresh: list[dict[str, str]], calm: list[dict[str, str]], expected: tuple[str, str] | None
) -> None:
    def made(each: dict[str, str]) -> AlertInstance:
        return AlertInstance("r", labels_of(each), (), AlertState.FIRING, 1.0, 0.0, 0.0)

    assert cause_of([made(each) for each in fresh], [made(each) for each in calm], SETTINGS) == expected


def test_names_of_storms_are_told_from_others() -> None:
    assert is_storm(N1, "ops")
    assert is_storm("boss//storm^15m{node='n1'}", "boss")
    assert not is_storm("ops{alertname='//storm{'}", "ops")
    assert not is_storm("ops/{severity=\"page\"}{node='n1'}", "ops")
    assert not is_storm("ops//storm{node='n1'}", "ops//storm")


@pytest.mark.parametrize("name", ["team {eu}", "a^b", "a/b[1]", "x//storm", "漢'\""])
def test_a_receiver_of_an_alertmanager_yml_may_have_any_name(name: str) -> None:
    line = Timeline(replace(ROUTE, receiver=name))
    found = line.until(400, of_node("n1", 0, 8, end=300))
    assert names(found) == [
        (10, f"{name}//storm{{node='n1'}}", "firing", 8, 0),
        (300, f"{name}//storm{{node='n1'}}", "resolved", 0, 8),
    ]
