"""Ad-hoc queries in a real worker process: answers, and workers that hang, die or flood."""

from __future__ import annotations

import asyncio
import json
import os
import select
import signal
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from collectors.samples import Layout, Series
from controlplane.errors import QueryError
from controlplane.metrics.promql.engine import PromqlEngine
from controlplane.metrics.query.querier import MetricsQuerier
from controlplane.metrics.query.workers import worker
from controlplane.metrics.query.workers.fair_queue import FairQueue, Shares
from controlplane.metrics.query.workers.process import keep_up
from controlplane.metrics.query.workers.querier import WorkerQuerier
from controlplane.metrics.query.workers.worker import Worker
from controlplane.metrics.series.budget import EngineLimits
from controlplane.metrics.series.series_store import SeriesStore
from controlplane.metrics.series.tidy import Tidy
from controlplane.metrics.storage.folder import Folder

SERIES = 40
SLOW = "sum(sum_over_time(rate(a[59m])[1h:1ms])) + sum(a)"
"""Millions of steps: refused or timed out, never answered soon."""


class Rig:
    def __init__(self, folder: Path) -> None:
        self.store = SeriesStore.in_folder(folder, 86_400.0, None, 86_400.0)
        self.layout = Layout(tuple(Series("a", (("n", str(n)),)) for n in range(SERIES)))
        for n in range(100):
            self.append(n)
        self.readable = True
        self.local = MetricsQuerier(PromqlEngine(self.store, EngineLimits(timeout_s=20)))
        self.querier = WorkerQuerier(self.local, str(folder), lambda: self.readable, workers=1)

    def append(self, n: int) -> None:
        self.store.append("t", self.layout, n * 15_000, np.arange(SERIES, dtype=np.float64) * n)

    async def answer(self, expr: str, at: float = 99 * 15, **options: Any) -> Any:
        return json.loads((await self.querier.instant_json(expr, at, **options)).data)["result"]

    @property
    def workers(self) -> list[Worker]:
        return self.querier._pool._workers

    @property
    def pid(self) -> int:
        """Of the one worker."""
        (worker,) = self.workers
        return worker.process.pid

    async def asked(self, count: int) -> None:
        """Wait until workers are at so many questions."""
        while sum(worker.load for worker in self.workers) != count:  # noqa: ASYNC110 - there is no event for it
            await asyncio.sleep(0)


@pytest.fixture
async def rig(tmp_path: Path) -> AsyncIterator[Rig]:
    rig = Rig(tmp_path)
    yield rig
    rig.querier.close()
    await rig.querier.wait_closed()
    space = rig.store.space
    assert isinstance(space, Folder)
    space.close()


async def test_every_question_is_answered_as_this_process_would(rig: Rig) -> None:
    for expr in (
        "sum(a)",
        "a",
        'topk(3, a{n=~"1."})',
        "rate(a[5m])",
        "time()",
        "quantile(2, rate(a[5m]))",
        '"text"',
        "a[2m]",
        "nope",
    ):
        assert await rig.querier.instant_json(expr, 1485) == await rig.local.instant_json(expr, 1485)
    odd = await rig.querier.instant_json("quantile(2, rate(a[5m]))", 1485)
    assert (odd.warnings[0].endswith("got 2 (1:10)"), odd.infos[0].endswith('"a" (1:18)')) == (True, True)
    ours = await rig.querier.range_json("sum(a)", 0, 1485, 60)
    assert ours == await rig.local.range_json("sum(a)", 0, 1485, 60)
    cut = await rig.querier.instant_json("a", 1485, limit=2)
    assert len(json.loads(cut.data)["result"]) == 2
    assert cut.warnings == ("results truncated due to limit",)
    assert await rig.querier.series(['a{n="1"}'], None, None) == [{"__name__": "a", "n": "1"}]
    assert await rig.querier.label_names([], None, None) == ["__name__", "n"]
    assert len(await rig.querier.label_values("n", ["a"], 0, None)) == SERIES
    assert await rig.querier.metadata("", -1) == {}
    assert (await rig.querier.instant("sum(a)", 1485))[0].value == sum(range(SERIES)) * 99
    assert os.getpid() != rig.pid


async def test_a_sample_is_seen_as_soon_as_it_is_stored(rig: Rig) -> None:
    for n in range(100, 110):
        rig.append(n)
        assert await rig.answer('a{n="2"}', n * 15) == [
            {"metric": {"__name__": "a", "n": "2"}, "value": [n * 15, str(2 * n)]}
        ]


@pytest.mark.parametrize(("expr", "kind"), [("sum(", "bad_data"), ("a + on(n) group_left a[5m]", "bad_data")])
async def test_errors_keep_their_type(rig: Rig, expr: str, kind: str) -> None:
    with pytest.raises(QueryError) as caught:
        await rig.answer(expr)
    with pytest.raises(QueryError) as here:
        await rig.local.instant_json(expr, 1485)
    assert (caught.value.kind, str(caught.value)) == (kind, str(here.value))


async def test_a_worker_that_is_killed_is_replaced_and_the_question_asked_again(rig: Rig) -> None:
    await rig.answer("1")
    first = rig.pid
    os.kill(first, signal.SIGSTOP)
    asked = asyncio.create_task(rig.answer("sum(a)"))
    await rig.asked(1)
    os.kill(first, signal.SIGKILL)
    assert (await asked)[0]["value"][1] == str(sum(range(SERIES)) * 99)
    assert rig.pid != first
    assert rig.querier.report().restarts == 1


async def test_a_question_that_kills_two_workers_is_not_asked_a_third_time(rig: Rig) -> None:
    await rig.answer("1")
    killed: set[int] = set()

    async def kill() -> None:
        while len(killed) < 2:
            for pid in [w.process.pid for w in rig.workers if w.load and w.process.pid not in killed]:
                os.kill(pid, signal.SIGKILL)
                killed.add(pid)
            await asyncio.sleep(0)

    os.kill(rig.pid, signal.SIGSTOP)
    killing = asyncio.create_task(kill())
    with pytest.raises(QueryError, match="ended twice over this query"):
        await rig.answer("sum(a)")
    await killing
    assert len(await rig.answer("a")) == SERIES


async def test_a_worker_that_hangs_is_ended_at_the_deadline(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(worker, "GRACE_S", 0.0)
    await rig.answer("1")
    hanging = rig.pid
    os.kill(hanging, signal.SIGSTOP)
    with pytest.raises(QueryError, match="timed out in query execution after") as caught:
        await rig.answer("sum(a)", timeout_s=0.05)
    assert caught.value.kind == "timeout"
    monkeypatch.setattr(worker, "GRACE_S", 2.0)
    assert len(await rig.answer("a")) == SERIES
    assert rig.pid != hanging


async def test_a_worker_that_hangs_is_ended_when_nobody_waits_any_more(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The HTTP API gives up at the deadline itself, so it is never this side that sees a query outstay it."""
    monkeypatch.setattr(worker, "LEFT_S", 0.05)
    await rig.answer("1")
    hanging = rig.pid
    os.kill(hanging, signal.SIGSTOP)
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.05):
            await rig.answer("sum(a)", timeout_s=0.05)
    assert len(await rig.answer("a")) == SERIES
    assert rig.pid != hanging
    assert rig.querier.report().running == 0


async def test_a_query_whose_turn_does_not_come_in_time_costs_the_others_nothing(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    await rig.answer("1")
    rig.querier._queue = FairQueue(Shares(each=2, together=2, most=2))
    first = rig.pid
    os.kill(first, signal.SIGSTOP)
    before = [asyncio.create_task(rig.answer("sum(a)", timeout_s=20)) for _ in range(2)]
    await rig.asked(2)
    with pytest.raises(QueryError, match="timed out in query queue"):
        await rig.answer("count(a)", timeout_s=0.01)
    os.kill(first, signal.SIGCONT)
    for answer in await asyncio.gather(*before):
        assert answer[0]["value"][1] == str(sum(range(SERIES)) * 99)
    assert rig.pid == first
    assert rig.querier.report().restarts == 0


async def test_a_heavy_query_holds_up_neither_rules_nor_others_nor_scrapes(rig: Rig) -> None:
    await rig.answer("1")
    heavy = asyncio.create_task(rig.querier.instant_json(SLOW, 1485, timeout_s=1.0))
    await rig.asked(1)
    for n in range(100, 120):
        rig.append(n)
        assert (await rig.querier.instant("count(a)", n * 15))[0].value == SERIES
    assert len(await rig.answer("a")) == SERIES
    with pytest.raises(QueryError) as caught:
        await heavy
    assert caught.value.kind in ("timeout", "execution")


async def test_a_query_that_wants_too_much_memory_is_told_so(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(worker, "MAX_BYTES", 300 * 2**20)
    wide = f"sum(sum_over_time(a[{10**6}s:1s]))"
    with pytest.raises(QueryError) as caught:
        await rig.answer(wide)
    assert caught.value.kind == "execution"
    assert len(await rig.answer("a")) == SERIES


async def test_a_worker_that_hangs_does_not_outlive_the_process_that_started_it(tmp_path: Path) -> None:
    SeriesStore.in_folder(tmp_path, 86_400.0, None, 86_400.0)
    start = (
        "import subprocess, sys, time\n"
        "command = [sys.executable, '-m', 'controlplane.metrics.query.workers.process',"
        f" {str(tmp_path)!r}, '{2**32}', '1']\n"
        "p = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)\n"
        "from controlplane.metrics.query.workers.protocol import WorkerMessage\n"
        "message = {'id': 1, 'by': 1e12, 'call': 'label_names', 'args': [[], None, None]}\n"
        "p.stdin.write(WorkerMessage(message).encode())\n"
        "p.stdin.flush(); p.stdout.read(18); p.stdout.read(8); print(p.pid, flush=True); time.sleep(1000)\n"
    )
    parent = await asyncio.create_subprocess_exec(sys.executable, "-c", start, stdout=asyncio.subprocess.PIPE)
    assert parent.stdout is not None
    worker = int(await parent.stdout.readline())
    gone = os.pidfd_open(worker)
    try:
        os.kill(worker, signal.SIGSTOP)
        parent.kill()
        assert await asyncio.to_thread(select.select, [gone], [], [], 60) == ([gone], [], [])
    finally:
        os.close(gone)
        await parent.wait()


async def test_a_worker_that_cannot_read_the_folder_says_so_in_a_sentence(
    rig: Rig, tmp_path: Path, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    """In the log, where it is escaped, and not on stderr."""
    querier = WorkerQuerier(rig.local, str(tmp_path / "gone"), lambda: True, workers=1)
    with pytest.raises(QueryError, match=r"ended twice over this query.*see the log"):
        await querier.instant_json("1", 1485)
    querier.close()
    await querier.wait_closed()
    assert [message for message in caplog.messages if "cannot be read" in message] == 2 * [
        f"query worker: the metrics cannot be read: [Errno 2] No such file or directory: '{tmp_path / 'gone'}'"
    ]
    assert capfd.readouterr().err == ""


async def test_what_the_worker_writes_is_logged_by_lines_and_in_pieces(caplog: pytest.LogCaptureFixture) -> None:
    stream = asyncio.StreamReader()
    stream.feed_data(b"Traceback:\n  one\n\xff" + b"x" * (3 * worker.MAX_LINE_BYTES) + b"\nlast")
    stream.feed_eof()
    await worker._log_lines(stream)
    first, second, *pieces, last = caplog.messages
    assert (first, second, last) == ("Traceback:", "  one", "last")
    assert "".join(pieces) == "\ufffd" + "x" * (3 * worker.MAX_LINE_BYTES)
    assert len(pieces) > 1


async def test_a_worker_that_missed_what_became_of_the_journal_begins_anew(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("controlplane.metrics.series.tidy.REWRITE_BYTES", 1)
    await rig.answer("1")
    first, tidy = rig.pid, Tidy(rig.store)
    for rewrites in (1, 2):
        for n in range(400):
            rig.store.append("churn", Layout((Series("e", (("n", str(n)),)),)), rewrites * 1_000_000 + n, np.ones(1))
            rig.store.end("churn", rewrites * 1_000_000 + n)
        tidy.turn(2 * 86_400_000 * rewrites)
    await rig.answer("a")
    assert (rig.pid != first, rig.querier.report().restarts) == (True, 1)


async def test_what_is_meant_for_the_control_plane_does_not_end_the_worker(rig: Rig) -> None:
    await rig.answer("1")
    first = rig.pid
    assert os.getpgid(first) != os.getpgid(0)
    os.kill(first, signal.SIGTERM)
    assert len(await rig.answer("a")) == SERIES
    assert (rig.pid, rig.querier.report().restarts) == (first, 0)


async def test_too_many_waiting_questions_are_refused_at_once(rig: Rig) -> None:
    rig.querier._queue = FairQueue(Shares(each=1, together=1, most=1, each_waiting=2, waiting=3))
    await rig.answer("1")
    os.kill(rig.pid, signal.SIGSTOP)
    waiting = [asyncio.create_task(rig.answer("1", asker="a")) for _ in range(3)]
    await rig.asked(1)
    with pytest.raises(QueryError, match="2 queries of this token are waiting already") as mine:
        await rig.answer("1", asker="a")
    waiting.append(asyncio.create_task(rig.answer("1", asker="b")))
    await asyncio.sleep(0)
    with pytest.raises(QueryError, match="3 queries are waiting already") as all_of_them:
        await rig.answer("1", asker="c")
    assert (mine.value.kind, all_of_them.value.kind) == ("too_many_requests", "unavailable")
    assert rig.querier.report()[1:4] == (1, 3, 2)
    os.kill(rig.pid, signal.SIGCONT)
    assert len(await asyncio.gather(*waiting)) == 4


async def test_while_rows_are_in_memory_only_this_process_answers(rig: Rig) -> None:
    rig.readable = False
    assert len(await rig.answer("a")) == SERIES
    assert await rig.querier.series(["a"], None, None) == await rig.local.series(["a"], None, None)
    assert len(await rig.querier.label_names([], None, None)) == 2
    assert len(await rig.querier.label_values("n", [], None, None)) == SERIES
    assert json.loads((await rig.querier.range_json("1", 0, 10, 5)).data)["result"][0]["values"][0] == [0, "1"]
    assert rig.workers == []


async def test_queries_that_wait_when_the_end_comes_are_told_so_and_rules_go_on(rig: Rig) -> None:
    await rig.answer("1")
    os.kill(rig.pid, signal.SIGSTOP)
    waiting = [asyncio.create_task(rig.answer("sum(a)")) for _ in range(9)]
    await rig.asked(4)
    rig.querier.refuse()
    for told in await asyncio.gather(*waiting, return_exceptions=True):
        assert isinstance(told, QueryError)
        assert str(told) == "the control plane is stopping"
    assert (await rig.querier.instant("count(a)", 1485))[0].value == SERIES
    assert rig.querier.report().restarts == 0


async def test_after_its_end_nothing_is_started_again(rig: Rig) -> None:
    await rig.answer("1")
    rig.querier.close()
    await rig.querier.wait_closed()
    with pytest.raises(QueryError, match="stopping"):
        await rig.answer("1")
    assert rig.querier.report().restarts == 0


def test_an_idle_worker_follows_the_journal_once_a_minute() -> None:
    waited: list[float] = []
    followed: list[int] = []

    def wait(seconds: float) -> bool:
        waited.append(seconds)
        return len(waited) > 3

    keep_up(lambda: followed.append(len(waited)), wait)
    assert waited == [60.0] * 4
    assert followed == [1, 2, 3]
