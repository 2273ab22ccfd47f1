"""Gateways as a driver sees them, in memory: each applies an assignment at once, late or never."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from controlplane.errors import Unavailable
from controlplane.traffic.gateway.driver import GatewaySeen, ModelTraffic


@dataclass
class OneGateway:
    """One gateway. `applies` is False while it keeps its generation."""

    applies: bool = True
    live: bool = True
    left: bool = False
    generation: int | None = 0
    fault: str = ""
    requests: dict[str, int] = field(default_factory=dict)
    open: dict[str, int] = field(default_factory=dict)


class FakeGateways:
    """The traffic of one model. `weights` is the assignment."""

    def __init__(self, stable: str = "v1", names: tuple[str, ...] = ("g1",)) -> None:
        self.weights: dict[str, float] = {stable: 1.0}
        self.mirror: dict[str, float] = {}
        self.generation = 0
        self.each = {name: OneGateway() for name in names}
        self.assigned: list[tuple[dict[str, float], str, object]] = []
        self.fault = ""
        """When set, the database cannot be reached."""
        self.on_assign: Callable[[], object] = lambda: None

    def traffic(self, model: str) -> ModelTraffic:
        """Return the traffic, as the store does."""
        self._check()
        live = tuple(
            GatewaySeen(name, each.generation, dict(each.requests), dict(each.open), each.fault)
            for name, each in self.each.items()
            if each.live
        )
        silent = tuple(name for name, each in self.each.items() if not each.live and not each.left)
        return ModelTraffic(self.generation, dict(self.weights), live, silent, dict(self.mirror))

    def assign(
        self, model: str, weights: Mapping[str, float], mirror: Mapping[str, float], by: str, tenure: object
    ) -> None:
        """Set weights and copies. Equal ones keep their generation."""
        self._check()
        self.assigned.append((dict(weights), by, tenure))
        if (dict(weights), dict(mirror)) != (self.weights, self.mirror):
            self.generation += 1
            self.weights, self.mirror = dict(weights), dict(mirror)
        self.apply()
        self.on_assign()

    def apply(self) -> None:
        """Let the gateways that follow apply the assignment."""
        for each in self.each.values():
            if each.applies and each.generation != self.generation:
                each.generation, each.requests = self.generation, {}

    def _check(self) -> None:
        if self.fault:
            raise Unavailable(self.fault)
