"""A process that takes tickets: `python -m tests.fakes.ticket_hammer FD COLUMN COUNT LOG [stop | linger]`.

It appends each ticket to LOG as eight bytes, one write a ticket. `stop`: it stops itself in the middle of the first
ticket, between reading the counter and writing it, while it holds the lock. `linger`: there it writes a line to its
standard output and runs on for LINGER_S.
"""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path

from controlplane.gateway.choosing.memory import Memory, key_of
from controlplane.gateway.choosing.tickets import Tickets
from tests.fakes.choosing_world import mapped

KEY = key_of("tickets", "chat", "")


LINGER_S = 0.15


class HeldUpCells:
    """Cells of the counters that hold the process up before the first write."""

    def __init__(self, cells: memoryview, hold_up: Callable[[], None]) -> None:
        self._cells = cells
        self._hold_up: Callable[[], None] | None = hold_up

    def __getitem__(self, place: int) -> int:
        found: int = self._cells[place]
        return found

    def __setitem__(self, place: int, value: int) -> None:
        if self._hold_up is not None:
            hold_up, self._hold_up = self._hold_up, None
            hold_up()
        self._cells[place] = value


def stop() -> None:
    """Stop this process until somebody lets it go on."""
    os.kill(os.getpid(), signal.SIGSTOP)


def linger() -> None:
    """Say so, and run on for a while."""
    os.write(1, b"lingers\n")
    until = time.monotonic() + LINGER_S
    while time.monotonic() < until:
        pass


HOLD_UPS: dict[str, Callable[[], None]] = {"stop": stop, "linger": linger}


def main(fd: int, column: int, count: int, log: Path, held_up: str) -> None:
    memory = Memory(mapped(fd), column)
    row = memory.lanes.hold(KEY)
    while row is None:
        row = memory.lanes.hold(KEY)
    tickets = Tickets(memory, row)
    if held_up:
        tickets._cells = HeldUpCells(memory.tickets, HOLD_UPS[held_up])  # type: ignore[assignment]
    out = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    for _ in range(count):
        os.write(out, tickets.take().to_bytes(8, "little"))


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]), Path(sys.argv[4]), "".join(sys.argv[5:]))
