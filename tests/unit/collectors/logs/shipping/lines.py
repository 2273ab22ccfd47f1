"""Lines for destinations, and a sender on a clock that tests move."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from collectors.errors import ScrapeError
from collectors.logs.shipping.outlet import dialect_of
from collectors.logs.shipping.queue import Queue
from collectors.logs.shipping.record import Record
from collectors.logs.shipping.sender import Sender
from collectors.logs.shipping.settings import Destination
from collectors.logs.shipping.spool import Spool
from collectors.logs.shipping.verdict import Answer

LABELS = (("log", "chat"), ("log_engine", "vllm"), ("node", "gpu-1"))
NS = 10**9
BEGIN = 1_000_000.0


def line(text: str, at: float = BEGIN, events: tuple[str, ...] = ()) -> Record:
    return Record(round(at * NS), text, "/var/log/a.log", events, "critical" if events else "", LABELS)


def write(path: Path, data: bytes) -> None:
    path.write_bytes(data)


class World:
    """A destination that answers as it is told, and time that passes only while the sender waits."""

    def __init__(
        self, *answers: Answer | ScrapeError, spool: Spool | None = None, kind: str = "loki", **own: Any
    ) -> None:
        self.answers = list(answers)
        self.posted: list[list[str]] = []
        self.waits: list[float] = []
        self.clock = BEGIN
        self.while_waiting: Callable[[], None] = lambda: None
        self.destination = Destination(kind, kind, "http://a", index="i", **own)
        queue = Queue(self.destination.queue_bytes, lambda: self.clock)
        self.sender = Sender(
            self.destination,
            dialect_of(self.destination),
            self._post,
            queue,
            spool,
            sleep=self._sleep,
            now=lambda: self.clock,
            jitter=lambda: 0.0,
        )

    def put(self, *texts: str) -> None:
        for text in texts:
            self.sender.queue.put(line(text, self.clock))

    async def sent(self) -> list[list[str]]:
        """Let the lines wait long enough, send one batch, and return the requests."""
        self.clock += self.destination.batch_wait_s
        await self.sender.turn()
        return self.posted

    async def _post(self, records: Sequence[Record]) -> Answer:
        self.posted.append([record.text for record in records])
        answer = self.answers.pop(0) if self.answers else Answer(204)
        if isinstance(answer, ScrapeError):
            raise answer
        return answer

    async def _sleep(self, seconds: float) -> None:
        self.waits.append(seconds)
        self.clock += seconds
        self.while_waiting()
