"""A process that takes tickets: `python -m tests.fakes.ticket_hammer FD COLUMN COUNT LOG [stop]`.

It appends each ticket to LOG as eight bytes, one write a ticket. `stop`: it stops itself in the middle of the first
ticket, between reading the counter and writing it, while it holds the lock.
"""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path

from controlplane.gateway.choosing.memory import Memory, key_of
from controlplane.gateway.choosing.tickets import Tickets
from tests.fakes.choosing_world import mapped

KEY = key_of("tickets", "chat", "")


class StoppingCells:
    """Cells of the counters that stop the process before the first write."""

    def __init__(self, cells: memoryview) -> None:
        self._cells = cells
        self._stopped = False

    def __getitem__(self, place: int) -> int:
        found: int = self._cells[place]
        return found

    def __setitem__(self, place: int, value: int) -> None:
        if not self._stopped:
            self._stopped = True
            os.kill(os.getpid(), signal.SIGSTOP)
        self._cells[place] = value


def main(fd: int, column: int, count: int, log: Path, stop: bool) -> None:
    memory = Memory(mapped(fd), column)
    row = memory.lanes.hold(KEY)
    while row is None:
        row = memory.lanes.hold(KEY)
    tickets = Tickets(memory, row)
    if stop:
        tickets._cells = StoppingCells(memory.tickets)  # type: ignore[assignment]
    out = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    for _ in range(count):
        os.write(out, tickets.take().to_bytes(8, "little"))


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]), Path(sys.argv[4]), sys.argv[5:] == ["stop"])
