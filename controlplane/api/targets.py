"""The scraped targets, and the control plane's own metrics about them."""

from __future__ import annotations

import asyncio
from collections import Counter as Tally
from collections.abc import Iterable, Mapping, Sequence
from typing import Annotated, NamedTuple, TypeVar

from fastapi import APIRouter, Query
from prometheus_client.core import GaugeMetricFamily, Metric
from pydantic import BaseModel

from collectors.discovery.group import DroppedTarget
from collectors.target import TargetHealth
from controlplane.access.roles import Role
from controlplane.api.auth import GuardedRoute, requires
from controlplane.api.services import Services, ServicesDep
from controlplane.fleet.views import TargetView

router = APIRouter(route_class=GuardedRoute, tags=["fleet"])

Values = TypeVar("Values", tuple[str], tuple[str, str])
"""Values of a metric's labels."""
TARGET = ("target_job", "target_instance")
MAX_DROPPED = 1000
"""Most dropped endpoints in an answer. Chosen: their labels are some 2 KiB each."""


class TargetList(BaseModel):
    """Every target of the fleet."""

    items: tuple[TargetView, ...]
    dropped: int
    """Number of endpoints that `relabel_configs` drop."""
    faults: tuple[str, ...] = ()
    """Why a list of targets is not up to date: one sentence for each file, server or address. Its last good content
    stays in use. A part of a list that is left out, such as an endpoint of a ServiceMonitor, has a sentence too."""
    remarks: tuple[str, ...] = ()
    """Parts of a prometheus.yml or a monitor that have no effect, or find nothing: one sentence for each."""


@router.get("/cp/v1/targets")
@requires(Role.VIEWER)
async def targets(services: ServicesDep) -> TargetList:
    """List the scraped targets and their last scrape."""
    return TargetList(
        items=services.fleet.targets(),
        dropped=len(services.dropped_targets()),
        faults=tuple(services.discovery_faults()),
        remarks=tuple(services.discovery_remarks()),
    )


class DroppedView(BaseModel):
    """An endpoint that `relabel_configs` drop."""

    job: str
    """Its job before the rules."""
    address: str
    labels: dict[str, str]
    """Its labels before the rules."""
    reason: str
    """The rule that drops it, and the values that the rule compares."""


class DroppedList(BaseModel):
    """Endpoints that `relabel_configs` drop."""

    items: tuple[DroppedView, ...]
    total: int
    """Number of endpoints that were asked for, before the limit."""


@router.get("/cp/v1/targets/dropped")
@requires(Role.VIEWER)
async def dropped_targets(
    services: ServicesDep,
    job: str = "",
    search: Annotated[str, Query(max_length=200)] = "",
    limit: Annotated[int, Query(ge=1, le=MAX_DROPPED)] = 100,
) -> DroppedList:
    """List the endpoints that `relabel_configs` drop, each with the rule that drops it.

    `search` keeps those of which a label has this text, such as the name of a pod.
    """
    return await asyncio.to_thread(_dropped, services.dropped_targets(), job, search, limit)


def _dropped(dropped: Sequence[DroppedTarget], job: str, search: str, limit: int) -> DroppedList:
    of_job = [each for each in dropped if job in ("", each.job)]
    found = [each for each in of_job if any(search in value for _, value in each.discovered)] if search else of_job
    items = [
        DroppedView(job=each.job, address=labels.get("__address__", ""), labels=labels, reason=each.reason)
        for each in found[:limit]
        for labels in (dict(each.discovered),)
    ]
    return DroppedList(items=tuple(items), total=len(found))


class DroppedGroup(NamedTuple):
    """Endpoints of one job that one rule drops for the same values."""

    job: str
    reason: str
    endpoints: int
    example: str
    """Address of one of them."""


def dropped_groups(dropped: Sequence[DroppedTarget]) -> list[DroppedGroup]:
    """Return the dropped endpoints by job and reason, the largest group first. Blocking: finds each reason."""
    groups: dict[tuple[str, str], list[DroppedTarget]] = {}
    for each in dropped:
        groups.setdefault((each.job, each.reason), []).append(each)
    made = [
        DroppedGroup(job, reason, len(members), dict(members[0].discovered).get("__address__", ""))
        for (job, reason), members in groups.items()
    ]
    return sorted(made, key=lambda group: (-group.endpoints, group.job, group.reason))


def target_metrics(services: Services) -> Iterable[Metric]:
    """Yield the numbers of targets, and what is wrong with single ones."""
    targets = services.targets()
    tally = Tally((t.engine, t.health) for t in targets)
    counts = {(engine, health): float(count) for (engine, health), count in sorted(tally.items())}
    yield _gauge("controlplane_targets", "Scraped endpoints by engine and health.", ("engine", "health"), counts)
    yield _gauge(
        "controlplane_target_samples_unstorable",
        "Samples of a target's last scrape that were dropped because their names or labels hold a NUL.",
        TARGET,
        {_name(t): float(t.unstorable) for t in targets if t.unstorable},
    )
    yield _gauge(
        "controlplane_target_samples_duplicate",
        "Samples of a target's last scrape that were dropped because their series repeat, also after relabelling.",
        TARGET,
        {_name(t): float(t.duplicates) for t in targets if t.duplicates},
    )
    dropped = Tally(each.job for each in services.dropped_targets())
    help_text = "Endpoints that relabel_configs drop, by their job before the rules."
    counts_by_job = {(job,): float(count) for job, count in sorted(dropped.items())}
    yield _gauge("controlplane_targets_dropped", help_text, ("target_job",), counts_by_job)
    help_text = "Faults of lists of targets: files, servers and single addresses. The last good content stays in use."
    yield GaugeMetricFamily("controlplane_discovery_faults", help_text, value=float(len(services.discovery_faults())))
    # Every target that answers has a value, so that an alert on it resolves by a 0 and not by a missing series.
    blind = {_name(t): float(bool(t.instead)) for t in targets if t.health == "up"}
    help_text = "1 while a target answers with none of the metrics that its engine should expose."
    yield _gauge("controlplane_target_blind", help_text, TARGET, blind)
    refused = services.series_store.refused()
    yield _gauge(
        "controlplane_target_series_refused",
        "Series of a target's last layout that a limit refused.",
        TARGET,
        {_name(t): float(refused[t.target.key]) for t in targets if t.target.key in refused},
    )


def _name(health: TargetHealth) -> tuple[str, str]:
    return health.target.job, health.target.instance


def _gauge(
    name: str,
    help_text: str,
    labels: Sequence[str],
    samples: Mapping[tuple[str, str], float] | Mapping[tuple[str], float],
) -> GaugeMetricFamily:
    family = GaugeMetricFamily(name, help_text, labels=labels)
    for values, value in samples.items():
        family.add_metric(values, value)
    return family
