"""Items of the checklist over real series, and over metrics that cannot be read."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from controlplane.errors import QueryError, Unavailable
from controlplane.metrics.promql.values import QueryValue
from controlplane.rollout.findings import Finding, Outcome, Work, WorkKind
from controlplane.rollout.model import Phase, Plan, Rollout, RolloutKind, RolloutLimits
from controlplane.rollout.options import CheckItem, Options
from controlplane.rollout.planning.capacity import Capacity, Fit
from controlplane.rollout.work import checks
from controlplane.rollout.work.backed_up import BackupWaiter
from controlplane.rollout.work.checks import Checks, CheckWorker
from controlplane.store.backups.runs import BackupRunStore
from controlplane.store.database import Database
from controlplane.traffic.driver import BackendObservation, TrafficObservation, VersionState, all_to
from tests.unit.controlplane.metrics.conftest import load

NOW = 60.0
READY = 'llm_backend_ready{model="chat",version="v1",backend="http://a"} 1 1\n'
UP = 'up{instance="a:8002"} 1 1\n'
COUNTED = 'llm_requests_total{model="chat",version="v1",source="engine",outcome="success"} 5 6\n'


class Series:
    """Queries over series in promtool's notation, one sample a minute from 0."""

    def __init__(self, text: str = "", fault: Exception | None = None) -> None:
        self._engine, self._fault = load(text), fault

    async def instant_value(self, expr: str, at: float) -> QueryValue:
        if self._fault:
            raise self._fault
        return self._engine.instant(expr, at)


@dataclass
class Facts:
    versions: Mapping[str, VersionState] = field(default_factory=lambda: {"v1": VersionState.READY})
    reachable: bool = True
    fit: Capacity = field(default_factory=lambda: Capacity(Fit.BESIDE, "it fits"))
    fault: Exception | None = None

    async def observe(self, model: str) -> TrafficObservation:
        if self.fault:
            raise self.fault
        backend = BackendObservation("http://a", self.reachable, dict(self.versions), {}, all_to("v1"), "no route")
        return TrafficObservation(model, (backend,))

    async def capacity(self, model: str, stable: str, version: str) -> Capacity:
        return self.fit

    def targets(self, model: str, version: str) -> tuple[str, ...]:
        assert (model, version) == ("chat", "v1"), "the candidate's servers may not run yet"
        return ("a:8002",)


async def state(item: CheckItem, text: str = "", facts: Facts | None = None, fault: Exception | None = None) -> str:
    found = await Checks(Series(text, fault), facts or Facts(), lambda: NOW).check(item, "chat", "v1", "v2")
    return f"{found.outcome}: {found.reasons[0]}"


@pytest.fixture
def no_backups(tmp_path: Path) -> BackupWaiter:
    return BackupWaiter(BackupRunStore(Database(f"sqlite:///{tmp_path / 'a.db'}")), lambda: NOW)


def builtin(name: str) -> CheckItem:
    return CheckItem(name, builtin=name)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (READY + UP + COUNTED, "pass: monitoring: 1 server of chat watched; requests are counted by engine"),
        (
            READY + READY.replace("http://a", "http://b") + UP + COUNTED + COUNTED.replace("engine", "gateway"),
            "pass: monitoring: 2 servers of chat watched; requests are counted by engine, gateway",
        ),
        ("", "fail: monitoring: no server of chat is watched; check `cp targets`"),
        (
            READY + UP.replace(" 1 1", " 1 0") + COUNTED,
            "fail: monitoring: a:8002 cannot be scraped; check `cp targets`",
        ),
        (
            READY + UP + COUNTED.replace("chat", "other"),
            "fail: monitoring: no source counts requests of chat; scrape its servers, or send requests by the gateway",
        ),
        (
            READY + UP + COUNTED.replace("5 6", "5 stale"),
            "fail: monitoring: no source counts requests of chat; scrape its servers, or send requests by the gateway",
        ),
    ],
)
async def test_monitoring(text: str, expected: str) -> None:
    assert await state(builtin("monitoring"), text) == expected


@pytest.mark.parametrize(
    ("facts", "expected"),
    [
        (Facts(), "pass: rollback: v1 is ready on every backend"),
        (
            Facts({"v1": VersionState.LOADING}),
            "fail: rollback: v1 is loading on http://a, so nothing could be rolled back to",
        ),
        (Facts({}), "fail: rollback: v1 is unavailable on http://a, so nothing could be rolled back to"),
        (Facts(reachable=False), "not-enough-data: rollback: http://a does not answer: no route"),
        (Facts(fault=Unavailable("gone")), "not-enough-data: rollback cannot be checked: gone"),
    ],
)
async def test_rollback(facts: Facts, expected: str) -> None:
    assert await state(builtin("rollback"), facts=facts) == expected


@pytest.mark.parametrize(
    ("fit", "outcome"),
    [(Fit.BESIDE, "pass"), (Fit.UNKNOWN, "not-enough-data"), (Fit.DRAIN, "fail"), (Fit.NEVER, "fail")],
)
async def test_capacity(fit: Fit, outcome: str) -> None:
    assert await state(builtin("capacity"), facts=Facts(fit=Capacity(fit, "40 GiB"))) == f"{outcome}: capacity: 40 GiB"


async def test_an_expression_passes_with_a_result() -> None:
    item = CheckItem("load-test", 'load_test_passed{version="{{version}}"} == 1')
    passed = 'load_test_passed{version="v2"} 1 1\n'
    filled = 'load_test_passed{version="v2"} == 1'
    assert await state(item, passed) == f"pass: load-test: {filled} has a result"
    assert await state(item, passed.replace("v2", "v1")) == f"fail: load-test: {filled} has no result now"
    assert await state(item, passed.replace("1 1", "1 0")) == f"fail: load-test: {filled} has no result now"
    assert await state(CheckItem("number", "1 + 1")) == "pass: number: 1 + 1 has a result"


async def test_an_attested_item_needs_words() -> None:
    assert await state(CheckItem("scan", attested="ticket 7")) == "pass: scan is attested: ticket 7"
    assert await state(CheckItem("scan")) == "fail: nobody attested scan"


@pytest.mark.parametrize("item", [builtin("monitoring"), CheckItem("q", "up")])
async def test_metrics_that_cannot_be_read_are_no_failure(item: CheckItem) -> None:
    found = await state(item, fault=QueryError("timeout", "too slow"))
    assert found == f"not-enough-data: {item.name} cannot be checked: too slow"


async def test_an_answer_that_does_not_come_is_unknown(monkeypatch: pytest.MonkeyPatch) -> None:
    class Silent(Facts):
        async def observe(self, model: str) -> TrafficObservation:
            await asyncio.Event().wait()
            raise AssertionError

    monkeypatch.setattr(checks, "CHECK_S", 0.01)
    assert await state(builtin("rollback"), facts=Silent()) == "not-enough-data: rollback: no answer within 0.01 s"


async def test_the_worker_checks_the_item_of_its_name(no_backups: BackupWaiter) -> None:
    options = Options(checklist=(CheckItem("scan", attested="ticket 7"),))
    limits = RolloutLimits(1, 1, 1)
    plan = Plan("chat", "v1", "v2", RolloutKind.PROMOTE, "canary", (), True, "", limits, (), (), options=options)
    rollout = Rollout("r-1", plan, Phase.PLANNED, "s", "ann", 0, 0, 0)
    worker = CheckWorker(Checks(Series(), Facts(), lambda: NOW), no_backups)
    assert await worker.run(rollout, Work(WorkKind.CHECK, 0, "scan"), 0.0, None) == Finding(
        Outcome.PASS, ("scan is attested: ticket 7",)
    )
    assert await worker.run(rollout, Work(WorkKind.CHECK, 0, "scam"), 0.0, None) == Finding(
        Outcome.NOT_ENOUGH, ("the checklist has no item scam",)
    )
