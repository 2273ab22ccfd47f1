"""Threads for blocking calls of one kind."""

from __future__ import annotations

import asyncio
import contextvars
import threading

import pytest
from starlette.concurrency import run_in_threadpool

from controlplane.pools import GENERAL, REQUESTS, PoolReport, ThreadPool, make_pools
from controlplane.store.database import Patience
from tests.patience import HANG_S, until

TOLD = contextvars.ContextVar("TOLD", default="nothing")


async def test_a_call_returns_raises_and_sees_its_context_as_in_to_thread() -> None:
    pool = ThreadPool("p", 1)
    TOLD.set("something")
    assert await pool.run(TOLD.get) == "something"
    assert await pool.run(int, "12", base=8) == 10
    with pytest.raises(ValueError, match="invalid literal"):
        await pool.run(int, "x")
    assert (await pool.run(threading.current_thread)).name == "p_0"
    pool.close()


async def test_a_call_that_looks_for_what_is_not_there_fails_and_does_not_hang() -> None:
    pool = ThreadPool("p", 1)
    with pytest.raises(RuntimeError, match="a call in a thread raised StopIteration"):
        async with asyncio.timeout(HANG_S):
            await pool.run(next, iter([]))
    assert pool.report().busy == 0
    pool.close()


async def test_a_pool_that_is_full_keeps_no_other_pool_waiting() -> None:
    made, let = make_pools(), threading.Event()
    pools = (made.access, made.parsing, made.files, made.general)
    threads = {pool.name: pool.report().threads for pool in pools}
    for full in pools:
        stuck = [asyncio.create_task(full.run(let.wait, 60)) for _ in range(threads[full.name] + 2)]
        await until(lambda full=full: full.report().busy == threads[full.name])  # type: ignore[misc]  # a default
        assert full.report().waiting == 2
        for other in pools:
            if other is not full:
                assert await other.run(int, "7") == 7
        let.set()
        await asyncio.gather(*stuck)
        let.clear()
        assert (full.report().busy, full.report().waiting) == (0, 0)
    made.close()


async def test_calls_without_a_pool_and_requests_have_bounded_threads_that_are_counted() -> None:
    pools, let = make_pools(), threading.Event()
    pools.serve()
    calls = [asyncio.create_task(asyncio.to_thread(let.wait, 60)) for _ in range(GENERAL + 1)]
    requests = [asyncio.create_task(run_in_threadpool(let.wait, 60)) for _ in range(REQUESTS + 2)]
    await until(lambda: (pools.general.report().busy, pools.requests.report().busy) == (GENERAL, REQUESTS))
    reports = {report.name: report for report in pools.reports()}
    assert reports["general"][:5] == ("general", GENERAL, GENERAL, 1, GENERAL)
    assert reports["requests"] == PoolReport("requests", REQUESTS, REQUESTS, 2, None, None)
    assert Patience().connections + Patience().more == GENERAL + REQUESTS
    let.set()
    assert all(await asyncio.gather(*calls, *requests))
    await until(lambda: [report.busy for report in pools.reports()] == [0] * 5)
    pools.close()


async def test_who_gives_up_waiting_for_a_thread_is_not_served_later() -> None:
    pool, let, taken = ThreadPool("p", 1), threading.Event(), list[int]()
    first = asyncio.create_task(pool.run(let.wait, 60))
    second = asyncio.create_task(pool.run(taken.append, 1))
    await until(lambda: pool.report().waiting == 1)
    second.cancel()
    await asyncio.gather(second, return_exceptions=True)
    assert pool.report().waiting == 0
    let.set()
    await first
    await pool.run(int)
    assert taken == []
    assert pool.report().calls == 2
    pool.close()


async def test_a_closed_pool_drops_what_has_no_thread() -> None:
    pool, let = ThreadPool("p", 1), threading.Event()
    first = asyncio.create_task(pool.run(let.wait, 60))
    second = asyncio.create_task(pool.run(int))
    await until(lambda: pool.report().waiting == 1)
    pool.close()
    let.set()
    assert await first
    with pytest.raises(asyncio.CancelledError):
        await second
