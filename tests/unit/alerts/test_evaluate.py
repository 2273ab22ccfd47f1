"""Group evaluation over the real series store and PromQL engine, on a clock that tests move."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest

from alerts.errors import QueryFailed
from alerts.evaluate import GroupEvaluator, StatesSeen, Told
from alerts.interfaces import AlertInstance, AlertState, Querier, VectorSample
from alerts.recording.stored_series import PART
from alerts.rules import RuleGroup, parse_rules
from alerts.template import Surroundings
from collectors.samples import FloatArray, Layout, Series, labels_of
from controlplane.metrics.promql.engine import PromqlEngine
from controlplane.metrics.promql.values import Vector
from controlplane.metrics.query.querier import MetricsQuerier
from controlplane.metrics.series.series_store import SeriesStore


def group(rules: str, extra: str = "") -> RuleGroup:
    (parsed,) = parse_rules(f"groups:\n- name: g\n{extra}  rules:\n{rules}", "f")
    return parsed


@dataclass
class Fleet:
    """A series store with one metric that tests set, and an evaluator over it."""

    evaluator: GroupEvaluator
    store: SeriesStore
    querier: MetricsQuerier
    layouts: dict[str, Layout] = field(default_factory=dict)

    def put(self, at: float, value: float, **labels: str) -> None:
        key = repr(sorted(labels.items()))
        layout = self.layouts.setdefault(key, Layout(raw=(Series("temp", labels_of(labels)),)))
        self.store.append(key, layout, round(at * 1000), np.array([value]))

    def query(self, expr: str, at: float) -> list[tuple[dict[str, str], float]]:
        value = self.querier.engine.instant(expr, at)
        assert isinstance(value, Vector)
        return [(dict(s.labels), s.value) for s in value.samples]


@pytest.fixture
def fleet(memory_log: Any, clock: Any) -> Any:
    made: list[Fleet] = []

    def make(
        parsed: RuleGroup, querier: Querier | None = None, log: Any = None, store: SeriesStore | None = None
    ) -> Fleet:
        store = store or SeriesStore(retention_s=86400.0)
        own = MetricsQuerier(PromqlEngine(store))
        evaluator = GroupEvaluator(parsed, querier or own, log or memory_log, store, clock, around=Surroundings())
        made.append(Fleet(evaluator, store, own))
        return made[-1]

    yield make
    for one in made:
        one.querier.close()


HOT = "  - {alert: Hot, expr: temp > 85, for: 30s, labels: {severity: warning}}\n"


async def test_alerts_are_remembered_and_written_as_series(fleet: Any, memory_log: Any) -> None:
    f = fleet(group(HOT))
    for at, value in [(1000, 90), (1030, 91)]:
        f.put(at, value, gpu="0")
        report = await f.evaluator.evaluate(at)
    labels = {"alertname": "Hot", "gpu": "0", "severity": "warning"}
    assert f.query("ALERTS", 1000) == [({"__name__": "ALERTS", "alertstate": "pending", **labels}, 1.0)]
    assert f.query("ALERTS", 1030) == [({"__name__": "ALERTS", "alertstate": "firing", **labels}, 1.0)]
    assert f.query("ALERTS_FOR_STATE", 1030) == [({"__name__": "ALERTS_FOR_STATE", **labels}, 1000.0)]
    assert [i.state.value for i in memory_log.rules["f;g;Hot"]] == ["firing"]
    assert (report.rules[0].health, report.rules[0].state, report.rules[0].last_evaluation) == ("ok", "firing", 1030)
    f.put(1045, 20, gpu="0")
    report = await f.evaluator.evaluate(1045)
    assert f.query("ALERTS", 1045) == []
    assert report.rules[0].state == "inactive"
    assert report.rules[0].instances == ()


async def test_later_rules_see_what_earlier_ones_wrote_in_the_same_cycle(fleet: Any) -> None:
    rules = (
        "  - {record: 'node:temp:max', expr: max(temp), labels: {kind: max}}\n"
        "  - {alert: Hot, expr: 'node:temp:max > 85'}\n"
        "  - {alert: Any, expr: 'count(ALERTS{alertname=\"Hot\"}) >= 1'}\n"
    )
    f = fleet(group(rules))
    f.put(1000, 90, gpu="0")
    f.put(1000, 95, gpu="1")
    report = await f.evaluator.evaluate(1000)
    assert [r.state for r in report.rules[1:]] == ["firing", "firing"]
    assert f.query('{__name__="node:temp:max"}', 1000) == [({"__name__": "node:temp:max", "kind": "max"}, 95.0)]


async def test_recorded_series_that_are_gone_end_at_once(fleet: Any) -> None:
    f = fleet(group("  - {record: 'x:hot', expr: temp > 85}\n"))
    f.put(1000, 90, gpu="0")
    await f.evaluator.evaluate(1000)
    f.put(1015, 20, gpu="0")
    await f.evaluator.evaluate(1015)
    assert f.query("{__name__='x:hot'}", 1000) == [({"__name__": "x:hot", "gpu": "0"}, 90.0)]
    assert f.query("{__name__='x:hot'}", 1015) == []


async def test_a_failing_rule_says_so_and_the_others_go_on(fleet: Any) -> None:
    rules = (
        "  - {record: 'x:dup', expr: temp, labels: {gpu: all}}\n"
        "  - {alert: Dup, expr: temp > 0, labels: {gpu: all}}\n"
        "  - {alert: Fine, expr: sum(temp) > 0}\n"
    )
    f = fleet(group(rules))
    f.put(1000, 1, gpu="0")
    f.put(1000, 1, gpu="1")
    for at in (1000, 1001):
        report = await f.evaluator.evaluate(at)
    assert [r.health for r in report.rules] == ["err", "err", "ok"]
    assert [r.failures for r in report.rules] == [2, 2, 0]
    assert "two results have the same labels {'gpu': 'all'}" in report.rules[0].last_error
    assert [labels["alertname"] for labels, _ in f.query("ALERTS", 1001)] == ["Fine"]


async def test_a_group_limit_is_an_error_and_not_a_cut(fleet: Any) -> None:
    f = fleet(group("  - {alert: Hot, expr: temp > 0}\n", extra="  limit: 1\n"))
    f.put(1000, 1, gpu="0")
    f.put(1000, 1, gpu="1")
    report = await f.evaluator.evaluate(1000)
    assert report.rules[0].last_error == "Hot: 2 results, the group's limit is 1"


async def test_a_query_offset_looks_back_and_writes_there(fleet: Any) -> None:
    f = fleet(group("  - {record: 'x:temp', expr: temp}\n", extra="  query_offset: 1m\n"))
    f.put(1000, 7, gpu="0")
    f.put(1060, 8, gpu="0")
    await f.evaluator.evaluate(1060)
    assert f.query("{__name__='x:temp'}", 1000) == [({"__name__": "x:temp", "gpu": "0"}, 7.0)]


async def test_closing_ends_every_series(fleet: Any) -> None:
    f = fleet(group(HOT + "  - {record: 'x:temp', expr: temp}\n"))
    f.put(1000, 90, gpu="0")
    await f.evaluator.evaluate(1000)
    f.evaluator.close(1010)
    assert f.query("{__name__=~'ALERTS.*|x:temp'}", 1010) == []


async def test_the_clock_is_asked_when_no_time_is_given(fleet: Any, clock: Any) -> None:
    f = fleet(group(HOT))
    clock.at = 5000.0
    assert (await f.evaluator.evaluate()).last_evaluation == 5000.0


@dataclass
class ScriptedQuerier:
    """A Querier whose next answer or error a test sets."""

    answer: Sequence[VectorSample] | Exception = ()

    async def instant(self, expr: str, at: float) -> Sequence[VectorSample]:
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer


HOT_NOW = [VectorSample((("gpu", "0"),), 91.0)]


async def test_a_failed_query_freezes_states_and_resolves_nothing(fleet: Any, memory_log: Any) -> None:
    querier = ScriptedQuerier(HOT_NOW)
    f = fleet(group(HOT), querier)
    await f.evaluator.evaluate(0)
    await f.evaluator.evaluate(30)
    querier.answer = QueryFailed("timeout: query timed out")
    for at in (45, 60, 3600):
        report = await f.evaluator.evaluate(at)
    assert report.rules[0].health == "err"
    assert report.rules[0].last_error == "timeout: query timed out"
    assert report.rules[0].state == "firing"
    querier.answer = ()
    assert (await f.evaluator.evaluate(3615)).rules[0].health == "ok"
    assert [t.at for t in memory_log.transitions] == [0, 30, 45, 3615]
    assert memory_log.sentences()[2] == (
        "Hot stays firing but is unknown: its query failed: timeout: query timed out (was: value 91 on gpu=0)"
    )


async def test_a_failed_query_does_not_end_what_keep_firing_for_holds(fleet: Any, memory_log: Any) -> None:
    querier = ScriptedQuerier(HOT_NOW)
    f = fleet(group("  - {alert: Hot, expr: temp > 85, keep_firing_for: 1m}\n"), querier)
    await f.evaluator.evaluate(0)
    querier.answer = ()
    await f.evaluator.evaluate(15)
    querier.answer = QueryFailed("timeout: query timed out")
    for at in (30, 90, 600):
        report = await f.evaluator.evaluate(at)
        assert report.rules[0].state == "firing", "the condition may hold again"
    assert f.query("ALERTS", 600) != [], "its series goes on while it fires"
    querier.answer = ()
    assert (await f.evaluator.evaluate(615)).rules[0].state == "inactive"
    assert [t.at for t in memory_log.transitions] == [0, 615]


async def test_a_restart_keeps_what_is_pending(fleet: Any, memory_log: Any) -> None:
    first = fleet(group(HOT), ScriptedQuerier(HOT_NOW))
    await first.evaluator.evaluate(0)
    second = fleet(group(HOT), ScriptedQuerier(HOT_NOW))
    report = await second.evaluator.evaluate(30)
    assert report.rules[0].state == "firing"
    assert report.rules[0].instances[0].active_at == 0


async def test_a_write_that_failed_is_read_again(fleet: Any, memory_log: Any) -> None:
    f = fleet(group(HOT), ScriptedQuerier(HOT_NOW))
    await f.evaluator.evaluate(0)
    memory_log.fail = RuntimeError("database is away")
    with pytest.raises(RuntimeError, match="database is away"):
        await f.evaluator.evaluate(30)
    assert f.evaluator.report().rules[0].state == "pending"
    memory_log.fail = None
    assert (await f.evaluator.evaluate(45)).rules[0].state == "firing"
    assert [(t.at, t.after) for t in memory_log.transitions] == [(0, AlertState.PENDING), (45, AlertState.FIRING)]


async def test_after_a_reset_the_log_is_believed(fleet: Any, memory_log: Any) -> None:
    f = fleet(group(HOT), ScriptedQuerier(HOT_NOW))
    await f.evaluator.evaluate(0)
    memory_log.rules.clear()
    f.evaluator.reset()
    assert (await f.evaluator.evaluate(100)).rules[0].instances[0].active_at == 100


@dataclass
class CountingSink:
    layouts: list[Layout] = field(default_factory=list)

    def append(self, source: str, layout: Layout, timestamp_ms: int, values: FloatArray) -> None:
        self.layouts.append(layout)

    def end(self, source: str, timestamp_ms: int) -> None: ...


async def test_an_unchanged_shape_is_the_same_layout_object(memory_log: Any, clock: Any) -> None:
    sink = CountingSink()
    querier = ScriptedQuerier(HOT_NOW)
    evaluator = GroupEvaluator(
        group("  - {record: 'x:t', expr: temp}\n"), querier, memory_log, sink, clock, around=Surroundings()
    )
    for at in (0, 15):
        await evaluator.evaluate(at)
    querier.answer = [*HOT_NOW, VectorSample((("gpu", "1"),), 1.0)]
    await evaluator.evaluate(30)
    first, second, third = sink.layouts
    assert first is second
    assert third is not first


async def test_a_target_that_comes_changes_the_description_of_one_part(memory_log: Any, clock: Any) -> None:
    sink, many = CountingSink(), [VectorSample((("gpu", str(n)),), float(n)) for n in range(1000)]
    querier = ScriptedQuerier(many)
    evaluator = GroupEvaluator(
        group("  - {record: 'x:t', expr: temp}\n"), querier, memory_log, sink, clock, around=Surroundings()
    )
    await evaluator.evaluate(0)
    first = list(sink.layouts)
    assert len(first) == 8 and sum(len(layout.raw) for layout in first) == 1000
    assert max(len(layout.raw) for layout in first) < 3 * PART
    querier.answer = [*many[1:], VectorSample((("gpu", "new"),), 1.0)]
    await evaluator.evaluate(15)
    changed = [layout for layout in sink.layouts[8:] if not any(layout is old for old in first)]
    assert len(sink.layouts) == 16 and 1 <= len(changed) <= 2


async def test_a_rule_that_grows_into_parts_keeps_its_series_and_ends_those_that_are_gone(fleet: Any) -> None:
    f = fleet(group("  - {record: 'x:t', expr: temp > 0}\n"))
    for n in range(100):
        f.put(1000, 50, gpu=str(n))
    await f.evaluator.evaluate(1000)
    f.put(1015, -1, gpu="0")
    for n in range(1, 300):
        f.put(1015, 60, gpu=str(n))
    await f.evaluator.evaluate(1015)
    assert len(f.query("{__name__='x:t'}", 1000)) == 100
    found = f.query("{__name__='x:t'}", 1015)
    assert len(found) == 299 and {value for _, value in found} == {60.0}
    f.evaluator.close(1030)
    assert f.query("{__name__='x:t'}", 1030) == []


async def test_a_process_that_begins_ends_what_an_earlier_one_stored_in_other_parts(fleet: Any) -> None:
    f = fleet(group("  - {record: 'x:t', expr: temp > 0}\n"))
    for n in range(300):
        f.put(1000, 50, gpu=str(n))
    await f.evaluator.evaluate(1000)
    for n in range(300):
        f.put(1015, 50 if n < 40 else -1, gpu=str(n))
    again = fleet(group("  - {record: 'x:t', expr: temp > 0}\n"), store=f.store)
    await again.evaluator.evaluate(1015)
    assert len(again.query("{__name__='x:t'}", 1014)) == 300
    assert len(again.query("{__name__='x:t'}", 1015)) == 40


async def test_templates_ask_their_queries_and_a_query_that_fails_is_said_in_the_text(fleet: Any) -> None:
    text = "{{ query `temp` | len }} of {{ query `count(temp)` | first | value }}"
    rules = (
        f'  - {{alert: Hot, expr: temp > 85, annotations: {{a: "{text}", b-c: "{{{{ query `temp + on` }}}}", '
        'd: "{{ (query `temp` | sortByLabel `gpu` | first).Labels.gpu }}"}}\n'
    )
    f = fleet(group(rules))
    f.put(1000, 90, gpu="1")
    f.put(1000, 20, gpu="0")
    report = await f.evaluator.evaluate(1000)
    (instance,) = report.rules[0].instances
    annotations = dict(instance.annotations)
    assert (annotations["a"], annotations["d"]) == ("2 of 2", "0")
    assert annotations["b-c"].startswith("<error expanding template: {{ query `temp + on` }}: query: ")
    assert "parse error" in annotations["b-c"]


async def test_a_query_of_many_templates_is_asked_once(fleet: Any, memory_log: Any) -> None:
    asked: list[str] = []

    class Counting:
        async def instant(self, expr: str, at: float) -> Sequence[VectorSample]:
            asked.append(expr)
            return [VectorSample(labels_of({"gpu": str(n)}), 90.0) for n in range(3)] if expr == "temp" else []

    rules = '  - {alert: Hot, expr: temp, annotations: {a: "{{ query `x` | len }}", b: "{{ len (query `x`) }}"}}\n'
    f = fleet(group(rules), Counting())
    report = await f.evaluator.evaluate(1000)
    assert [dict(i.annotations) for i in report.rules[0].instances] == [{"a": "0", "b": "0"}] * 3
    assert asked == ["temp", "x"]


FOLLOWED = """
  - {record: "temp:max", expr: "max(temp)"}
  - {alert: Hot, expr: "temp:max > 85", for: 1m}
  - {record: "temp:doubled", expr: "temp:max * 2"}
"""
FIRING = AlertInstance("f;g;Hot", labels_of({"alertname": "Hot"}), (), AlertState.FIRING, 91.0, 40.0, fired_at=100.0)


async def test_a_follower_records_and_shows_alerts_as_they_are_stored(fleet: Any, memory_log: Any) -> None:
    made = fleet(group(FOLLOWED))
    made.put(100.0, 95.0)
    told = {FIRING.rule: Told("other", 99.0, "err", "the store is gone", 98.0, 0.5)}
    report = await made.evaluator.follow(100.0, StatesSeen(99.5, {FIRING.rule: [FIRING]}), told)
    assert made.query("temp:doubled", 100.0) == [({"__name__": "temp:doubled"}, 190.0)]
    firing = {"__name__": "ALERTS", "alertname": "Hot", "alertstate": "firing"}
    assert made.query("ALERTS", 100.0) == [(firing, 1.0)]
    assert made.query("ALERTS_FOR_STATE", 100.0) == [({"__name__": "ALERTS_FOR_STATE", "alertname": "Hot"}, 40.0)]
    hot = report.rules[1]
    assert (hot.health, hot.last_error, hot.last_evaluation, hot.evaluation_s) == (
        "err",
        "the store is gone",
        98.0,
        0.5,
    )
    assert (hot.told_by, hot.told_at, hot.seen_at, hot.state) == ("other", 99.0, 99.5, "firing")
    assert [rule.told_by for rule in (report.rules[0], report.rules[2])] == ["", ""]
    assert memory_log.transitions == [], "nothing is decided here"


async def test_a_follower_that_cannot_read_states_shows_the_last_ones_and_writes_none(fleet: Any) -> None:
    made = fleet(group(FOLLOWED))
    made.put(100.0, 95.0)
    await made.evaluator.follow(100.0, StatesSeen(99.5, {FIRING.rule: [FIRING]}), {})
    made.put(115.0, 95.0)
    report = await made.evaluator.follow(115.0, None, {})
    assert (report.rules[1].instances, report.rules[1].seen_at) == ((FIRING,), 99.5)
    assert made.query("timestamp(ALERTS)", 115.0)[0][1] == 100.0
    assert made.query("timestamp(temp:max)", 115.0)[0][1] == 115.0


async def test_a_follower_that_takes_over_goes_on_from_what_is_stored(fleet: Any, memory_log: Any) -> None:
    made = fleet(group(FOLLOWED))
    made.put(100.0, 95.0)
    await made.evaluator.evaluate(100.0)
    (pending,) = memory_log.rules[FIRING.rule]
    await made.evaluator.follow(115.0, StatesSeen(115.0, {FIRING.rule: [pending]}), {})
    memory_log.rules[FIRING.rule] = (FIRING,)  # meanwhile, the other process has stored this
    made.put(130.0, 95.0)
    report = await made.evaluator.evaluate(130.0)
    (firing,) = report.rules[1].instances
    assert (firing.active_at, firing.fired_at) == (40.0, 100.0)
    assert (report.rules[1].told_by, report.rules[1].seen_at) == ("", None)
    assert [t.after for t in memory_log.transitions] == [AlertState.PENDING]


async def test_an_alert_that_is_over_elsewhere_ends_a_followers_series(fleet: Any) -> None:
    made = fleet(group(FOLLOWED))
    made.put(100.0, 95.0)
    await made.evaluator.follow(100.0, StatesSeen(100.0, {FIRING.rule: [FIRING]}), {})
    made.put(115.0, 50.0)
    report = await made.evaluator.follow(115.0, StatesSeen(115.0, {}), {})
    assert (made.query("ALERTS", 115.0), report.rules[1].state) == ([], "inactive")
