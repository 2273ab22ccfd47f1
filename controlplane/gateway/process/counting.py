"""Counts the requests of each version since its model's generation was applied: it shows that a new split is in use."""

from __future__ import annotations

from typing import Any

from controlplane.gateway.desired.document import Desired
from controlplane.gateway.telemetry.meters import Meters
from controlplane.gateway.telemetry.recorder import RecordSink, SpanSink, WorkerRecorder


class CountingRecorder(WorkerRecorder):
    """A worker's recorder. It also counts attempts by model and version since the model's generation was applied."""

    def __init__(self, meters: Meters, journal: RecordSink | None = None, spans: SpanSink | None = None) -> None:
        super().__init__(meters, journal, spans)
        self._generations: dict[str, int] = {}
        self._counts: dict[str, dict[str, int]] = {}

    def apply(self, desired: Desired) -> None:
        """Declare the series of a state. Begin to count anew for each model whose generation differs."""
        self.expect(desired)
        before, self._generations = self._generations, {model.name: model.generation for model in desired.models}
        for name, generation in self._generations.items():
            if before.get(name) != generation:
                self._counts[name] = {}
                self.applied(name, generation)
        self._counts = {name: self._counts[name] for name in self._generations}

    def began(self, model: str, version: str, backend: str) -> None:
        """Count an attempt that was sent."""
        counts = self._counts.get(model)
        if counts is not None:
            counts[version] = counts.get(version, 0) + 1
        super().began(model, version, backend)

    def counted(self) -> dict[str, dict[str, Any]]:
        """Return {model: {"generation": number, "requests": {version: number}}} of the applied state."""
        return {
            name: {"generation": generation, "requests": self._counts[name]}
            for name, generation in self._generations.items()
        }
