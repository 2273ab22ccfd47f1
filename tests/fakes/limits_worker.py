"""A worker process that only reserves and settles: `python -m tests.fakes.limits_worker FD COLUMN MODE SECONDS`.

Reads the limits as JSON from its standard input, and writes one line of JSON at its end. With a field `together` it
writes "r" when it is ready, and begins with the next line of its input. Modes:

    hammer     reserves and settles 10 tokens for each request; writes "." for each settled one
    places     each open request must get one of the lock files `places/N`, one for each allowed place
    stops      stops itself (SIGSTOP) within an update, once: with its lock held, before or between the writes
    lingers    runs on for LINGER_S within an update, once: with its lock held, after its check and before its writes
"""

from __future__ import annotations

import fcntl
import json
import os
import random
import signal
import sys
import time
from pathlib import Path

from controlplane.gateway.desired.document import LimitSpec
from controlplane.gateway.limits.gauge import Gauge
from controlplane.gateway.limits.locks import Locks
from controlplane.gateway.limits.reservation import HeldReservation
from controlplane.gateway.limits.shared import SharedLimits
from controlplane.gateway.request import Caller
from tests.fakes.limits import area_of, document, used

CALLER = Caller("ab12", "acme")
LINGER_S = 0.15


def main() -> None:
    fd, column, mode, seconds = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3], float(sys.argv[4])
    of = json.loads(sys.stdin.readline())
    desired = document(*(LimitSpec(**of.get(name, {})) for name in ("key", "tenant", "model")))
    limits = SharedLimits(area_of(fd), column)
    limits.apply(desired, time.monotonic())
    if mode.startswith("stops"):
        stop_once(0 if mode == "stops-before" else 1)
    elif mode == "lingers":
        linger_once()
    if "together" in of:
        os.write(1, b"r")
        sys.stdin.readline()
    start = time.monotonic()
    counts = {"admitted": 0, "refused": 0, "violations": 0}
    while time.monotonic() < start + seconds or not counts["refused"] + counts["admitted"]:
        now = time.monotonic()
        found = limits.reserve(CALLER, desired.models[0], 10, 0, now)
        if not isinstance(found, HeldReservation):
            counts["refused"] += 1
            time.sleep(0.0002)
        else:
            counts["admitted"] += 1
            if mode == "places":
                counts["violations"] += not hold_a_place(Path(of["places"]))
            found.settle(used(10, 0), time.monotonic())
            os.write(1, b".")
        if mode.startswith(("stops", "lingers")):
            break
    end = time.monotonic()
    os.write(1, b"\n" + json.dumps({**counts, "start": start, "end": end}).encode() + b"\n")


def hold_a_place(folder: Path) -> bool:
    """Hold one of the lock files for a moment. Returns False when others hold them all."""
    for path in sorted(folder.iterdir()):
        file = os.open(path, os.O_RDWR)
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(file)
            continue
        time.sleep(random.uniform(0, 0.002))
        os.close(file)
        return True
    return False


def stop_once(after: int) -> None:
    """Let this process stop itself before the write of the gauge with this number, the first time."""
    take = Gauge.take
    calls = []

    def taking(self: Gauge, now: float, tokens: float, money: float) -> None:
        calls.append(self)
        if len(calls) == after + 1:
            os.write(1, b"s")
            os.kill(os.getpid(), signal.SIGSTOP)
        take(self, now, tokens, money)

    def holding(self: Locks, stripe: int, byte: int) -> bool:
        if not calls and after == 0:
            calls.append(None)  # type: ignore[arg-type]
            os.write(1, b"s")
            os.kill(os.getpid(), signal.SIGSTOP)
        return holds(self, stripe, byte)

    holds = Locks.holds
    Locks.holds = holding  # type: ignore[method-assign]
    if after:
        Gauge.take = taking  # type: ignore[method-assign]


def linger_once() -> None:
    """Let this process run on for LINGER_S before the first write of its first update."""
    take = Gauge.take

    def taking(self: Gauge, now: float, tokens: float, money: float) -> None:
        Gauge.take = take  # type: ignore[method-assign]
        os.write(1, b"l")
        until = time.monotonic() + LINGER_S
        while time.monotonic() < until:
            pass
        take(self, now, tokens, money)

    Gauge.take = taking  # type: ignore[method-assign]


if __name__ == "__main__":
    main()
