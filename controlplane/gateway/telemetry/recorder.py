"""The Recorder of one worker: metrics of its requests, the journal's records, and the ends of spans."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from controlplane.gateway.desired.document import Desired
from controlplane.gateway.recording import Trace, UsageRecord
from controlplane.gateway.refusal import RefusalKind
from controlplane.gateway.request import Content, Outcome, TokenCounts, Traffic
from controlplane.gateway.telemetry import families as f
from controlplane.gateway.telemetry.meters import GONE, Gauge, Meters
from controlplane.gateway.telemetry.series import OUTCOME_WORDS, BackendSeries, TenantSeries, VersionSeries

TENANTS = 200
"""Most tenants with totals of their own. Chosen: with 7 outcomes and 3 types of tokens they make 2,000 series."""
OTHER = "other"
"""The tenant of all tenants beyond the limit, and the reason of all reasons beyond theirs."""
REASONS = 64
"""Most reasons of faults and retries in one worker. An engine's own words are not among them: they are few statuses."""
LOST_HEDGE = "hedge"
"""Reason given to `retried` for the attempt that lost against the other one of a hedged request. It is no failure."""

CALLERS_OWN = frozenset({RefusalKind.RATE_LIMITED.word, RefusalKind.BUDGET_SPENT.word})
"""Refusals for a limit that the caller has used up. They say nothing about the model."""
_REFUSALS = frozenset(kind.word for kind in RefusalKind)
_OF_A_MODEL = (
    *(RefusalKind.FORBIDDEN, RefusalKind.RATE_LIMITED, RefusalKind.BUDGET_SPENT, RefusalKind.OVERLOADED),
    *(RefusalKind.NO_CAPACITY, RefusalKind.STOPPING, RefusalKind.UPSTREAM_FAILED, RefusalKind.UPSTREAM_TIMEOUT),
)
"""Kinds that are declared at 0 for each model. The others come before a model is known."""
_FAILED = frozenset({Outcome.ERROR, Outcome.TIMEOUT, Outcome.REJECTED, Outcome.CUT})


class RecordSink(Protocol):
    """Takes the records for the journal."""

    def append(self, record: UsageRecord) -> None:
        """Add a record to the next batch. Never raises and never waits."""
        ...


class SpanSink(Protocol):
    """Takes the records whose spans are exported."""

    def end(self, trace: Trace, record: UsageRecord) -> None:
        """End a span. Never raises and never waits."""
        ...


def settle(meters: Meters) -> int:
    """Count the requests that a dead worker had open as cut, end its gauges, and return the number of requests.

    Called by the next worker in the region, and by the supervisor when no worker follows. Never while a worker lives.
    """
    lost = 0
    # A list: counting adds series.
    for family, values, gauge in list(meters.left()):
        if family is f.RUNNING and gauge.value > 0:
            meters.counter(f.REQUESTS, *values, OUTCOME_WORDS[Outcome.CUT]).add(gauge.value)
            lost += int(gauge.value)
        gauge.set(GONE if family.merge is f.Merge.MIN else 0.0)
    if lost:
        meters.counter(f.LOST).add(lost)
    return lost


class WorkerRecorder:
    """`Recorder` and `Counters` of recording.py over the region of this worker.

    Series of failures exist at 0 before the first failure, so that the first one is an increase.
    """

    def __init__(self, meters: Meters, journal: RecordSink | None = None, spans: SpanSink | None = None) -> None:
        self._meters, self._journal, self._spans = meters, journal, spans
        self._cells = meters.cells
        settle(meters)
        self._versions: dict[tuple[str, str], VersionSeries] = {}
        self._backends: dict[tuple[str, str, str], BackendSeries] = {}
        self._tenants: dict[str, TenantSeries] = {}
        self._named = {values[0] for values in meters.known(f.TENANT_REQUESTS)} - {OTHER}
        self._reasons: set[str] = set()
        self._connections = meters.gauge(f.CONNECTIONS)
        self._lag = meters.histogram(f.LAG)
        self._waiting: dict[str, Gauge] = {}
        for kind in RefusalKind:
            meters.counter(f.REFUSALS, "", kind.word)

    def expect(self, desired: Desired) -> None:
        """Declare the series of all models, versions, backends and tenants of a state, at 0 where they are new.

        Every worker gets the same states in the same order, so all workers name the same tenants.
        """
        for model in desired.models:
            for kind in _OF_A_MODEL:
                self._meters.counter(f.REFUSALS, model.name, kind.word)
            self._queue(model.name)
            self._backend(model.name, "", "")
            for version in model.versions:
                for backend in version.backends:
                    self._backend(model.name, version.name, backend.url)
        tenants = {tenant.name for tenant in desired.tenants} | {key.tenant for key in desired.keys}
        for tenant in sorted(tenants):
            self._tenant(tenant)

    def applied(self, model: str, generation: int) -> None:
        """This worker applies a generation of a model's split."""
        self._meters.gauge(f.GENERATION, model).set(generation)

    def lag(self, seconds: float) -> None:
        """A timer of the event loop was `seconds` late."""
        self._lag.observe(seconds)

    def began(self, model: str, version: str, backend: str) -> None:
        """An attempt was sent: one more request is open on the backend."""
        found = self._backends.get((model, version, backend)) or self._backend(model, version, backend)
        self._cells[found.running] += 1.0
        self._cells[found.attempts] += 1.0

    def gaps(self, model: str, version: str) -> Callable[[float], None]:
        """Return the counter of the times, in seconds, between two pieces of a version's streams."""
        return self._version(model, version).gap

    def ended(self, record: UsageRecord, *, opened: bool) -> None:
        """A request ended. `opened`: `began` was called for its last attempt."""
        if record.outcome is Outcome.INVALID or record.reason in CALLERS_OWN:
            self._count_callers_own(record, opened)
        else:
            names = (record.model, record.version, record.backend)
            backend = self._backends.get(names) or self._backend(*names)
            if opened:
                self._cells[backend.running] -= 1.0
            self._cells[backend.outcomes[record.outcome]] += 1.0
            backend.version.count(record, opened)
            if record.outcome is not Outcome.OK or record.degraded_from:
                self._count_rare(record, backend)
        if record.tenant:
            (self._tenants.get(record.tenant) or self._tenant(record.tenant)).count(record)
            if self._journal is not None:
                self._journal.append(record)
        if record.trace is not None and self._spans is not None:
            self._spans.end(record.trace, record)

    def retried(self, model: str, version: str, backend: str, why: str) -> None:
        """An attempt failed before its first event, and another one follows."""
        self._cells[self._backend(model, version, backend).running] -= 1.0
        if why != LOST_HEDGE:
            self._meters.counter(f.RETRIES, model, version, backend, self._reason(why)).add()

    def connections(self, change: int) -> None:
        """`change` more client connections are open."""
        self._connections.add(change)

    def waiting(self, model: str, change: int) -> None:
        """`change` more requests are in the queue of a model."""
        self._queue(model).add(change)

    def ejected(self, model: str, version: str, backend: str, *, out: bool) -> None:
        """A backend was ejected (`out`), or taken back after a probe."""
        self._meters.gauge(f.EJECTED, model, version, backend).set(float(out))
        if out:
            self._meters.counter(f.EJECTIONS, model, version, backend).add()

    def hedged(self, model: str, version: str) -> None:
        """A second attempt was sent because the first event was late."""
        self._meters.counter(f.HEDGES, model, version).add()

    def mirrored(self, model: str, version: str, outcome: Outcome) -> None:
        """A copy of a request to `version` ended. Its answer was thrown away."""
        self._meters.counter(f.MIRRORED, model, version, OUTCOME_WORDS[outcome]).add()

    def mirrored_answer(
        self, model: str, version: str, content: Content, counts: TokenCounts, first_s: float | None, duration_s: float
    ) -> None:
        """A copy of a request to `version` got a whole answer that is text."""
        self._version(model, version).answers.count(
            content,
            Traffic.MIRROR,
            prompt=counts.prompt,
            tokens=counts.completion,
            first_s=first_s,
            duration_s=duration_s,
        )

    def cached(self, model: str, *, hit: bool) -> None:
        """A deterministic request was looked up in the response cache."""
        self._meters.counter(f.CACHE, model, "hit" if hit else "miss").add()

    def _count_callers_own(self, record: UsageRecord, opened: bool) -> None:
        if opened:
            self._cells[self._backend(record.model, record.version, record.backend).running] -= 1.0
        if record.outcome is Outcome.INVALID:
            # A name that the client made up must not become a series.
            names = (record.model, record.version) if opened else ("", "")
            self._meters.counter(f.INVALID, *names).add()
        self._count_reason(record)

    def _count_rare(self, record: UsageRecord, backend: BackendSeries) -> None:
        self._count_reason(record)
        if record.outcome is Outcome.CUT and record.backend and record.completion_tokens:
            self._cells[backend.cut_tokens] += record.completion_tokens
        if record.degraded_from:
            self._meters.counter(f.DEGRADED, record.model, record.degraded_from).add()

    def _count_reason(self, record: UsageRecord) -> None:
        if record.reason not in _REFUSALS:
            if record.reason and record.outcome in _FAILED:
                names = (record.model, record.version, record.backend)
                self._meters.counter(f.FAULTS, *names, self._reason(record.reason)).add()
            return
        made_up = record.outcome is Outcome.INVALID and record.reason != RefusalKind.FORBIDDEN.word
        self._meters.counter(f.REFUSALS, "" if made_up else record.model, record.reason).add()

    def _reason(self, word: str) -> str:
        if word in self._reasons or len(self._reasons) < REASONS:
            self._reasons.add(word)
            return word
        return OTHER

    def _version(self, model: str, version: str) -> VersionSeries:
        found = self._versions.get((model, version))
        if found is None:
            found = self._versions[model, version] = VersionSeries(self._meters, model, version)
        return found

    def _backend(self, model: str, version: str, backend: str) -> BackendSeries:
        found = self._backends.get((model, version, backend))
        if found is None:
            of = self._version(model, version)
            found = self._backends[model, version, backend] = BackendSeries(self._meters, of, model, version, backend)
        return found

    def _queue(self, model: str) -> Gauge:
        found = self._waiting.get(model)
        if found is None:
            found = self._waiting[model] = self._meters.gauge(f.WAITING, model)
        return found

    def _tenant(self, name: str) -> TenantSeries:
        found = self._tenants.get(name)
        if found is not None:
            return found
        if name not in self._named and len(self._named) >= TENANTS:
            # Not kept by its own name: the names of a million tenants would be memory without a bound.
            return self._tenants.get(OTHER) or self._tenants.setdefault(OTHER, TenantSeries(self._meters, OTHER))
        self._named.add(name)
        found = self._tenants[name] = TenantSeries(self._meters, name)
        return found
