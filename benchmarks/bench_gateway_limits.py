"""Cost of the limits for one request: authenticate, reserve, settle, with limits on key, tenant and model.

    python benchmarks/bench_gateway_limits.py

The peer is SQLite in memory on the same machine, which does the same as one transaction to reserve and one to settle:
the cheapest of the databases that proxies keep their limits in. Times are CPU time, the best of ROUNDS.
"""

from __future__ import annotations

import mmap
import os
import sqlite3
import time
import timeit
from collections.abc import Callable
from hashlib import sha256

from controlplane.gateway.desired.document import Desired, KeySpec, LimitSpec, ModelSpec, PriceSpec, TenantSpec
from controlplane.gateway.limits.memory import AREA_BYTES
from controlplane.gateway.limits.reservation import HeldReservation
from controlplane.gateway.limits.shared import SharedLimits
from controlplane.gateway.request import Caller, RequestHead, TokenCounts
from controlplane.gateway.seams import Area

CALLS, ROUNDS = 20_000, 7
BUDGET_US = 10.0
"""Most microseconds with requests, tokens and concurrency on all three."""
SECRET = "a" * 64
WIDE = 10**12


def best_us(call: Callable[[], object]) -> float:
    """Return the microseconds of a call."""
    return min(timeit.repeat(call, number=CALLS, repeat=ROUNDS, timer=time.process_time)) / CALLS * 1e6


def request_us(limits: LimitSpec, workers: int) -> float:
    """Return the microseconds of one request, with the same limits on its key, tenant and model."""
    fd = os.memfd_create("limits")
    os.ftruncate(fd, AREA_BYTES)
    area = Area(memoryview(mmap.mmap(fd, AREA_BYTES)), fd, 0)
    model = ModelSpec("chat", 1, (), limits=limits, price=PriceSpec(1.0, 4.0))
    key = KeySpec("ab12", sha256(SECRET.encode()).hexdigest(), "acme", limits=limits)
    shared = SharedLimits(area, workers - 1)
    shared.apply(Desired("1", (model,), (key,), (TenantSpec("acme", limits),)), 0.0)
    head = RequestHead(b"POST", b"/", b"/", [], None, chunked=False, keep_alive=True)
    head.known[b"authorization"] = f"Bearer cpk_ab12_{SECRET}".encode()
    counts = TokenCounts(12, 20, 0)

    def request() -> None:
        caller = shared.authenticate(head, 1e9)
        assert isinstance(caller, Caller)
        held = shared.reserve(caller, model, 10, 20, time.monotonic())
        assert isinstance(held, HeldReservation)
        held.settle(counts, 0.0)

    return best_us(request)


def sqlite_us() -> float:
    """Return the microseconds of a reservation and a settlement of requests, tokens and places of three owners."""
    db = sqlite3.connect(":memory:", isolation_level=None)
    db.execute("create table used (id integer primary key, requests real, tokens real, open integer)")
    db.executemany("insert into used values (?, 0, 0, 0)", [(1,), (2,), (3,)])

    def request() -> None:
        sha256(SECRET.encode()).digest()
        db.execute("begin immediate")
        rows = db.execute("select id, requests, tokens, open from used where id in (1, 2, 3)").fetchall()
        assert all(requests < WIDE and tokens < WIDE and opened < WIDE for _, requests, tokens, opened in rows)
        db.execute(
            "update used set requests = requests + 1, tokens = tokens + 30, open = open + 1 where id in (1, 2, 3)"
        )
        db.execute("commit")
        db.execute("update used set tokens = tokens + 2, open = open - 1 where id in (1, 2, 3)")

    return best_us(request)


def main() -> None:
    """Measure and print."""
    rates = LimitSpec(requests_per_minute=WIDE, tokens_per_minute=WIDE, concurrent=WIDE)
    everything = LimitSpec(WIDE, WIDE, WIDE, WIDE, WIDE, 1e12, 1e12)
    print(f"a key without limits: {request_us(LimitSpec(), 1):.1f} µs a request")
    ours = request_us(rates, 2)
    print(f"requests, tokens and concurrency of key, tenant and model, 2 workers: {ours:.1f} µs (budget {BUDGET_US:g})")
    print(f"the same, 8 workers: {request_us(rates, 8):.1f} µs")
    print(f"and four budgets of each, 8 workers: {request_us(everything, 8):.1f} µs")
    peer = sqlite_us()
    print(f"SQLite in memory, one process: {peer:.1f} µs, {peer / ours:.1f} x")


if __name__ == "__main__":
    main()
