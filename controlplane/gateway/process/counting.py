"""Counts the requests of each version since its model's generation was applied: it shows that a new split is in use."""

from __future__ import annotations

from typing import Any

from controlplane.gateway.desired.document import Desired
from controlplane.gateway.telemetry.meters import Meters
from controlplane.gateway.telemetry.recorder import RecordSink, SpanSink, WorkerRecorder


class CountingRecorder(WorkerRecorder):
    """A worker's recorder that also knows the attempts by model and version since the model's generation was applied.

    The attempts are counted for the metrics anyway, so a request costs nothing more.
    """

    def __init__(self, meters: Meters, journal: RecordSink | None = None, spans: SpanSink | None = None) -> None:
        super().__init__(meters, journal, spans)
        self._generations: dict[str, int] = {}
        self._before: dict[str, dict[str, int]] = {}
        """Attempts by model and version when the model's generation was applied."""

    def apply(self, desired: Desired) -> None:
        """Declare the series of a state. Begin to count anew for each model whose generation differs."""
        self.expect(desired)
        attempts = self._all_attempts()
        generations = {model.name: model.generation for model in desired.models}
        for name, generation in generations.items():
            if self._generations.get(name) != generation:
                self._before[name] = attempts.get(name, {})
                self.applied(name, generation)
        self._before = {name: self._before[name] for name in generations}
        self._generations = generations

    def counted(self) -> dict[str, dict[str, Any]]:
        """Return {model: {"generation": number, "requests": {version: number}}} of the applied state."""
        attempts = self._all_attempts()
        return {
            name: {"generation": generation, "requests": _rise(self._before[name], attempts.get(name, {}))}
            for name, generation in self._generations.items()
        }

    def _all_attempts(self) -> dict[str, dict[str, int]]:
        found: dict[str, dict[str, int]] = {}
        for (model, version, backend), series in self._backends.items():
            if backend:
                counts = found.setdefault(model, {})
                counts[version] = counts.get(version, 0) + round(self._cells[series.attempts])
        return found


def _rise(before: dict[str, int], now: dict[str, int]) -> dict[str, int]:
    """Return the numbers by which counters have risen, without those that have not."""
    return {name: number - before.get(name, 0) for name, number in now.items() if number > before.get(name, 0)}
