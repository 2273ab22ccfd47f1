"""The packs' rules give the same alerts and the same series, evaluated in this process or in the rules' own."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence
from pathlib import Path

import numpy as np
import pytest

from alerts.evaluate import GroupEvaluator
from alerts.interfaces import AlertInstance, Querier, Transition
from alerts.packs import load_sources
from alerts.template import Surroundings
from collectors.catalogue.mapping import canonical_layout
from collectors.catalogue.model import load_catalogue
from collectors.exposition.parser import parse
from collectors.samples import FloatArray, Labels, Layout, Series
from collectors.target import Target
from controlplane.metrics.promql.engine import PromqlEngine
from controlplane.metrics.promql.values import Matrix
from controlplane.metrics.query.querier import MetricsQuerier
from controlplane.metrics.query.workers.querier import WorkerQuerier
from controlplane.metrics.series.series_store import SeriesStore
from controlplane.metrics.storage.folder import Folder

CATALOGUE = load_catalogue()
PACKS = ["builtin:llm", "builtin:gpu"]
BEGIN, STEP_S, TURNS = 1_800_000_000.0, 40.0, 20
HOT_C = 95.0


class Log:
    """An AlertLog in memory."""

    def __init__(self) -> None:
        self.rules: dict[str, tuple[AlertInstance, ...]] = {}
        self.transitions: list[Transition] = []

    def load(self, rule: str) -> Sequence[AlertInstance]:
        return self.rules.get(rule, ())

    def record(self, rule: str, instances: Sequence[AlertInstance], transitions: Sequence[Transition]) -> None:
        self.rules[rule] = tuple(instances)
        self.transitions += transitions


class Clock:
    def now(self) -> float:
        raise AssertionError("the test passes its times")


class Side:
    """A store of its own, and the packs' groups over it."""

    def __init__(self, folder: Path) -> None:
        self.store = SeriesStore.in_folder(folder, 86_400.0, None, 86_400.0)
        self.local = MetricsQuerier(PromqlEngine(self.store))
        self.worker = WorkerQuerier(self.local, str(folder), lambda: True)
        self.log = Log()
        self.evaluators: list[GroupEvaluator] = []

    def evaluate_by(self, querier: Querier) -> None:
        make = (self.log, self.store, Clock())
        self.evaluators = [
            GroupEvaluator(group, querier, *make, around=Surroundings()) for group in load_sources(PACKS, Path(), {})
        ]

    async def close(self) -> None:
        self.worker.close()
        await self.worker.wait_closed()
        space = self.store.space
        assert isinstance(space, Folder)
        space.close()

    def series(self, at: float) -> dict[Labels, list[tuple[float, str]]]:
        """All samples of the last minute. A NaN is equal to another one."""
        found = self.local.engine.instant('{__name__!=""}[1m]', at)
        assert isinstance(found, Matrix)
        return {
            one.labels: [
                (when, repr(value)) for when, value in zip(one.times.tolist(), one.values.tolist(), strict=True)
            ]
            for one in found.series
        }


@pytest.fixture
async def made(tmp_path: Path) -> AsyncIterator[Callable[[str], Side]]:
    sides: list[Side] = []

    def make(name: str) -> Side:
        sides.append(Side(tmp_path / name))
        return sides[-1]

    yield make
    for side in sides:
        await side.close()


def targets(fixtures: Path) -> dict[str, tuple[Layout, FloatArray]]:
    """Two vLLM servers and an exporter of GPUs, with the layouts and values of their captures."""
    pages = {"one": "vllm-0.32-llm", "two": "vllm-0.32-llm", "gpus": "dcgm-handwritten"}
    found = {}
    for name, page in pages.items():
        engine = page.partition("-")[0]
        target = Target(engine, "http://x/metrics", engine, f"{name}:8000")
        parsed = parse((fixtures / f"{page}.prom").read_bytes())
        found[name] = (canonical_layout(parsed.series, parsed.metadata, target, CATALOGUE), parsed.values)
    return found


async def test_the_packs_alerts_and_series_are_the_same(fixtures: Path, made: Callable[[str], Side]) -> None:
    """A server goes away, a GPU gets hot, and a counter of its own grows at each turn."""
    here, there = made("here"), made("there")
    here.evaluate_by(here.local)
    there.evaluate_by(there.worker)
    pages = targets(fixtures)
    up = {name: Layout((Series("up", (("instance", f"{name}:8000"), ("job", "vllm"))),)) for name in pages}
    for turn in range(TURNS):
        at = BEGIN + STEP_S * turn
        for side in (here, there):
            for name, (layout, values) in pages.items():
                away = name == "two" and turn >= TURNS // 3
                if away:
                    side.store.end(name, round(at * 1000))
                else:
                    hot = np.where([s.name == "DCGM_FI_DEV_GPU_TEMP" for s in layout.raw], HOT_C, 0.0)
                    side.store.append(name, layout, round(at * 1000), values * (1 + turn / 10) + hot * (turn > 4))
                side.store.append(f"{name}#report", up[name], round(at * 1000), np.array([float(not away)]))
            for evaluator in side.evaluators:
                report = await evaluator.evaluate(at)
                assert [rule.last_error for rule in report.rules if rule.last_error] == []
    assert there.worker.report().workers == 1
    assert there.log.transitions == here.log.transitions
    assert {instance.rule.rpartition(";")[2] for instance, *_ in here.log.transitions} >= {"GPUTemperatureHigh"}
    end = BEGIN + STEP_S * (TURNS - 1)
    ours, theirs = here.series(end), there.series(end)
    assert theirs == ours
    assert sum(dict(labels)["__name__"].count(":") > 0 for labels in ours) > 20  # recorded ones are among them
