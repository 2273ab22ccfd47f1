"""Rules in a real process of their own: the same results, and what becomes of alerts when it is killed or hangs."""

from __future__ import annotations

import asyncio
import os
import re
import signal
import time
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

import numpy as np
import pytest

from alerts.errors import QueryFailed
from alerts.evaluate import GroupEvaluator, RuleHealth
from alerts.interfaces import AlertInstance, Transition
from alerts.rules import parse_rules
from alerts.template import Surroundings
from collectors.samples import Layout, Series
from controlplane.errors import QueryError
from controlplane.metrics.promql.engine import PromqlEngine
from controlplane.metrics.query.querier import MetricsQuerier
from controlplane.metrics.query.workers import rules, worker
from controlplane.metrics.query.workers.querier import WorkerQuerier
from controlplane.metrics.query.workers.rules import AGAIN_S, RuleWorker
from controlplane.metrics.query.workers.worker import Worker
from controlplane.metrics.series.budget import EngineLimits
from controlplane.metrics.series.series_store import SeriesStore
from controlplane.metrics.storage.folder import Folder
from tests.patience import until

SERIES = 40
AT = 99 * 15.0
RULES = """
groups:
- name: g
  rules:
  - {record: "doubled", expr: "a * 2"}
  - {alert: High, expr: "doubled > 100"}
"""


class Log:
    """An AlertLog in memory."""

    def __init__(self) -> None:
        self.rules: dict[str, tuple[AlertInstance, ...]] = {}

    def load(self, rule: str) -> Sequence[AlertInstance]:
        return self.rules.get(rule, ())

    def record(self, rule: str, instances: Sequence[AlertInstance], transitions: Sequence[Transition]) -> None:
        self.rules[rule] = tuple(instances)


class Clock:
    def now(self) -> float:
        return AT


class Rig:
    def __init__(self, folder: Path) -> None:
        self.store = SeriesStore.in_folder(folder, 86_400.0, None, 86_400.0)
        self.layout = Layout(tuple(Series("a", (("n", str(n)),)) for n in range(SERIES)))
        for n in range(100):
            self.append(n * 15.0)
        self.readable = True
        self.local = MetricsQuerier(PromqlEngine(self.store, EngineLimits(timeout_s=20)))
        self.querier = WorkerQuerier(self.local, str(folder), lambda: self.readable, workers=1)
        (group,) = parse_rules(RULES, "f")
        self.evaluator = GroupEvaluator(group, self.querier, Log(), self.store, Clock(), around=Surroundings())

    def append(self, at: float) -> None:
        self.store.append("t", self.layout, round(at * 1000), np.arange(SERIES, dtype=np.float64) * 2)

    async def evaluate(self, at: float) -> tuple[RuleHealth, RuleHealth]:
        self.append(at)
        recorded, alert = (await self.evaluator.evaluate(at)).rules
        return recorded, alert

    @property
    def rules(self) -> RuleWorker:
        return self.querier._rules

    @property
    def worker(self) -> Worker:
        worker = self.rules._worker
        assert worker is not None
        return worker

    @property
    def pid(self) -> int:
        return self.worker.process.pid


@pytest.fixture
async def rig(tmp_path: Path) -> AsyncIterator[Rig]:
    rig = Rig(tmp_path)
    yield rig
    rig.querier.close()
    await rig.querier.wait_closed()
    space = rig.store.space
    assert isinstance(space, Folder)
    space.close()


async def test_a_rule_has_the_result_that_this_process_would_find(rig: Rig) -> None:
    for expr in ("a", "sum(a)", "rate(a[5m])", "time()", "absent(nope)", "nope", 'a{n=~"1."} > 25', "a"):
        for at in (AT, AT + 299, AT + 301):
            assert await rig.querier.instant(expr, at) == await rig.local.instant(expr, at)
    assert rig.pid != os.getpid()
    assert rig.querier.report()[:1] == (1,)


@pytest.mark.parametrize("expr", ["sum(", "a + on(n) group_left a[5m]", '"text"', "a[5m]"])
async def test_a_rule_fails_with_the_words_of_this_process(rig: Rig, expr: str) -> None:
    with pytest.raises(QueryFailed) as caught:
        await rig.querier.instant(expr, AT)
    with pytest.raises(QueryFailed) as here:
        await rig.local.instant(expr, AT)
    assert str(caught.value) == str(here.value)


async def test_a_rule_sees_what_was_written_a_moment_ago_also_a_new_series(rig: Rig) -> None:
    for n in range(50):
        rig.store.append(f"rule:{n}", Layout((Series(f"new_{n}", ()),)), round(AT * 1000), np.array([n], dtype=float))
        assert [sample.value for sample in await rig.querier.instant(f"new_{n} + 1", AT)] == [n + 1]
        rig.store.append("rule:all", Layout((Series("b", (("n", str(n)),)),)), round(AT * 1000) + n, np.ones(1))
        (found,) = await rig.querier.instant("b", AT + 0.001 * n)
        assert found.labels == (("__name__", "b"), ("n", str(n)))


async def test_a_rule_sees_what_the_rule_before_it_recorded(rig: Rig) -> None:
    for turn in range(1, 6):
        recorded, alert = await rig.evaluate(AT + 15 * turn)
        assert (recorded.health, alert.health) == ("ok", "ok")
        assert len(alert.instances) == 14  # 2 * 2 * n > 100 from n = 26 on


async def test_no_process_is_started_before_a_rule_is_due(rig: Rig) -> None:
    await rig.querier.instant_json("1", AT)
    await rig.querier.instant_value("1", AT)
    assert (rig.rules._worker, rig.rules._starting) == (None, None)


async def test_a_killed_process_is_replaced_and_its_rules_are_asked_again(rig: Rig) -> None:
    await rig.evaluate(AT + 15)
    first = rig.pid
    os.kill(first, signal.SIGSTOP)
    turn = asyncio.create_task(rig.evaluate(AT + 30))
    await until(lambda: rig.worker.load)
    os.kill(first, signal.SIGKILL)
    recorded, alert = await turn
    assert (recorded.health, alert.health, len(alert.instances)) == ("ok", "ok", 14)
    assert rig.pid != first
    assert rig.querier.report().restarts == 1


async def test_a_rule_that_ends_two_processes_fails_and_resolves_nothing(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    await rig.evaluate(AT + 15)
    killed: list[int] = []
    ready = Worker.ready

    async def ready_and_stopped(one: Worker) -> bool:
        found = await ready(one)
        if len(killed) < 2:
            os.kill(one.process.pid, signal.SIGSTOP)
        return found

    monkeypatch.setattr(Worker, "ready", ready_and_stopped)
    os.kill(rig.pid, signal.SIGSTOP)
    turn = asyncio.create_task(rig.evaluate(AT + 30))
    for _ in range(2):
        await until(lambda: rig.rules._worker and rig.worker.load and rig.pid not in killed)
        killed.append(rig.pid)
        os.kill(rig.pid, signal.SIGKILL)
    recorded, alert = await turn
    assert (recorded.health, recorded.last_error) == ("err", f"execution: {rules.TWICE}")
    assert (alert.health, len(alert.instances)) == ("ok", 14)  # of the next process, and of what was recorded before
    recorded, alert = await rig.evaluate(AT + 45)
    assert (recorded.health, alert.health, len(alert.instances)) == ("ok", "ok", 14)
    assert rig.pid not in killed


async def test_a_process_that_hangs_costs_one_turn_and_no_alert(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(worker, "GRACE_S", 0.0)
    await rig.evaluate(AT + 15)
    hanging = rig.pid
    os.kill(hanging, signal.SIGSTOP)
    monkeypatch.setattr(rig.querier, "_limits", EngineLimits(timeout_s=0.2))
    (error,) = await asyncio.gather(rig.querier.instant("a", AT), return_exceptions=True)
    assert isinstance(error, QueryFailed)
    assert re.fullmatch(r"timeout: query timed out in query execution after [\d.e+]+s", str(error))
    monkeypatch.setattr(rig.querier, "_limits", EngineLimits())
    recorded, alert = await rig.evaluate(AT + 30)
    assert (recorded.health, alert.health, len(alert.instances)) == ("ok", "ok", 14)
    assert rig.pid != hanging


async def test_an_alert_whose_rule_cannot_be_evaluated_stays(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(worker, "GRACE_S", 0.0)
    _, alert = await rig.evaluate(AT + 15)
    monkeypatch.setattr(rig.querier, "_limits", EngineLimits(timeout_s=0.2))
    os.kill(rig.pid, signal.SIGSTOP)
    rig.append(AT + 30)
    recorded, alert = (await rig.evaluator.evaluate(AT + 30)).rules
    assert (recorded.health, len(alert.instances)) == ("err", 14)


async def test_clients_queries_do_not_delay_a_rule(rig: Rig) -> None:
    """They hang in their own processes, and more of them wait."""
    await rig.querier.instant_json("1", AT)
    (clients,) = rig.querier._pool._workers
    os.kill(clients.process.pid, signal.SIGSTOP)
    asked = [asyncio.create_task(rig.querier.instant_json("sum(a)", AT)) for _ in range(12)]
    await until(lambda: rig.querier.report().waiting)
    recorded, alert = await rig.evaluate(AT + 15)
    assert (recorded.health, alert.health, len(alert.instances)) == ("ok", "ok", 14)
    assert not any(task.done() for task in asked)
    os.kill(clients.process.pid, signal.SIGCONT)
    assert len(await asyncio.gather(*asked)) == 12


async def test_while_rows_are_in_memory_only_this_process_evaluates(rig: Rig) -> None:
    rig.readable = False
    recorded, alert = await rig.evaluate(AT + 15)
    assert (recorded.health, len(alert.instances), rig.rules._worker) == ("ok", 14, None)
    rig.readable = True
    await rig.evaluate(AT + 30)
    assert rig.rules.workers == 1


async def test_a_process_that_cannot_be_started_is_tried_again_after_a_minute(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    now, starts = [time.monotonic()], 0
    asked = RuleWorker(str(tmp_path / "gone"), lambda: now[0])

    async def refused(*_: object, **__: object) -> Worker:
        nonlocal starts
        starts += 1
        raise QueryError("execution", "the query worker cannot be started: too many processes")

    with monkeypatch.context() as patched:
        patched.setattr(Worker, "start", refused)
        assert [await asked.evaluate("1", AT, 30) for _ in range(3)] == [None, None, None]
        now[0] += AGAIN_S - 1
        assert (await asked.evaluate("1", AT, 30), starts) == (None, 1)
    SeriesStore.in_folder(tmp_path / "gone", 86_400.0, None, 86_400.0)
    now[0] += 1
    assert [sample.value for sample in await asked.evaluate("1", AT, 30) or ()] == [1]
    asked.kill()
    await asked.wait_closed()
    assert caplog.messages == [
        "rules are evaluated in the control plane's own process for 60 s: "
        "the query worker cannot be started: too many processes"
    ]


async def test_a_process_that_cannot_read_the_metrics_is_named_in_the_log(
    rig: Rig, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    querier = WorkerQuerier(rig.local, str(tmp_path / "gone"), lambda: True)
    for _ in range(2):
        assert len(await querier.instant("a", AT)) == SERIES
    querier._rules.kill()
    await querier._rules.wait_closed()
    unread, own = caplog.messages
    assert unread.startswith("query worker: the metrics cannot be read: ")
    assert own.endswith("own process for 60 s: it ended before it had read the metrics")
    assert querier.report().restarts == 0


async def test_rules_wait_for_a_slow_start_for_a_while_only(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rules, "START_S", 0.2)
    start = Worker.start

    async def stopped(folder: str, on_end: object, *, threads: int, nice: int) -> Worker:
        made = await start(folder, rig.rules._ended, threads=threads, nice=nice)
        os.kill(made.process.pid, signal.SIGSTOP)
        return made

    monkeypatch.setattr(Worker, "start", stopped)
    recorded, alert = await rig.evaluate(AT + 15)
    assert (recorded.health, len(alert.instances), rig.rules.workers) == ("ok", 14, 0)
    coming = rig.rules._coming
    assert coming is not None
    os.kill(coming.process.pid, signal.SIGCONT)
    await until(lambda: rig.rules.workers)
    await rig.evaluate(AT + 30)
    assert rig.pid == coming.process.pid


async def test_large_answers_are_read_in_a_thread(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rules, "THREAD_BYTES", 100)
    for _ in range(2):
        assert await rig.querier.instant("a", AT) == await rig.local.instant("a", AT)


async def test_the_end_takes_the_process_along(rig: Rig) -> None:
    await rig.evaluate(AT + 15)
    pid = rig.pid
    os.kill(pid, signal.SIGSTOP)
    asked = asyncio.create_task(rig.querier.instant("a", AT))
    await until(lambda: rig.worker.load)
    rig.querier.close()
    await rig.querier.wait_closed()
    with pytest.raises(QueryFailed, match="execution: the control plane is stopping"):
        await asked
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)
    with pytest.raises(QueryFailed, match="execution: the control plane is stopping"):
        await rig.querier.instant("a", AT)
    assert rig.querier.report().restarts == 0


async def test_the_end_comes_while_the_process_starts(rig: Rig) -> None:
    asked = asyncio.create_task(rig.querier.instant("a", AT))
    await until(lambda: rig.rules._starting)
    rig.querier.close()
    await rig.querier.wait_closed()
    with pytest.raises(QueryFailed, match="execution: the control plane is stopping"):
        await asked
    assert (rig.rules._worker, rig.rules._starting, rig.rules._coming) == (None, None, None)
