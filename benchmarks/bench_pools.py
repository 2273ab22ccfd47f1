"""Overhead of a call in a thread pool, and latency of a call in its own pool beside long calls of others.

    python benchmarks/bench_pools.py

The peer is asyncio's own `to_thread`, in the same run. A sign-in here is a call that returns at once. It competes with
parses that use the CPU for 20 ms each, as a parse of some megabytes of exposition does.
"""

from __future__ import annotations

import asyncio
import statistics
import time
from collections.abc import Awaitable, Callable

from controlplane.pools import make_pools

CALLS, ROUNDS = 2000, 7
PARSES, PARSE_S = 40, 0.02

Run = Callable[[Callable[[], object]], Awaitable[object]]


def parse() -> None:
    """Use the CPU for PARSE_S."""
    until = time.perf_counter() + PARSE_S
    while time.perf_counter() < until:
        sum(range(1000))


async def overhead_us(run: Run) -> float:
    """Return the microseconds of a call that does nothing."""
    started = time.perf_counter()
    for _ in range(CALLS):
        await run(int)
    return (time.perf_counter() - started) / CALLS * 1e6


async def sign_ins_ms(run: Run, parsing: Run) -> list[float]:
    """Return the milliseconds of each of 20 calls beside PARSES parses."""
    parses = [asyncio.ensure_future(parsing(parse)) for _ in range(PARSES)]
    took = []
    for _ in range(20):
        started = time.perf_counter()
        await run(int)
        took.append((time.perf_counter() - started) * 1e3)
        await asyncio.sleep(0.005)
    await asyncio.gather(*parses)
    return took


async def main() -> None:
    """Measure and print."""
    pools = make_pools()
    ours, theirs = [], []
    for _ in range(ROUNDS):
        ours.append(await overhead_us(pools.access.run))
        theirs.append(await overhead_us(asyncio.to_thread))
    mine, other = statistics.median(ours), statistics.median(theirs)
    print(f"a call: {mine:.1f} µs in a pool, {other:.1f} µs by to_thread, {mine / other:.2f} x")
    shared = await sign_ins_ms(asyncio.to_thread, asyncio.to_thread)
    apart = await sign_ins_ms(pools.access.run, pools.parsing.run)
    for name, took in (("one pool for all", shared), ("a pool of its own", apart)):
        print(f"a sign-in beside {PARSES} parses, {name}: p50 {statistics.median(took):.1f} ms, max {max(took):.1f} ms")
    pools.close()


if __name__ == "__main__":
    asyncio.run(main())
