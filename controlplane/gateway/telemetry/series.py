"""The series of one version, backend and tenant, by the places of their cells.

A worker counts thousands of requests a second, so the paths of every request change cells by their places and call
nothing: a call costs as much as the addition.
"""

from __future__ import annotations

from bisect import bisect_left

from controlplane.gateway.recording import UsageRecord
from controlplane.gateway.request import Outcome, Traffic
from controlplane.gateway.telemetry import families as f
from controlplane.gateway.telemetry.answers import AnswerSeries
from controlplane.gateway.telemetry.meters import Meters

OUTCOME_WORDS = {outcome: "success" if outcome is Outcome.OK else outcome.value for outcome in Outcome}
"""Outcomes as the catalogue names them."""
COUNTED = tuple(outcome for outcome in Outcome if outcome is not Outcome.INVALID)
"""Outcomes of `llm_requests_total`. A request that is wrong says nothing about the model."""
_OK, _TIMEOUT = Outcome.OK, Outcome.TIMEOUT
_DURATION_SUM = len(f.DURATION_BOUNDS) + 1
_FIRST_SUM = len(f.FIRST_BOUNDS) + 1
_GAP_SUM = len(f.GAP_BOUNDS) + 1
_QUEUE_SUM = len(f.QUEUE_BOUNDS) + 1


class VersionSeries:
    """The series of one version of a model."""

    __slots__ = (
        *("_cached", "_cells", "_duration", "_estimated", "_first", "_gap", "_input", "_output", "_per_token"),
        *("_queue", "answers"),
    )

    def __init__(self, meters: Meters, model: str, version: str) -> None:
        names = (model, version)
        self._cells = meters.cells
        self._duration = meters.place(f.DURATION, *names)
        self._first = meters.place(f.FIRST, *names)
        self._per_token = meters.place(f.PER_TOKEN, *names)
        self._gap = meters.place(f.GAP, *names)
        self._queue = meters.place(f.QUEUE, *names)
        self._input = meters.place(f.TOKENS, *names, "input")
        self._output = meters.place(f.TOKENS, *names, "output")
        self._cached = meters.place(f.TOKENS, *names, "input_cached")
        self._estimated = meters.place(f.ESTIMATED, *names)
        self.answers = AnswerSeries(meters, model, version)

    def gap(self, seconds: float) -> None:
        """Count the time between two pieces of a stream."""
        cells, at = self._cells, self._gap
        cells[at + bisect_left(f.GAP_BOUNDS, seconds)] += 1.0
        cells[at + _GAP_SUM] += seconds

    def count(self, record: UsageRecord, opened: bool) -> None:
        """Count durations and tokens of an ended request.

        As the probe does: errors and refusals are fast and no answers, so they have no duration. The duration of a
        timeout is unknown but longer than the time waited, so it counts above every bound.
        """
        cells, outcome, duration, first = self._cells, record.outcome, record.duration_s, record.first_s
        tokens = record.completion_tokens
        if outcome is _OK:
            cells[self._duration + bisect_left(f.DURATION_BOUNDS, duration)] += 1.0
            cells[self._duration + _DURATION_SUM] += duration
            if first is not None and tokens is not None and tokens > 1:
                each = (duration - first) / (tokens - 1)
                cells[self._per_token + bisect_left(f.GAP_BOUNDS, each)] += 1.0
                cells[self._per_token + _GAP_SUM] += each
            if record.content is not None:
                self.answers.count(
                    record.content,
                    Traffic.CLIENT,
                    prompt=record.prompt_tokens,
                    tokens=tokens,
                    first_s=first if record.streamed else None,
                    duration_s=duration,
                )
        elif outcome is _TIMEOUT:
            cells[self._duration + _DURATION_SUM - 1] += 1.0
            cells[self._duration + _DURATION_SUM] += duration
        if first is not None:
            cells[self._first + bisect_left(f.FIRST_BOUNDS, first)] += 1.0
            cells[self._first + _FIRST_SUM] += first
        elif outcome is _TIMEOUT:
            cells[self._first + _FIRST_SUM - 1] += 1.0
            cells[self._first + _FIRST_SUM] += duration
        if record.queue_s > 0:
            cells[self._queue + bisect_left(f.QUEUE_BOUNDS, record.queue_s)] += 1.0
            cells[self._queue + _QUEUE_SUM] += record.queue_s
        elif opened:
            cells[self._queue] += 1.0
        self._count_tokens(record)

    def _count_tokens(self, record: UsageRecord) -> None:
        cells = self._cells
        if record.prompt_tokens:
            cells[self._input] += record.prompt_tokens
        if record.completion_tokens:
            cells[self._output] += record.completion_tokens
        if record.cached_tokens:
            cells[self._cached] += record.cached_tokens
        if record.estimated:
            cells[self._estimated] += 1.0


class BackendSeries:
    """The series of one backend of a version, as places of cells. Backend "": the requests that no backend took."""

    __slots__ = ("attempts", "cut_tokens", "outcomes", "running", "version")

    def __init__(self, meters: Meters, version: VersionSeries, model: str, name: str, backend: str) -> None:
        names = (model, name, backend)
        self.version = version
        self.outcomes: dict[Outcome, int] = {
            outcome: meters.place(f.REQUESTS, *names, OUTCOME_WORDS[outcome]) for outcome in COUNTED
        }
        if backend:
            self.running = meters.place(f.RUNNING, *names)
            self.attempts = meters.place(f.ATTEMPTS, *names)
            self.cut_tokens = meters.place(f.CUT_TOKENS, *names)


class TenantSeries:
    """The totals of one tenant."""

    __slots__ = ("_cells", "_input", "_outcomes", "_output")

    def __init__(self, meters: Meters, name: str) -> None:
        self._cells = meters.cells
        self._input = meters.place(f.TENANT_TOKENS, name, "input")
        self._output = meters.place(f.TENANT_TOKENS, name, "output")
        self._outcomes = {o: meters.place(f.TENANT_REQUESTS, name, OUTCOME_WORDS[o]) for o in Outcome}

    def count(self, record: UsageRecord) -> None:
        """Count one request."""
        cells = self._cells
        cells[self._outcomes[record.outcome]] += 1.0
        if record.prompt_tokens:
            cells[self._input] += record.prompt_tokens
        if record.completion_tokens:
            cells[self._output] += record.completion_tokens
