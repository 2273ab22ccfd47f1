"""Counts the requests of each version since its model's generation was applied: the proof that a new split is in use."""

from __future__ import annotations

from typing import Any

from controlplane.gateway.desired.document import Desired
from controlplane.gateway.seams import Recorder, UsageRecord


class CountingRecorder:
    """A Recorder that counts attempts by (model, version) and hands everything on."""

    def __init__(self, inner: Recorder) -> None:
        self._inner = inner
        self._generations: dict[str, int] = {}
        self._counts: dict[str, dict[str, int]] = {}
        self.gap = inner.gap
        self.retried = inner.retried

    def apply(self, desired: Desired) -> None:
        """Begin to count anew for each model whose generation differs."""
        generations = {model.name: model.generation for model in desired.models}
        for name in self._generations.keys() | generations.keys():
            if generations.get(name) != self._generations.get(name):
                self._counts.pop(name, None)
        self._generations = generations

    def began(self, model: str, version: str, backend: str) -> None:
        """Count an attempt that was sent."""
        counts = self._counts.get(model)
        if counts is None:
            counts = self._counts[model] = {}
        counts[version] = counts.get(version, 0) + 1
        self._inner.began(model, version, backend)

    def ended(self, record: UsageRecord, *, opened: bool) -> None:
        """Hand on the end of a request."""
        self._inner.ended(record, opened=opened)

    def counted(self) -> dict[str, dict[str, Any]]:
        """Return {model: {"generation": number, "requests": {version: number}}} of the applied state."""
        return {
            name: {"generation": generation, "requests": dict(self._counts.get(name, {}))}
            for name, generation in self._generations.items()
        }
