"""Several real worker processes: choice of the worker, delays between askers, and queries nobody waits for."""

from __future__ import annotations

import asyncio
import json
import os
import signal
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from collectors.samples import Layout, Series
from controlplane.errors import QueryError
from controlplane.metrics.promql.engine import PromqlEngine
from controlplane.metrics.query.querier import MetricsQuerier
from controlplane.metrics.query.workers import pool, worker
from controlplane.metrics.query.workers.pool import Pool, choose, default_workers, shares_of
from controlplane.metrics.query.workers.protocol import WorkerMessage
from controlplane.metrics.query.workers.querier import WorkerQuerier
from controlplane.metrics.query.workers.report import QueryReport
from controlplane.metrics.query.workers.worker import WorkerDied
from controlplane.metrics.series.budget import EngineLimits
from controlplane.metrics.series.series_store import SeriesStore
from controlplane.metrics.storage.folder import Folder
from tests.patience import until

SERIES = 4000


def heavy(leaves: int) -> str:
    """Return a query of many nodes, none of them long: it takes many seconds, and looks at the clock often."""
    nodes = [f'count(label_replace(a, "x", "{n}$1", "n", "(.*)"))' for n in range(leaves)]
    while len(nodes) > 1:  # a balanced tree: no limit of depth is met
        nodes = [f"({'+'.join(nodes[at : at + 2])})" for at in range(0, len(nodes), 2)]
    return nodes[0]


HEAVY = heavy(128)
AT = 19 * 15


class Rig:
    def __init__(self, folder: Path) -> None:
        self.store = SeriesStore.in_folder(folder, 86_400.0, None, 86_400.0)
        layout = Layout(tuple(Series("a", (("n", str(n)),)) for n in range(SERIES)))
        for n in range(20):
            self.store.append("t", layout, n * 15_000, np.arange(SERIES, dtype=np.float64) * n)
        self.local = MetricsQuerier(PromqlEngine(self.store, EngineLimits(timeout_s=600)))
        self.querier = WorkerQuerier(self.local, str(folder), lambda: True, workers=2)
        self.tasks: list[asyncio.Task[Any]] = []

    def ask(self, expr: str, asker: str) -> asyncio.Task[Any]:
        task = asyncio.create_task(self.querier.instant_json(expr, AT, asker=asker))
        self.tasks.append(task)
        return task

    @property
    def loads(self) -> list[tuple[int, int, int]]:
        """Of each worker: what it is at, and how much of that is a's and b's."""
        return [(one.load, one.load_of("a"), one.load_of("b")) for one in self.querier._pool._workers]


@pytest.fixture
async def rig(tmp_path: Path) -> AsyncIterator[Rig]:
    rig = Rig(tmp_path)
    yield rig
    rig.querier.close()
    await asyncio.gather(*rig.tasks, return_exceptions=True)
    await rig.querier.wait_closed()
    assert isinstance(rig.store.space, Folder)
    rig.store.space.close()


async def test_eight_heavy_queries_of_one_asker_leave_a_worker_to_all_others(rig: Rig) -> None:
    crowd = [rig.ask(HEAVY, "a") for _ in range(8)]
    await until(lambda: rig.querier.report()[:3] == (2, 4, 4))
    assert rig.loads == [(4, 4, 0), (0, 0, 0)]
    for _ in range(5):
        answer = json.loads((await rig.ask("count(a)", "b")).data)
        assert answer["result"][0]["value"] == [AT, str(SERIES)]
        assert not any(task.done() for task in crowd)
    light = rig.ask("sum(sum_over_time(a[1m:1s]))", "b")
    await until(lambda: light.done() or rig.loads[1] == (1, 0, 1))
    assert rig.loads[0] == (4, 4, 0)
    await light
    assert not any(task.done() for task in crowd)


async def test_a_second_worker_is_started_for_slow_queries_only(rig: Rig) -> None:
    for _ in range(30):
        await rig.ask("count(a)", "a")
    assert rig.querier.report().workers == 1
    rig.ask(HEAVY, "a")
    await until(lambda: rig.querier.report().workers == 2)


async def test_no_second_worker_is_started_while_the_first_starts(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pool, "SLOW_S", 0.01)
    workers, looks = rig.querier._pool, 0
    look = workers._look

    def counted() -> None:
        nonlocal looks
        looks += 1
        look()

    monkeypatch.setattr(workers, "_look", counted)
    answer = rig.ask("count(a)", "a")
    await until(lambda: bool(workers._workers))
    first = workers._workers[0].process.pid
    os.kill(first, signal.SIGSTOP)  # it has not read the journal
    await until(lambda: looks > 3)
    assert workers._spare is None
    os.kill(first, signal.SIGCONT)
    assert (await answer).data


async def test_a_worker_beyond_the_first_goes_when_it_has_nothing_to_do(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pool, "RETIRE_S", 0.05)
    slow = rig.ask(HEAVY, "a")
    await until(lambda: rig.querier.report().workers == 2)
    slow.cancel()
    await until(lambda: rig.querier.report() == QueryReport(workers=1))
    assert (await rig.ask("count(a)", "a")).data


async def test_a_query_nobody_waits_for_ends_at_once_and_its_worker_goes_on(rig: Rig) -> None:
    await rig.ask("count(a)", "a")
    first = rig.querier._pool._workers[0].process.pid
    crowd = [rig.ask(HEAVY, "a") for _ in range(8)]
    await until(lambda: rig.querier.report()[1:3] == (4, 4))
    for task in crowd:
        task.cancel()
    await asyncio.sleep(0)
    assert rig.querier.report().waiting == 0
    await until(lambda: rig.querier.report().running == 0)
    assert await rig.ask("count(a)", "a")
    assert (rig.querier._pool._workers[0].process.pid, rig.querier.report().restarts) == (first, 0)


async def test_a_worker_that_does_not_hear_that_nobody_waits_is_ended_and_the_others_are_asked_again(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    await rig.ask("count(a)", "a")
    hanging = rig.querier._pool._workers[0].process.pid
    os.kill(hanging, signal.SIGSTOP)
    unwanted, other = rig.ask(HEAVY, "a"), rig.ask("count(a)", "b")
    await until(lambda: rig.loads[0] == (2, 1, 1))
    monkeypatch.setattr(worker, "LEFT_S", 0.05)
    unwanted.cancel()
    answer = json.loads((await other).data)
    assert answer["result"][0]["value"] == [AT, str(SERIES)]
    assert hanging not in [one.process.pid for one in rig.querier._pool._workers]
    assert (rig.querier.report().restarts, rig.querier.report().running) == (1, 0)


class Dying:
    """A worker that is ended as often as `deaths` says, by us or not, before it answers."""

    def __init__(self, *deaths: bool) -> None:
        self.deaths = list(deaths)

    async def ask(self, *_: Any) -> WorkerMessage:
        if self.deaths:
            raise WorkerDied(self.deaths.pop())
        return WorkerMessage({"id": 1})


@pytest.mark.parametrize(
    ("deaths", "answered"), [([True] * 9, True), ([True, False, True], True), ([False] * 2, False)]
)
async def test_a_query_is_to_blame_only_for_deaths_that_were_not_our_doing(
    monkeypatch: pytest.MonkeyPatch, deaths: list[bool], answered: bool
) -> None:
    dying, ended = Dying(*deaths), list[bool]()

    async def worker_for(*_: Any) -> Dying:
        return dying

    monkeypatch.setattr(Pool, "_worker_for", worker_for)
    asked = Pool("", 2).ask("a", "call", [], 0.0, lambda: ended.append(True))
    if answered:
        assert (await asked).head == {"id": 1}
    else:
        with pytest.raises(QueryError, match="ended twice over this query"):
            await asked
        assert ended


async def test_while_a_spare_worker_reads_the_journal_the_first_goes_on_answering(rig: Rig) -> None:
    slow = rig.ask(HEAVY, "a")
    await until(lambda: bool(rig.querier._pool._coming))
    coming = rig.querier._pool._coming[0]
    os.kill(coming.process.pid, signal.SIGSTOP)
    answer = await rig.ask("count(a)", "b")
    assert answer.data
    assert not slow.done()
    rig.querier.refuse()
    with pytest.raises(QueryError, match="stopping"):
        await slow


class Loaded:
    """A worker as `choose` sees it."""

    def __init__(self, *askers: str) -> None:
        self.askers = askers
        self.load = len(askers)

    def load_of(self, asker: str) -> int:
        return self.askers.count(asker)


@pytest.mark.parametrize(
    ("workers", "most", "chosen"),
    [
        (["", ""], 1, 0),  # nobody anywhere: the first, so that the others may go
        (["aa", ""], 1, 0),  # to itself
        (["b", ""], 1, 1),
        (["bb", "b"], 1, 1),
        (["ab", ""], 1, 1),  # not to itself: it moves on
        (["ab", "bbb"], 1, 0),
        (["a", "", "b", ""], 2, 1),  # another is still its due
        (["a", "aa", "", ""], 2, 0),
    ],
)
def test_who_is_asked(workers: list[str], most: int, chosen: int) -> None:
    loaded: list[Any] = [Loaded(*askers) for askers in workers]
    assert choose(loaded, "a", most) is loaded[chosen]


def test_shares_grow_with_the_workers_and_leave_room_for_others() -> None:
    for workers in (2, 3, 4, 8):
        shares = shares_of(workers)
        assert shares.each <= shares.together // 2
        assert shares.together < shares.most == worker.THREADS * workers
    assert 2 <= default_workers() <= 4
