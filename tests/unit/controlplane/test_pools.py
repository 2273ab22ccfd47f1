"""Threads for blocking calls of one kind."""

from __future__ import annotations

import asyncio
import contextvars
import threading

import pytest

from controlplane.pools import ThreadPool, make_pools
from tests.patience import until

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


async def test_a_pool_that_is_full_keeps_no_other_pool_waiting() -> None:
    pools, let = make_pools(), threading.Event()
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
