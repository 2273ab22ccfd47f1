"""The whole way of the numbers: requests that a gateway records, its exposition, the scrape, the series, the look."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest

from collectors.catalogue.mapping import canonical_layout
from collectors.catalogue.model import load_catalogue
from collectors.exposition.parser import parse
from collectors.samples import Layout, Series
from collectors.target import Target
from controlplane.gateway.request import Content, Finish, Outcome
from controlplane.gateway.seams import Area
from controlplane.gateway.telemetry.columns import AREA_BYTES, exposition_of, meters_of
from controlplane.gateway.telemetry.recorder import WorkerRecorder
from controlplane.metrics.promql.engine import PromqlEngine
from controlplane.metrics.promql.values import QueryValue
from controlplane.metrics.series.series_store import SeriesStore
from controlplane.rollout.findings import Finding, Work, WorkKind
from controlplane.rollout.findings import Outcome as Verdict
from controlplane.rollout.options import Comparison
from controlplane.rollout.planning.building import DEFAULT_TOLERANCES
from controlplane.rollout.work.look import LookWorker
from tests.fakes.shared_memory import shared_memory
from tests.fakes.usage_records import record
from tests.unit.controlplane.rollout.work.test_look import BEGAN, rollout

GATEWAY = Target("gateway", "http://gw:9000/metrics", "gateway", "gw:9000")
SAID, CUT, NOTHING = (
    Content(Finish.STOP, said=True),
    Content(Finish.LENGTH, said=True),
    Content(Finish.STOP, said=False),
)
ALL = tuple(Comparison(metric, tolerance) for metric, tolerance in DEFAULT_TOLERANCES.items())


class Fleet:
    """One gateway that is scraped every 15 seconds, and looks at two versions behind it."""

    def __init__(self, memory: Area) -> None:
        self.recorder = WorkerRecorder(meters_of(memory, 5))
        self._exposition = exposition_of(memory)
        self._store = SeriesStore(retention_s=1e9)
        self._engine = PromqlEngine(self._store)
        self._catalogue = load_catalogue()
        self._layouts: dict[tuple[Series, ...], Layout] = {}
        self.at = BEGAN - 600
        self.found: Finding | None = None

    def answer(self, version: str, number: int, content: Content | None = SAID, **changes: object) -> None:
        """Count requests. Half of them have long prompts, and take three times as long."""
        for n in range(number):
            slow = 3.0 if n % 2 else 1.0
            usual = {"first_s": 0.2 * slow, "duration_s": 2.0 * slow, "prompt_tokens": 2000 if n % 2 else 20}
            fields = {**usual, "streamed": True, **changes}
            self.recorder.ended(record(version=version, content=content, **fields), opened=False)

    def scrape(self, seconds: float = 60.0) -> None:
        """Let time pass, and scrape every 15 s of it."""
        end = self.at + seconds
        while self.at < end:
            self.at += 15
            said = parse(self._exposition.text())
            layout = self._layouts.get(said.series)
            if layout is None:
                layout = canonical_layout(said.series, said.metadata, GATEWAY, self._catalogue)
                self._layouts = {said.series: layout}
            self._store.append(GATEWAY.key, layout, round(self.at * 1000), said.values)

    async def instant_value(self, expr: str, at: float) -> QueryValue:
        return self._engine.instant(expr, at)

    async def look(self) -> Finding:
        of = replace(rollout(*ALL), traffic_since=BEGAN, weight_since=BEGAN)
        self.found = await LookWorker(self, lambda: self.at).run(of, Work(WorkKind.LOOK, 3), self.at, self.found)
        return self.found


@pytest.fixture
def fleet() -> Iterator[Fleet]:
    with shared_memory(AREA_BYTES) as area:
        made = Fleet(area)
        for _ in range(10):
            made.answer("v1", 200)
            made.scrape()
        yield made


async def test_an_equal_candidate_passes_by_all_eight_metrics(fleet: Fleet) -> None:
    for _ in range(5):
        fleet.answer("v1", 200)
        fleet.answer("v2", 40)
        fleet.scrape()
        found = await fleet.look()
    assert found.outcome is Verdict.PASS
    assert [sample.metric for sample in found.samples] == [metric.value for metric in DEFAULT_TOLERANCES]
    assert {(s.candidate_requests, s.stable_requests) for s in found.samples} == {(200, 1000)}
    assert all(sample.effect == pytest.approx(0) for sample in found.samples)


async def test_a_candidate_with_long_prompts_only_is_compared_with_long_prompts(fleet: Fleet) -> None:
    for _ in range(5):
        fleet.answer("v1", 200)
        fleet.answer("v2", 40, prompt_tokens=2000, first_s=0.6, duration_s=6.0)
        fleet.scrape()
        found = await fleet.look()
    assert found.outcome is Verdict.PASS
    ttft = next(sample for sample in found.samples if sample.metric == "ttft")
    assert ttft.effect == pytest.approx(0)


@pytest.mark.parametrize(
    ("metric", "changes"),
    [
        ("errors", {"outcome": Outcome.ERROR, "status": 500}),
        ("errors", {"outcome": Outcome.CUT}),
        ("ttft", {"first_s": 0.9}),
        ("inter-token", {"duration_s": 9.0}),
        ("duration", {"duration_s": 9.0}),
        ("truncated", {"content": CUT}),
        ("empty", {"content": NOTHING}),
        ("refused", {"content": replace(SAID, refused=True)}),
        ("output-tokens", {"completion_tokens": 900}),
    ],
)
async def test_each_fault_is_found_by_its_metric(fleet: Fleet, metric: str, changes: dict[str, Any]) -> None:
    for _ in range(3):
        fleet.answer("v1", 200)
        fleet.answer("v2", 50)
        fleet.answer("v2", 50, **changes)
        fleet.scrape()
        found = await fleet.look()
    failed = [sample.metric for sample in found.samples if sample.outcome is Verdict.FAIL]
    assert found.outcome is Verdict.FAIL
    assert metric in failed
