"""The cases of Prometheus's compliance suite for alert generators, as timelines: states, series, API fields, messages.

An evaluation every five seconds, right after a scrape. Times are seconds since the first one.
"""

from __future__ import annotations

import numpy as np

from alerts.interfaces import AlertInstance
from collectors.samples import Layout, Series, labels_of
from tests.scenario.data_world import STEP_S, T0, Make, World, gauge, make, rules, target

__all__ = ["make"]

ENGINE = target("custom", "e0:80")
SAME = {"instance": "e0:80", "job": "custom"}


async def states(world: World, steps: int, body: str | None = None, alert: str = "Case") -> str:
    """Evaluate some times; return the state of the alerts in ALERTS after each: `p`ending, `f`iring, `-` for none."""
    seen = ""
    for _ in range(steps):
        await world.run(STEP_S, {} if body is None else {"e0:80": body})
        found = await world.querier.instant(f'ALERTS{{alertname="{alert}"}}', world.at - STEP_S)
        seen += "".join(sorted(dict(sample.labels)["alertstate"][0] for sample in found)) or "-"
    return seen


async def since(world: World) -> list[float]:
    """Return the values of ALERTS_FOR_STATE at the last evaluation, in seconds since the first."""
    found = await world.querier.instant("ALERTS_FOR_STATE", world.at - STEP_S)
    return sorted(sample.value - T0 for sample in found)


def sent(world: World) -> list[tuple[str, list[float]]]:
    """Return the messages, each with the starts of its alerts."""

    def starts(alerts: tuple[AlertInstance, ...]) -> list[float]:
        return sorted((alert.fired_at or 0) - T0 for alert in alerts)

    return [(message.status, starts(message.firing or message.resolved)) for message in world.box.got]


def transitions(world: World) -> list[tuple[float, str, str]]:
    return [(e.at - T0, e.before.value, e.after.value) for e in reversed(world.log.recent(1000))]


async def test_pending_and_firing_and_resolved(make: Make) -> None:
    world = make(rules("alert: Case, expr: depth > 10, for: 20s"), ENGINE)
    assert await states(world, 3, gauge("depth", 10)) == "---"
    assert await states(world, 4, gauge("depth", 11)) == "pppp"
    assert (await since(world), sent(world)) == ([15], [])
    assert await states(world, 3, gauge("depth", 12)) == "fff"
    assert (await since(world), sent(world)) == ([15], [("firing", [35])])
    assert await states(world, 3, gauge("depth", 9)) == "---"
    assert (await since(world), sent(world)) == ([], [("firing", [35]), ("resolved", [35])])
    assert transitions(world) == [(15, "inactive", "pending"), (35, "pending", "firing"), (50, "firing", "inactive")]


async def test_pending_and_resolved_and_always_inactive(make: Make) -> None:
    world = make(rules("alert: Case, expr: depth > 10, for: 20s", "alert: Never, expr: depth > 1000"), ENGINE)
    assert await states(world, 2, gauge("depth", 1)) == "--"
    assert await states(world, 4, gauge("depth", 11)) == "pppp"
    assert await states(world, 10, gauge("depth", 1)) == "-" * 10
    assert sent(world) == []
    assert transitions(world) == [(10, "inactive", "pending"), (30, "pending", "inactive")]
    never = world.evaluators[0].report().rules[1]
    assert (never.health, never.state, never.instances, never.last_error) == ("ok", "inactive", (), "")


async def test_zero_for_and_a_for_shorter_than_the_interval(make: Make) -> None:
    fors = {"Case": "", "Small": ", for: 3s", "Zero": ", for: 0s"}
    world = make(rules(*(f"alert: {name}, expr: depth > 10{each}" for name, each in fors.items())), ENGINE)
    await world.run(STEP_S, {"e0:80": gauge("depth", 1)})
    assert await states(world, 1, gauge("depth", 11)) == "f"
    assert {name: state for name, (state, *_) in world.active().items()} == {
        "Case": "firing", "Small": "pending", "Zero": "firing",
    }  # fmt: skip
    assert await states(world, 1, alert="Small") == "f"
    fired = {
        dict(alert.labels)["alertname"]: (alert.active_at - T0, (alert.fired_at or 0) - T0)
        for alert in world.log.active()
    }
    assert fired == {"Case": (5, 5), "Small": (5, 10), "Zero": (5, 5)}


async def test_new_labels_in_the_middle_are_alerts_of_their_own(make: Make) -> None:
    world = make(rules("alert: Case, expr: depth > 10, for: 10s"), ENGINE)
    one, two = gauge("depth", 50, pod="a"), gauge("depth", 60, pod="b")
    assert await states(world, 4, one) == "ppff"
    assert await states(world, 1, one + two.partition("\n")[2]) == "fp"
    assert await since(world) == [0, 20]
    assert await states(world, 2) == "fpff"
    assert sent(world) == [("firing", [10]), ("firing", [10, 30])]
    assert await states(world, 1, two) == "f"
    await world.run(STEP_S)
    assert [len(message.resolved) for message in world.box.got] == [0, 0, 1]
    assert dict(world.box.got[-1].resolved[0].labels)["pod"] == "a"


async def test_a_recurrence_is_a_new_alert_with_a_new_start(make: Make) -> None:
    world = make(rules("alert: Case, expr: depth > 10, for: 10s"), ENGINE)
    assert await states(world, 3, gauge("depth", 50)) == "ppf"
    assert await states(world, 2, gauge("depth", 1)) == "--"
    assert await states(world, 4, gauge("depth", 50)) == "ppff"
    assert await states(world, 2, gauge("depth", 1)) == "--"
    assert sent(world) == [("firing", [10]), ("resolved", [10]), ("firing", [35]), ("resolved", [35])]


ORDER = """\
groups:
- name: g
  rules:
  - {alert: Early, expr: 'count(ALERTS{alertname="Case", alertstate="firing"}) > 0'}
  - {record: doubled, expr: depth * 2}
  - {alert: Case, expr: doubled > 20}
  - {alert: After, expr: 'count(ALERTS{alertname="Case", alertstate="firing"}) > 0'}
"""


async def test_rules_run_in_the_order_of_the_file_at_one_timestamp(make: Make) -> None:
    world = make(ORDER, ENGINE)
    await world.run(2 * STEP_S, {"e0:80": gauge("depth", 1)})
    await world.run(STEP_S, {"e0:80": gauge("depth", 11)})
    assert set(world.active()) == {"Case", "After"}, "a later rule sees what an earlier one wrote in the same turn"
    await world.run(STEP_S)
    assert set(world.active()) == {"Case", "After", "Early"}
    await world.run(STEP_S, {"e0:80": gauge("depth", 1)})
    assert set(world.active()) == {"Early"}
    await world.run(STEP_S)
    assert world.active() == {}


TEMPLATES = """\
groups:
- name: g
  rules:
  - alert: Case
    expr: depth > 10
    labels:
      pod: 'rule-{{ $labels.pod }}'
      severity: '{{ if gt $value 20.0 }}critical{{ else }}warning{{ end }}'
      alertname: other
      gone: '{{ $labels.missing }}'
    annotations:
      summary: '{{ $labels.pod }} has {{ $value }} of {{ len $labels }}'
      severity: 'it is {{ $labels.severity }}.'
"""


async def test_templates_see_the_labels_of_the_query_and_labels_of_the_rule_win(make: Make) -> None:
    world = make(TEMPLATES, ENGINE)
    await world.run(STEP_S, {"e0:80": gauge("depth", 15, pod="a")})
    (alert,) = world.log.active()
    assert dict(alert.labels) == {"alertname": "Case", "pod": "rule-a", "severity": "warning", **SAME}
    assert dict(alert.annotations) == {"summary": "a has 15 of 4", "severity": "it is ."}
    await world.run(STEP_S, {"e0:80": gauge("depth", 18, pod="a")})
    (alert,) = world.log.active()
    assert dict(alert.annotations)["summary"] == "a has 18 of 4", "annotations follow the value"
    assert (alert.active_at - T0, alert.value) == (0, 18)
    await world.run(STEP_S, {"e0:80": gauge("depth", 25, pod="a")})
    (alert,) = world.log.active()
    assert dict(alert.labels)["severity"] == "critical", "another label is another alert"
    assert alert.active_at - T0 == 10
    assert [(m.status, len(m.firing), len(m.resolved)) for m in world.box.got] == [("firing", 1, 0), ("firing", 1, 1)]


async def test_a_series_that_ends_resolves_at_once(make: Make) -> None:
    world = make(rules("alert: Case, expr: 'depth{pod=\"a\"} > 10'"), ENGINE)
    both = gauge("depth", 50, pod="a") + 'depth{pod="b"} 1\n'
    assert await states(world, 2, both) == "ff"
    assert await states(world, 1, gauge("depth", 1, pod="b")) == "-"


async def test_a_pushed_series_that_only_stops_resolves_after_the_lookback(make: Make) -> None:
    world = make(rules("alert: Case, expr: pushed > 10"), ENGINE)
    layout = Layout((Series("pushed", labels_of({"job": "batch"})),))
    world.store.append("write:pushed", layout, round(T0 * 1000), np.array([50.0]))
    assert await states(world, 60, gauge("depth", 1)) == "f" * 60, "a sample counts for less than five minutes"
    assert await states(world, 2) == "--"
    assert sent(world) == [("firing", [0]), ("resolved", [0])]


async def test_equal_label_sets_fail_the_rule_and_change_nothing(make: Make) -> None:
    world = make(rules("alert: Case, expr: depth > 10, labels: {pod: all}", "alert: Other, expr: depth > 10"), ENGINE)
    both = gauge("depth", 50, pod="a") + 'depth{pod="b"} 60\n'
    await world.run(4 * STEP_S, {"e0:80": both}, failing=True)
    case, other = world.evaluators[0].report().rules
    assert (case.health, case.instances, other.health, len(other.instances)) == ("err", (), "ok", 2)
    assert "two results have the same labels" in case.last_error
    found = await world.querier.instant('ALERTS{alertname="Case"}', world.at - STEP_S)
    assert found == []
    await world.run(STEP_S, {"e0:80": gauge("depth", 50, pod="a")})
    assert world.evaluators[0].report().rules[0].health == "ok"
    assert "Case" in world.active()
    await world.run(2 * STEP_S, {"e0:80": both}, failing=True)
    assert world.active()["Case"][0] == "firing", "an alert that fires goes on while its rule fails"


async def test_keep_firing_for_outlives_a_restart(make: Make) -> None:
    world = make(rules("alert: Case, expr: depth > 10, keep_firing_for: 30s"), ENGINE)
    assert await states(world, 2, gauge("depth", 50)) == "ff"
    assert await states(world, 2, gauge("depth", 1)) == "ff"
    world.start()
    (alert,) = world.log.active()
    assert (alert.keep_firing_since or 0) - T0 == 10
    assert await states(world, 5) == "ffff-", "thirty seconds from the first result without it, restart or not"
    assert sent(world) == [("firing", [0]), ("resolved", [0])]


async def test_for_outlives_a_restart(make: Make) -> None:
    world = make(rules("alert: Case, expr: depth > 10, for: 20s"), ENGINE)
    assert await states(world, 2, gauge("depth", 50)) == "pp"
    world.start()
    assert await states(world, 3) == "ppf"
    assert (await since(world), sent(world)) == ([0], [("firing", [20])])
