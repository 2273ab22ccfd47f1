"""The routes of the gateways as people see them: model, version and backends, with what the gateways count. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from alerts.interfaces import VectorSample
from controlplane.fleet.view import View, finite
from controlplane.gateway.desired.document import WHOLE, BackendSpec, Desired, ModelSpec, VersionSpec

QUERIES = {
    "requests": 'sum by (model, version, outcome) (rate(llm_requests_total{source="gateway"}[5m]))',
    "p99": "histogram_quantile(0.99, "
    'sum by (model, version, le) (rate(llm_request_duration_seconds_bucket{source="gateway"}[5m])))',
    "running": 'sum by (model, version, backend) (llm_requests_running{source="gateway"})',
    "waiting": 'sum by (model) (llm_requests_waiting{source="gateway"})',
    "ejected": "max by (model, version, backend) (controlplane_gateway_ejected)",
    "vetoed": "max by (backend) (controlplane_gateway_vetoed)",
    "refused": "sum by (model, kind) (increase(controlplane_gateway_refusals_total[1h])) > 0",
}
"""The PromQL of each number. Rates are of five minutes, refusals of an hour."""
GOOD = "success"
"""The outcome of an answered request."""
NOBODYS = frozenset({"aborted"})
"""Outcomes that are neither good nor the fault of a version: the client left."""
Numbers = Mapping[str, Sequence[VectorSample]]
"""The result of each query; a missing one could not be read."""


class RouteBackendView(View):
    """One backend of a version. null is unknown."""

    url: str
    engine: str
    open_requests: int | None
    most_open: int | None
    """The gateway's own limit of open requests; null: none."""
    ejected: bool | None
    """Whether a worker has taken it out of the rotation after failures."""
    vetoed: bool | None
    """Whether it gets no request because its own metrics say that it is full."""
    draining: bool


class RouteVersionView(View):
    """One version of a model at the gateways."""

    version: str
    weight: float
    """Its share of the model's requests, 0 to 1. 0: only testers get it."""
    requests_per_second: float | None
    error_ratio: float | None
    latency_p99_seconds: float | None
    open_requests: float | None
    backends: tuple[RouteBackendView, ...]


class RouteModelView(View):
    """One model at the gateways."""

    model: str
    generation: int
    """Rises with every change of the weights; 0: no driver moves them."""
    waiting: float | None
    """Requests in the gateways' queue."""
    most_waiting: int
    versions: tuple[RouteVersionView, ...]


class RefusalView(View):
    """Requests that the gateways refused within the last hour."""

    model: str
    kind: str
    requests: float


class RouteList(View):
    """The routes by model, and the refusals, the most frequent first."""

    generated_at: str
    models: tuple[RouteModelView, ...]
    refusals: tuple[RefusalView, ...]
    unread: tuple[str, ...]
    """Names of numbers that could not be read now."""


class _Index:
    """The samples of the queries, found by their labels: each query is looked through once, not for each backend."""

    def __init__(self, numbers: Numbers) -> None:
        self._numbers = numbers
        self._found: dict[tuple[str, ...], dict[tuple[str, ...], list[tuple[dict[str, str], float]]]] = {}

    def of(self, name: str, **wanted: str) -> list[tuple[dict[str, str], float]]:
        """Return a query's samples with these labels."""
        key = (name, *wanted)
        if key not in self._found:
            grouped: dict[tuple[str, ...], list[tuple[dict[str, str], float]]] = {}
            for labels, value in _read(self._numbers, name):
                grouped.setdefault(tuple(labels.get(label, "") for label in wanted), []).append((labels, value))
            self._found[key] = grouped
        return self._found[key].get(tuple(wanted.values()), [])

    def sum(self, name: str, **wanted: str) -> float | None:
        """Return the sum of a query's samples with these labels; None: there are none."""
        found = [value for _, value in self.of(name, **wanted)]
        return sum(found) if found else None


def route_models(desired: Desired, numbers: Numbers) -> tuple[RouteModelView, ...]:
    """Return every model of the desired state, with its numbers."""
    index = _Index(numbers)
    return tuple(_model(model, index) for model in desired.models)


def refusals(numbers: Numbers) -> tuple[RefusalView, ...]:
    """Return the refusals, the most frequent first."""
    found = [
        RefusalView(model=labels.get("model", ""), kind=labels.get("kind", ""), requests=round(value))
        for labels, value in _read(numbers, "refused")
        if value >= 0.5
    ]
    return tuple(sorted(found, key=lambda one: (-one.requests, one.model, one.kind)))


def _model(model: ModelSpec, index: _Index) -> RouteModelView:
    return RouteModelView(
        model=model.name,
        generation=model.generation,
        waiting=index.sum("waiting", model=model.name),
        most_waiting=model.queue.max_waiting,
        versions=tuple(_version(model.name, version, index) for version in model.versions),
    )


def _version(model: str, version: VersionSpec, index: _Index) -> RouteVersionView:
    of_it = {"model": model, "version": version.name}
    outcomes = [(labels.get("outcome", ""), value) for labels, value in index.of("requests", **of_it)]
    total = sum(value for _, value in outcomes) if outcomes else None
    counted = sum(value for outcome, value in outcomes if outcome not in NOBODYS)
    failed = sum(value for outcome, value in outcomes if outcome not in {GOOD, *NOBODYS})
    return RouteVersionView(
        version=version.name,
        weight=version.weight / WHOLE,
        requests_per_second=total,
        error_ratio=failed / counted if counted else None,
        latency_p99_seconds=index.sum("p99", **of_it),
        open_requests=index.sum("running", **of_it),
        backends=tuple(_backend(model, version.name, backend, index) for backend in version.backends),
    )


def _backend(model: str, version: str, backend: BackendSpec, index: _Index) -> RouteBackendView:
    of_it = {"model": model, "version": version, "backend": backend.url}
    running = index.sum("running", **of_it)
    return RouteBackendView(
        url=backend.url,
        engine=backend.engine,
        open_requests=None if running is None else round(running),
        most_open=backend.max_in_flight or None,
        ejected=_yes(index.sum("ejected", **of_it)),
        vetoed=_yes(index.sum("vetoed", backend=backend.url)),
        draining=backend.draining,
    )


def _read(numbers: Numbers, name: str) -> list[tuple[dict[str, str], float]]:
    """Return the samples of a query with their labels. NaN is dropped: a quantile without requests is unknown."""
    found = ((dict(sample.labels), finite(sample.value)) for sample in numbers.get(name, ()))
    return [(labels, value) for labels, value in found if value is not None]


def _yes(value: float | None) -> bool | None:
    return None if value is None else value > 0
