"""Routes, inhibitions and time intervals as timelines: which notifier gets which message, and when."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from alerts.dispatch import Deliveries, Picture, Stages, next_due
from alerts.holds import Acknowledgement, Holds
from alerts.interfaces import Above, Escalated
from alerts.routing.config import read_alertmanager
from alerts.routing.tree import Escalation, Node, Routing
from collectors.samples import labels_of
from tests.routes import root
from tests.unit.alerts.dispatch_timeline import Timeline, alert, ended

TREE = """\
route:
  receiver: ops
  group_by: [alertname]
  group_wait: 10s
  group_interval: 1m
  repeat_interval: 1h
  routes:
    - {matchers: [severity="critical"], receiver: pager, group_wait: 0s, continue: true}
    - {matchers: [severity=~"critical|warning", team="gpu"], receiver: gpu, group_by: [node]}
    - {matchers: [severity=~"critical|warning", team="gpu"], receiver: gpu, group_by: [node]}
    - matchers: [team="night"]
      receiver: night
      mute_time_intervals: [mornings]
    - {matchers: [severity="none", alertname="Watchdog"], receiver: beacon}
receivers: [{name: ops}, {name: pager}, {name: gpu}, {name: night}, {name: beacon}, {name: nobody}]
inhibit_rules:
  - {source_matchers: [alertname="Down"], target_matchers: [severity="warning"], equal: [node]}
time_intervals: [{name: mornings, time_intervals: [{times: [{start_time: "00:00", end_time: "00:05"}]}]}]
"""
GPU = 'gpu/{severity=~"critical|warning",team="gpu"}'


def stages(text: str = TREE, **notifiers: tuple[str, ...]) -> Stages:
    routing = replace(read_alertmanager(text, "am.yml"), root_sends_none=False)  # as the root of fleet.yaml
    return Stages(routing, {name: (name,) for name in routing.receivers} | notifiers, "http://c")


def timeline() -> Timeline:
    return Timeline(stages())


def test_an_alert_goes_to_each_route_that_takes_it_with_the_waits_of_that_route() -> None:
    line, hot = timeline(), alert("Hot", "critical", team="gpu", node="n1")
    assert line.at(0, hot) == ["pager: Hot"]
    assert line.at(9, hot) == []
    assert line.at(10, hot) == ["gpu: Hot"]
    assert sorted(line.groups) == [f"{GPU}{{node='n1'}}", "pager/{severity=\"critical\"}{alertname='Hot'}"]
    assert line.at(70, ended(hot, 60)) == ["gpu: - over Hot", "pager: - over Hot"]


def test_only_the_root_takes_what_no_route_takes_and_its_groups_have_short_names() -> None:
    line = timeline()
    line.at(0, alert("Slow"))
    assert line.at(10, alert("Slow")) == ["ops: Slow"]
    assert list(line.groups) == ["ops{alertname='Slow'}"]


def test_two_routes_that_look_alike_have_groups_of_their_own() -> None:
    text = TREE.replace("group_by: [node]}", "group_by: [node], continue: true}")
    line, hot = Timeline(stages(text)), alert("Hot", team="gpu", node="n1")
    line.at(0, hot)
    assert line.at(10, hot) == ["gpu: Hot", "gpu: Hot"]
    assert sorted(line.groups) == [f"{GPU}#2{{node='n1'}}", f"{GPU}{{node='n1'}}"]


def test_a_receiver_with_two_notifiers_sends_by_both_and_one_without_drops_its_alerts() -> None:
    line = Timeline(stages(ops=("ops/slack", "ops/mail"), pager=()))
    slow, critical = alert("Slow"), alert("Burns", "critical")
    line.at(0, slow, critical)
    assert line.at(10, slow, critical) == ["ops/mail: Slow", "ops/slack: Slow"]


def test_the_watchdog_is_sent_by_a_route_that_asks_for_it_and_never_by_the_root() -> None:
    line = timeline()
    line.at(0, alert("Watchdog", "none"), alert("Other", "none"))
    assert line.at(10, alert("Watchdog", "none"), alert("Other", "none")) == ["beacon: Watchdog"]


def test_an_inhibited_alert_is_not_sent_until_its_source_is_over() -> None:
    line = timeline()
    down, hot, elsewhere = alert("Down", "critical", node="n1"), alert("Hot", node="n1"), alert("Hot", node="n2")
    assert line.at(0, down, hot) == ["pager: Down"]
    assert line.at(60, down, hot, elsewhere) == []
    assert line.at(70, down, hot, elsewhere) == ["ops: Hot"]
    assert [dict(i.labels)["node"] for i in line.groups["ops{alertname='Hot'}"].notified] == ["n2"]
    assert line.at(130, ended(down, 100), hot, elsewhere) == ["ops: Hot Hot", "pager: - over Down"]


def test_an_alert_that_is_inhibited_after_it_was_sent_is_not_called_over() -> None:
    line, hot, down = timeline(), alert("Hot", node="n1"), alert("Down", "critical", node="n1")
    line.at(0, hot)
    line.at(10, hot)
    assert line.at(100, hot, down) == ["pager: Down"]
    assert line.at(200, ended(hot, 190), down) == ["ops: - over Hot"]


def test_a_route_is_silent_in_its_interval_and_sends_after_it() -> None:
    line, page = timeline(), alert("Page", team="night")
    assert [line.at(second, page) for second in (0, 10, 299)] == [[], [], []]
    assert line.groups == {}
    assert next_due(line.stages, Picture([page], line.groups), 245.0) == 300.0
    assert line.at(300, page) == []
    assert line.at(310, page) == ["night: Page"]


def test_alerts_that_take_another_route_after_a_reload_are_called_over_when_they_are() -> None:
    line, slow = timeline(), alert("Slow")
    line.at(0, slow)
    assert line.at(10, slow) == ["ops: Slow"]
    first = '- {matchers: [alertname="Slow"], receiver: night}\n    - {matchers: [severity="critical"], receiver'
    line.stages = stages(TREE.replace('- {matchers: [severity="critical"], receiver', first))
    assert line.at(100, slow) == []
    assert line.at(110, slow) == ["night: Slow"]
    assert line.at(200, ended(slow, 190)) == ["night: - over Slow", "ops: - over Slow"]
    assert not any(group.is_open for group in line.groups.values())


def test_a_group_ends_its_alerts_one_after_another_when_all_take_another_route() -> None:
    line, slow, other = timeline(), alert("Slow", node="n1"), alert("Slow", node="n2")
    line.at(0, slow, other)
    assert line.at(10, slow, other) == ["ops: Slow Slow"]
    first = '- {matchers: [alertname="Slow"], receiver: night}\n    - {matchers: [severity="critical"], receiver'
    line.stages = stages(TREE.replace('- {matchers: [severity="critical"], receiver', first))
    line.at(20, slow, other)
    assert line.at(30, slow, other) == ["night: Slow Slow"]
    # ops has a group_interval of a minute.
    assert line.at(69, ended(slow, 60), other) == []
    assert line.at(70, ended(slow, 60), other) == ["ops: Slow over Slow"]
    assert line.at(90, ended(slow, 60), other) == ["night: Slow over Slow"]
    # Until then only the minutes of the time interval are due.
    assert next_due(line.stages, Picture([ended(slow, 60), other], line.groups), 91) == 120
    assert line.at(140, ended(slow, 60), ended(other, 135)) == ["ops: - over Slow"]


def test_an_alert_that_ended_when_the_routes_changed_is_told_to_its_old_receiver_only() -> None:
    line, slow = timeline(), alert("Slow")
    line.at(0, slow)
    line.at(10, slow)
    first = '- {matchers: [alertname="Slow"], receiver: night}\n    - {matchers: [severity="critical"], receiver'
    line.stages = stages(TREE.replace('- {matchers: [severity="critical"], receiver', first))
    assert line.at(100, ended(slow, 90)) == ["ops: - over Slow"]


def test_a_receiver_that_is_gone_is_told_nothing() -> None:
    line, slow = timeline(), alert("Slow")
    line.at(0, slow)
    line.at(10, slow)
    line.stages = replace(stages(TREE.replace("ops", "new")), notifiers={"new": ("new",)})
    assert line.at(100, ended(slow, 90)) == []
    assert "ops{alertname='Slow'} closed: the receiver or the grouping has changed" in line.sentences


def test_a_receiver_that_is_gone_and_could_not_deliver_is_told_of_the_end_which_its_substitutes_get() -> None:
    line, slow = timeline(), alert("Slow")
    line.at(0, slow)
    assert line.at(10, slow) == ["ops: Slow"]
    line.stages = replace(stages(TREE.replace("ops", "new")), notifiers={"new": ("new",)})
    line.deliveries = Deliveries(dead={"ops{alertname='Slow'}"})
    assert line.at(100, slow) == []
    assert line.at(110, slow) == ["new: Slow"]
    assert line.at(200, ended(slow, 190)) == ["new: - over Slow", "ops: - over Slow"]
    assert line.at(1000, ended(slow, 190)) == []


def test_a_group_whose_route_is_gone_tells_of_ends_only() -> None:
    line, hot = timeline(), alert("Hot", "critical", team="gpu", node="n1")
    line.at(0, hot)
    line.stages = stages(TREE.replace('severity="critical"', 'severity="fatal"'))
    assert line.at(1, hot) == []
    assert line.at(10, hot) == ["gpu: Hot"]
    assert line.at(7200, hot) == ["gpu: Hot"]  # the pager is not told again
    assert line.at(7300, ended(hot, 7290)) == ["gpu: - over Hot", "pager: - over Hot"]
    assert not any(group.is_open for group in line.groups.values())


def test_a_route_that_moves_within_the_file_keeps_its_groups() -> None:
    line, hot = timeline(), alert("Hot", team="gpu", node="n1")
    line.at(0, hot)
    assert line.at(10, hot) == ["gpu: Hot"]
    line.stages = stages(TREE.replace("  routes:\n", '  routes:\n    - {matchers: [team="new"], receiver: ops}\n'))
    assert line.at(20, hot) == []
    assert [key for key, group in line.groups.items() if group.is_open] == [f"{GPU}{{node='n1'}}"]


def receivers(labels: Mapping[str, str]) -> list[str]:
    """Return the notifiers of an alert."""
    return [outlet.notifier for outlet in stages().outlets(labels_of(labels))]


def test_outlets() -> None:
    assert receivers({"severity": "critical", "team": "gpu"}) == ["pager", "gpu"]
    assert receivers({"severity": "critical"}) == ["pager"]
    assert receivers({"severity": "none"}) == []


def escalating() -> Stages:
    """Return stages with two steps of escalation."""
    steps = (Escalation(900.0, "pager"), Escalation(2700.0, "boss"))
    return made(root("ops", ("alertname",), interval_s=60, repeat_s=86_400), steps)


def made(node: Node, steps: tuple[Escalation, ...]) -> Stages:
    routing = Routing(replace(node, escalation=steps), {})
    return Stages(routing, {name: (name,) for name in ("ops", "pager", "boss")}, "")


def test_an_alert_that_nobody_acknowledges_goes_to_further_receivers_and_so_does_its_end() -> None:
    line, slow = Timeline(escalating()), alert("Slow")
    told = {second: line.at(second, slow) for second in (0, 10, 899, 900, 2699, 2700, 9000)}
    assert {second: messages for second, messages in told.items() if messages} == {
        10: ["ops: Slow"],
        900: ["pager: Slow"],
        2700: ["boss: Slow"],
    }
    assert sorted(line.groups) == ["boss^45m{alertname='Slow'}", "ops{alertname='Slow'}", "pager^15m{alertname='Slow'}"]
    assert line.at(9100, ended(slow, 9050)) == ["boss: - over Slow", "ops: - over Slow", "pager: - over Slow"]


def test_what_ends_before_a_step_is_not_sent_there() -> None:
    line, slow = Timeline(escalating()), alert("Slow")
    line.at(0, slow)
    assert line.at(10, slow) == ["ops: Slow"]
    assert line.at(800, ended(slow, 790)) == ["ops: - over Slow"]
    assert line.at(900, ended(slow, 790)) == []
    assert not any(group.is_open for group in line.groups.values())


def test_an_acknowledgement_stops_the_steps_that_were_not_sent() -> None:
    line, slow = Timeline(escalating()), alert("Slow")
    for second in (0, 10):
        line.at(second, slow)
    line.holds = Holds((), {slow.fingerprint: Acknowledgement(slow.fingerprint, 0.0, "ann", 600.0, until=3600.0)})
    assert [line.at(second, slow) for second in (900, 2700, 3599)] == [[], [], []]
    line.holds = Holds()
    assert line.at(3600, slow) == ["boss: Slow", "ops: Slow", "pager: Slow"]


def test_a_step_says_which_one_it_is_and_names_the_group_that_it_goes_on_from() -> None:
    line, slow = Timeline(escalating()), alert("Slow")
    sent = {second: line.messages(second, slow) for second in (0, 10, 900, 2700)}
    above = Above("ops{alertname='Slow'}", 0)
    assert [(one.receiver, one.escalated) for second in sent for one in sent[second]] == [
        ("ops", None),
        ("pager", Escalated(1, 2, 900.0, (above,))),
        ("boss", Escalated(2, 2, 2700.0, (above,))),
    ]
    assert [one.escalated for one in line.messages(9100, ended(slow, 9050))] == [None, None, None]


def test_two_steps_to_one_notifier_at_one_time_are_one_group() -> None:
    twice = made(root("ops", ("alertname",)), (Escalation(900.0, "pager"), Escalation(900.0, "pager")))
    assert [outlet.key(()) for outlet in twice.of(twice.routing.root)] == ["ops{}", "pager^15m{}"]
