"""State that the versions of one model share, and their way to the worker above them."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass

from controlplane.gateway.choosing.line import Line
from controlplane.gateway.choosing.memory import Memory
from controlplane.gateway.choosing.overload.fairness import Fairness
from controlplane.gateway.choosing.overload.pressure import Drain
from controlplane.gateway.choosing.replica import Replica, Replicas
from controlplane.gateway.choosing.vetoes import Vetoes
from controlplane.gateway.desired.document import ModelSpec
from controlplane.gateway.recording import Counters

log = logging.getLogger(__name__)


@dataclass(slots=True)
class Worker:
    """State that all models of a worker share."""

    memory: Memory
    replicas: Replicas
    vetoes: Vetoes
    counters: Counters
    weights: dict[str, float]
    """Weights of tenants."""
    draw: Callable[[], float]
    """Returns a random number in [0, 1)."""
    wake: Callable[[], None]
    """Asks that queues be served soon."""
    doubled: bool = False
    """Whether a double release was logged."""


class ModelContext:
    """State that the versions of one model share."""

    def __init__(self, spec: ModelSpec, worker: Worker) -> None:
        self.spec = spec
        self.fairness = Fairness(worker.weights)
        self.drain = Drain()
        self.waiting = 0
        """Requests that wait in this worker."""
        self.memory = worker.memory
        self.replicas = worker.replicas
        self.vetoes = worker.vetoes
        self.draw = worker.draw
        self._worker = worker

    def line(self, version: str) -> Line:
        """Return the count of requests that wait for a version."""
        return Line(self.spec.name, version, self.memory)

    def wake(self) -> None:
        """A backend may be free: serve the queue soon, if it is not empty."""
        if self.waiting:
            self._worker.wake()

    def waiting_changed(self, change: int) -> None:
        """Count a request that began or ended to wait."""
        self.waiting += change
        self._worker.counters.waiting(self.spec.name, change)

    def ejected(self, version: str, replica: Replica, *, out: bool) -> None:
        """Count and log an ejection, or its end."""
        url = replica.spec.url
        if out:
            log.warning(
                "model %s, version %s: no requests to %s for a while, because it failed", self.spec.name, version, url
            )
        else:
            log.info("model %s, version %s: requests to %s again", self.spec.name, version, url)
        self._worker.counters.ejected(self.spec.name, version, url, out=out)

    def doubled(self, url: str) -> None:
        """Log the first double release of this worker."""
        if not self._worker.doubled:
            self._worker.doubled = True
            log.error("a request to %s gave its backend back twice; this is logged once", url)
