"""Alerts whose data is on another server: its own `up` says whether a target can be believed."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import pytest

from alerts.errors import QueryFailed
from alerts.evaluate import GroupEvaluator
from alerts.interfaces import AlertInstance, Transition, VectorSample
from alerts.lookback import lookbacks
from alerts.rules import parse_rules
from alerts.template import Surroundings
from collectors.samples import Layout, Series, labels_of
from controlplane.metrics.origins import RemoteOrigins, TargetOrigins
from controlplane.metrics.promql.engine import PromqlEngine
from controlplane.metrics.query.querier import MetricsQuerier
from controlplane.metrics.series.series_store import SeriesStore

RULES = """
groups:
- name: g
  rules:
  - {alert: Deep, expr: "max by (model) (depth) > 10", labels: {severity: "{{ $labels.model }}"}}
  - {alert: Busy, expr: "sum by (model) (rate(requests[2m])) > 5"}
"""
AWAY = """
groups:
- name: g
  rules:
  - {alert: Away, expr: 'up == 0 unless ignoring (engine) target_up{engine="triton"}'}
"""
STEP_S = 15.0


class Log:
    """Keeps instances and sentences."""

    def __init__(self) -> None:
        self.rules: dict[str, tuple[AlertInstance, ...]] = {}
        self.sentences: list[str] = []

    def load(self, rule: str) -> tuple[AlertInstance, ...]:
        return self.rules.get(rule, ())

    def record(self, rule: str, instances: Sequence[AlertInstance], transitions: Sequence[Transition]) -> None:
        self.rules[rule] = tuple(instances)
        self.sentences += [t.sentence for t in transitions]


class Far:
    """Another server, which scrapes two targets, and a control plane that asks it."""

    def __init__(self, rules: str = RULES) -> None:
        self.at = 1_000_000.0
        self.store, self.log = SeriesStore(), Log()
        self.querier = MetricsQuerier(PromqlEngine(self.store))
        self.fault = ""
        self.layouts: dict[str, Layout] = {}
        self.up: dict[str, float | None] = {}
        self.depth: dict[str, float] = {}
        self.count = 0.0
        self.removed: set[str] = set()
        self.renamed: set[str] = set()
        """Instances that expose `depth` under another name."""
        groups = parse_rules(rules, "f")
        own = TargetOrigins(SeriesStore(), list)
        own.configure(groups, lookbacks(groups))
        self.evaluator = GroupEvaluator(
            groups[0], self, self.log, SeriesStore(), self, around=Surroundings(), origins=RemoteOrigins(self, own)
        )

    def now(self) -> float:
        return self.at

    async def instant(self, expr: str, at: float) -> list[VectorSample]:
        if self.fault and self.fault in expr:
            raise QueryFailed("timeout: it does not answer")
        return list(await self.querier.instant(expr, at))

    def put(self, source: str, name: str, value: float, instance: str) -> None:
        labels = {"job": "vllm", "instance": instance, "model": 'a "b"'}
        layout = self.layouts.setdefault(f"{source}{name}", Layout((Series(name, labels_of(labels)),)))
        self.store.append(f"{source}{name}", layout, round(self.at * 1000), np.array([value]))

    async def run(self, seconds: float) -> list[str]:
        """Scrape and evaluate; return the errors of the last evaluation."""
        end, errors = self.at + seconds, []
        while self.at < end:
            self.count += 300
            for instance, up in self.up.items():
                if up is not None:
                    self.put(instance, "up", up, instance)
                for name, value in (("depth", self.depth.get(instance, 1.0)), ("requests", self.count)):
                    if up and name == "depth" and instance in self.renamed:
                        self.store.end(f"{instance}{name}", round(self.at * 1000))
                    elif up:
                        self.put(instance, name, value, instance)
                    elif up is not None or f"{instance}up" in self.removed:
                        self.store.end(f"{instance}{name}", round(self.at * 1000))
            report = await self.evaluator.evaluate()
            errors = [r.last_error for r in report.rules if r.last_error]
            self.at += STEP_S
        return errors

    def states(self) -> dict[str, tuple[str, tuple[str, ...]]]:
        return {
            dict(i.labels)["alertname"]: (i.state.value, i.away)
            for instances in self.log.rules.values()
            for i in instances
            if i.state.value != "inactive"
        }


@pytest.fixture
def far() -> Iterator[Far]:
    made = Far()
    yield made
    made.querier.close()


FIRING = ("firing", ())
BOTH = {"Deep": FIRING, "Busy": FIRING}


async def test_a_target_that_the_server_cannot_read_ends_nothing(far: Far) -> None:
    far.up, far.depth = {"a:1": 1, "b:1": 1}, {"a:1": 50.0}
    await far.run(120)
    assert far.states() == BOTH
    far.up["a:1"] = 0
    await far.run(1200)
    assert far.states() == {"Deep": ("firing", ("vllm/a:1",)), "Busy": FIRING}  # b alone keeps it busy
    assert far.log.sentences[-1] == (
        'Deep stays firing but is unknown: its target vllm/a:1 is down, by that server (was: value 50 on model=a "b")'
    )
    far.up["a:1"], far.depth["a:1"] = 1, 2.0
    await far.run(STEP_S)
    assert far.states() == {"Busy": FIRING}


async def test_data_that_says_fine_ends_it_at_once(far: Far) -> None:
    far.up, far.depth = {"a:1": 1, "b:1": 0}, {"a:1": 50.0}
    await far.run(120)
    far.depth["a:1"] = 2.0
    await far.run(STEP_S)
    assert far.states() == {"Busy": FIRING}


async def test_a_window_that_is_half_empty_after_an_outage_proves_nothing(far: Far) -> None:
    far.up = {"a:1": 1}
    await far.run(150)
    far.up["a:1"] = 0
    await far.run(600)
    assert far.states() == {"Busy": ("firing", ("vllm/a:1",))}
    far.up["a:1"] = 1
    await far.run(STEP_S)
    assert far.states() == {"Busy": ("firing", ("vllm/a:1",))}
    await far.run(2 * STEP_S)
    assert far.states() == {"Busy": FIRING}


async def test_a_target_that_is_heard_of_no_more_is_taken_for_removed_after_an_hour(far: Far) -> None:
    far.up, far.depth = {"a:1": 1, "b:1": 1}, {"a:1": 50.0}
    await far.run(120)
    far.up["a:1"] = None
    far.removed = {"a:1up"}
    far.store.end("a:1up", round(far.at * 1000) - 1)
    await far.run(3500)
    assert far.states() == {"Deep": ("firing", ("vllm/a:1",)), "Busy": FIRING}
    await far.run(300)
    assert far.states() == {"Busy": FIRING}
    assert far.log.sentences[-1].endswith("; its target vllm/a:1 is no longer configured")


async def test_a_server_that_does_not_tell_freezes_the_alert(far: Far) -> None:
    far.up, far.depth = {"a:1": 1, "b:1": 1}, {"a:1": 50.0}
    await far.run(120)
    far.up["a:1"], far.fault = 0, "up"
    assert await far.run(60) == ["timeout: it does not answer"]
    assert far.states() == {"Deep": ("firing", ("its query",)), "Busy": FIRING}


async def test_samples_that_do_not_arrive_are_no_news(far: Far) -> None:
    far.up = {"b:1": 1}
    await far.run(120)
    assert far.states() == {"Busy": FIRING}
    far.up = {"b:1": None}
    await far.run(900)
    assert far.states() == {"Busy": ("firing", ("vllm/b:1",))}


async def test_a_metric_that_its_exporter_renames_is_no_good_news(far: Far) -> None:
    far.up, far.depth = {"a:1": 1, "b:1": 1}, {"a:1": 50.0}
    await far.run(120)
    far.renamed.add("a:1")
    await far.run(1200)
    assert far.states() == {"Deep": ("firing", ("vllm/a:1",)), "Busy": FIRING}
    assert far.log.sentences[-1] == (
        "Deep stays firing but is unknown: its target vllm/a:1 answers without depth, by that server "
        '(was: value 50 on model=a "b")'
    )
    far.renamed.clear()
    far.depth["a:1"] = 2.0
    await far.run(STEP_S)
    assert far.states() == {"Busy": FIRING}


async def test_a_target_of_a_job_that_is_no_engine_is_believed_without_target_up() -> None:
    far = Far(AWAY)
    far.up = {"a:1": 1}
    far.put("t", "target_up", 1.0, "other:1")
    await far.run(60)
    far.up["a:1"] = 0
    await far.run(60)
    assert far.states() == {"Away": FIRING}
    far.up["a:1"] = 1
    await far.run(STEP_S)
    assert far.states() == {}
    far.querier.close()
