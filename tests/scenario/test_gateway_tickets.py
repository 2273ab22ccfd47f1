"""The split over several workers, in real processes: they hammer one counter, are killed and are stopped."""

from __future__ import annotations

import random
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack
from functools import partial
from pathlib import Path

import pytest

from controlplane.gateway.choosing.memory import Memory
from controlplane.gateway.choosing.rotation import rotation
from controlplane.gateway.choosing.tickets import Tickets
from controlplane.gateway.seams import Area
from tests.fakes.choosing_world import new_area
from tests.fakes.lock_holder import state
from tests.fakes.ticket_hammer import KEY
from tests.patience import PROCESS_S, wait_until

ROOT = Path(__file__).parents[2]
WEIGHTS = (("v1", 937), ("v2", 50), ("v3", 13))
NEVER = 10**9
STRAYS = 10
"""Tickets of thousands that may be left out or come twice where a worker was stopped."""


class Hammers:
    """Processes that take tickets of one counter."""

    def __init__(self, folder: Path) -> None:
        self.area: Area = new_area()
        self._folder = folder
        self._ending = ExitStack()
        self._started = 0

    def start(self, count: int, *words: str) -> subprocess.Popen[bytes]:
        """Start one. Each has a column and a log of its own."""
        self._started += 1
        command = [sys.executable, "-m", "tests.fakes.ticket_hammer", str(self.area.fd), str(self._started), str(count)]
        log = self._folder / f"tickets-{self._started}"
        process = subprocess.Popen(
            [*command, str(log), *words], cwd=ROOT, pass_fds=(self.area.fd,), stdout=subprocess.PIPE
        )
        self._ending.callback(self._end, process)
        return process

    def tickets(self) -> list[int]:
        """Return all tickets that were taken, in order."""
        found: list[int] = []
        for log in self._folder.glob("tickets-*"):
            data = log.read_bytes()
            found += [int.from_bytes(data[at : at + 8], "little") for at in range(0, len(data) - 7, 8)]
        return sorted(found)

    def taken(self) -> int:
        """Return the number of tickets that were taken."""
        return sum(log.stat().st_size for log in self._folder.glob("tickets-*")) // 8

    def first(self) -> int:
        """Return the first counter of the row."""
        return self._counter(0)

    def second(self) -> int:
        """Return the second counter. 0: the first lock could always be had."""
        return self._counter(1)

    def close(self) -> None:
        self._ending.close()

    def _counter(self, place: int) -> int:
        memory = Memory(self.area, 0)
        row = memory.lanes.hold(KEY)
        assert row is not None
        found: int = memory.tickets[2 * row + place]
        return found

    def _end(self, process: subprocess.Popen[bytes]) -> None:
        if process.poll() is None:
            process.kill()
        process.communicate()


@pytest.fixture
def hammers(tmp_path: Path) -> Iterator[Hammers]:
    hammers = Hammers(tmp_path)
    yield hammers
    hammers.close()


def worst(tickets: list[int]) -> int:
    """Return the largest difference from the weights in any 1,000 successive tickets."""
    table = rotation(tuple(weight for _, weight in WEIGHTS))
    versions = [table[ticket % len(table)] for ticket in tickets]
    counts = Counter(versions[:1000])
    largest = 0
    for end in range(1000, len(versions) + 1):
        largest = max(largest, *(abs(counts[place] - weight) for place, (_, weight) in enumerate(WEIGHTS)))
        if end < len(versions):
            counts[versions[end]] += 1
            counts[versions[end - 1000]] -= 1
    return largest


def about(tickets: list[int], begin: int, count: int) -> bool:
    """Return whether these are `count` successive tickets from `begin` on, but for STRAYS.

    While a worker is stopped with the first lock, the others pass it by. At the moment in which it goes on, a ticket
    may be left out, or come twice.
    """
    whole = set(range(begin, begin + count))
    return len(tickets) == count and len(whole ^ set(tickets)) <= 2 * STRAYS and tickets[0] == begin


def test_four_workers_take_each_ticket_once(hammers: Hammers) -> None:
    started = [hammers.start(5000) for _ in range(4)]
    assert [process.wait(PROCESS_S) for process in started] == [0] * 4
    tickets = hammers.tickets()
    assert worst(tickets) <= 1
    assert tickets == list(range(20_000))
    assert hammers.second() == 0


def test_a_worker_that_is_killed_while_it_holds_the_lock_stops_nobody(hammers: Hammers) -> None:
    doomed = hammers.start(NEVER, "stop")
    wait_until(lambda: state(doomed.pid) == "T")
    doomed.kill()
    doomed.wait()
    started = [hammers.start(2000) for _ in range(2)]
    assert [process.wait(PROCESS_S) for process in started] == [0, 0]
    # The kernel has freed its lock, so the others went on in the first counter. It took no ticket.
    assert hammers.first() > 3900
    assert hammers.tickets()[0] == 0
    assert worst(hammers.tickets()) <= 1
    assert hammers.tickets() == list(range(4000))
    assert hammers.second() == 0


def test_a_worker_that_is_stopped_while_it_holds_the_lock_stops_nobody(hammers: Hammers) -> None:
    stopped = hammers.start(2000, "stop")
    wait_until(lambda: state(stopped.pid) == "T")
    started = [hammers.start(2000) for _ in range(3)]
    assert [process.wait(PROCESS_S) for process in started] == [0] * 3
    assert about(hammers.tickets(), 1, 6000)
    stopped.send_signal(signal.SIGCONT)
    assert stopped.wait(PROCESS_S) == 0
    # It took the ticket that was left for it, and went on after those of the others.
    assert about(hammers.tickets(), 0, 8000)
    assert worst(hammers.tickets()) <= 1


def test_a_worker_that_runs_on_with_the_lock_is_waited_for(hammers: Hammers) -> None:
    slow = hammers.start(1, "linger")
    assert slow.stdout is not None
    assert slow.stdout.readline() == b"lingers\n"
    memory = Memory(hammers.area, 0)
    assert Tickets(memory, memory.lanes.hold(KEY)).take() == 1
    assert slow.wait(PROCESS_S) == 0
    assert hammers.tickets() == [0]
    assert hammers.second() == 0


def test_two_stopped_workers_stop_nobody(hammers: Hammers) -> None:
    first = hammers.start(NEVER, "stop")
    wait_until(lambda: state(first.pid) == "T")
    second = hammers.start(NEVER, "stop")
    wait_until(lambda: state(second.pid) == "T")
    alone = hammers.start(1000)
    assert alone.wait(PROCESS_S) == 0
    assert worst(hammers.tickets()) == 0


def test_the_split_holds_while_workers_are_killed_and_stopped_at_random(hammers: Hammers) -> None:
    rng = random.Random(5)
    running = [hammers.start(NEVER) for _ in range(4)]
    disturbed = 0
    for round_ in range(16):
        before = hammers.taken()
        wait_until(partial(lambda before: hammers.taken() > before + 1000, before))
        one = running.pop(rng.randrange(len(running)))
        disturbed += 1
        if round_ % 2:
            one.kill()
            one.wait()
            running.append(hammers.start(NEVER))
        else:
            one.send_signal(signal.SIGSTOP)
            time.sleep(rng.random() / 10)  # any moment will do
            one.send_signal(signal.SIGCONT)
            running.append(one)
    for one in running:
        one.kill()
        one.wait()
    tickets = hammers.tickets()
    assert len(tickets) > 8000
    # A ticket that a killed worker took is lost. Each other one was taken once.
    assert len(tickets) - len(set(tickets)) <= STRAYS
    assert tickets[-1] + 1 - len(set(tickets)) <= disturbed + len(running) + STRAYS
    assert worst(tickets) <= 2  # ±1, and the lost ticket of a killed worker


def test_a_worker_without_a_row_counts_alone() -> None:
    tickets = Tickets(Memory(new_area(), 0), None)
    assert [tickets.take() for _ in range(3)] == [0, 1, 2]
