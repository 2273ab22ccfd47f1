"""Requests by version since the weights were set, from the counters of a proxy's instances. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from controlplane.traffic.proxies.routing import InstanceSeen


class Counts:
    """Remembers the counters at the time when the observed weights last changed.

    The memory is lost with the process: the count then begins again with the first observation. So a share never
    counts as served because of requests of an earlier share.
    """

    def __init__(self) -> None:
        self._weights: Mapping[str, float] | None = None
        self._before: dict[str, tuple[str, Mapping[str, int]]] = {}
        """Life and totals of each instance at the beginning."""

    def since(self, weights: Mapping[str, float], seen: Sequence[InstanceSeen]) -> dict[str, int] | None:
        """Return the requests of each version since `weights` were first seen. None: no instance counts."""
        if weights != self._weights:
            self._weights, self._before = weights, {}
        found: dict[str, int] = {}
        counted = False
        for instance in seen:
            if instance.totals is None:
                continue
            counted = True
            life, before = self._before.get(instance.name, ("", instance.totals))
            if instance.name not in self._before:
                self._before[instance.name] = instance.life, instance.totals
            elif life != instance.life:
                before = {}  # another process: it began to count at 0, after the weights were set or read
                self._before[instance.name] = instance.life, before
            for version, total in instance.totals.items():
                found[version] = found.get(version, 0) + max(0, total - before.get(version, 0))
        return found if counted else None
