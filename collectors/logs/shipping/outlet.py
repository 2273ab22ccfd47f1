"""The destinations of an exporter: takes the lines of all logs, and sends each to whoever wants it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from prometheus_client.core import Metric

from collectors.logs.masking import masked
from collectors.logs.shipping.elasticsearch import Elasticsearch
from collectors.logs.shipping.loki import Loki
from collectors.logs.shipping.otlp import Otlp
from collectors.logs.shipping.post import Post
from collectors.logs.shipping.queue import Queue
from collectors.logs.shipping.record import Record
from collectors.logs.shipping.sender import Sender
from collectors.logs.shipping.settings import Destination, WriteWhole
from collectors.logs.shipping.spool import Spool
from collectors.logs.shipping.verdict import Dialect
from collectors.samples import Labels

FLUSH_S = 5.0
"""Seconds that an ending exporter gives to its destinations."""
MOST = 8192
"""Characters of a line that are sent."""
_GAUGES = {
    "log_exporter_ship_up": "1 while the destination takes lines, 0 while lines wait for another try.",
    "log_exporter_ship_queue_lines": "Lines that wait in memory.",
    "log_exporter_ship_queue_bytes": "Bytes of the lines that wait in memory.",
    "log_exporter_ship_spool_bytes": "Bytes of the lines that wait on disk.",
}
_COUNTERS = {
    "log_exporter_shipped_total": "Lines that the destination accepted.",
    "log_exporter_ship_retried_total": "Lines that were sent again.",
    "log_exporter_ship_dropped_total": "Lines that the destination does not get, by reason.",
}


class Outlet:
    """All destinations. `take` is for any thread and never waits; the rest is for the event loop."""

    def __init__(self, destinations: Sequence[Destination], write: WriteWhole) -> None:
        """Open the spools. Raises OSError for one that cannot be used; its `filename` names it."""
        self._posts: list[Post] = []
        self._senders = [self._sender(destination, write) for destination in destinations]
        self._everything = any(one.everything for one in destinations)

    def _sender(self, destination: Destination, write: WriteWhole) -> Sender:
        dialect = dialect_of(destination)
        post = Post(destination, dialect)
        self._posts.append(post)
        spool = Spool(destination.spool, destination.spool_bytes, write) if destination.spool else None
        if spool:
            spool.open()
        return Sender(destination, dialect, post, Queue(destination.queue_bytes, time.monotonic), spool)

    def start(self) -> None:
        """Begin to send."""
        for sender in self._senders:
            sender.start()

    def wants(self, events: Sequence[str]) -> bool:
        """Whether any destination takes a line that tells these events."""
        return self._everything or (bool(events) and bool(self._senders))

    def take(
        self,
        at: float,
        text: str,
        place: str,
        events: tuple[str, ...],
        severity: str,
        labels: Labels,
        written_ns: int = 0,
    ) -> None:
        """Queue a line that was read at `at` (unix seconds) wherever it is wanted, masked where that is not off."""
        hidden, at_ns = "", round(at * 1e9)
        written_ns = min(written_ns, at_ns)  # a clock that is ahead must not put lines into the future
        for sender in self._senders:
            destination = sender.destination
            if not (events or destination.everything):
                continue
            if destination.mask:
                hidden = hidden or masked(text, MOST)
            told = hidden if destination.mask else text[:MOST]
            sender.queue.put(Record(at_ns, told, place, events, severity, labels, written_ns))

    async def close(self, deadline_s: float = FLUSH_S) -> None:
        """Send what waits, for at most `deadline_s`, and close."""
        await asyncio.gather(*(sender.close(deadline_s) for sender in self._senders))
        for post in self._posts:
            await post.close()

    def families(self) -> Iterator[Metric]:
        """Yield the metrics of all destinations; none without one."""
        if not self._senders:
            return
        for name, words in (*_GAUGES.items(), *_COUNTERS.items()):
            counter = name in _COUNTERS
            family = Metric(name.removesuffix("_total") if counter else name, words, "counter" if counter else "gauge")
            for sender in self._senders:
                own = {"destination": sender.destination.name}
                for labels, value in _samples(name, sender):
                    family.add_sample(name, {**own, **labels}, value)
            yield family

    def story(self) -> list[dict[str, Any]]:
        """Return the state of each destination, for people."""
        return [
            {
                "destination": sender.destination.name,
                "failing": sender.stats.failing,
                "waiting": sender.queue.lines,
                "dropped": sum(sender.dropped.values()),
            }
            for sender in self._senders
        ]


def dialect_of(destination: Destination) -> Dialect:
    """Return the protocol of a destination."""
    kinds: dict[str, Callable[[], Dialect]] = {
        "loki": Loki,
        "elasticsearch": lambda: Elasticsearch(destination.index),
        "otlp": Otlp,
    }
    return kinds[destination.kind]()


def _samples(name: str, sender: Sender) -> Iterator[tuple[dict[str, str], float]]:
    match name:
        case "log_exporter_ship_up":
            yield {}, 0.0 if sender.stats.failing else 1.0
        case "log_exporter_ship_queue_lines":
            yield {}, sender.queue.lines
        case "log_exporter_ship_queue_bytes":
            yield {}, sender.queue.bytes
        case "log_exporter_ship_spool_bytes":
            yield {}, sender.spool.bytes if sender.spool else 0
        case "log_exporter_shipped_total":
            yield {}, sender.stats.sent
        case "log_exporter_ship_retried_total":
            yield {}, sender.stats.retried
        case _:
            yield from (({"reason": reason}, count) for reason, count in sorted(sender.dropped.items()))
