"""Prometheus's API about scraped targets: `targets`, `scrape_pools`, `targets/metadata`."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any
from urllib.parse import urlsplit

from fastapi import APIRouter
from fastapi.responses import Response

from collectors.discovery.group import DroppedTarget
from collectors.target import Target, TargetHealth
from controlplane.access.roles import Role
from controlplane.api.auth import GuardedRoute, requires
from controlplane.api.interop.asker import AskerDep
from controlplane.api.prometheus import QUERY_TIMEOUT_S, ParamsDep, success
from controlplane.api.prometheus_params import bad
from controlplane.api.services import Services, ServicesDep
from controlplane.errors import QueryError
from controlplane.fleet.view import rfc3339
from controlplane.metrics.promql.syntax.tree import parse_selector
from controlplane.metrics.series.matchers import Matcher

router = APIRouter(route_class=GuardedRoute, tags=["prometheus"])

NEVER = "0001-01-01T00:00:00Z"
RECENT_S = 300.0
"""Seconds after its last sample for which a metric still counts as exposed by its target. Chosen."""
_SUFFIXES = ("_bucket", "_sum", "_count", "_total", "_created", "_info")


@router.get("/api/v1/targets")
@requires(Role.VIEWER)
def targets(services: ServicesDep, params: ParamsDep) -> Response:
    """List scraped targets (`state`, `scrapePool`)."""
    pool, state = params.get("scrapePool"), params.get("state").lower()
    if state not in ("", "any", "active", "dropped"):
        raise bad("state", f'not supported value "{state}"')
    found = [] if state == "dropped" else [_target(t) for t in services.targets() if pool in ("", t.target.job)]
    dropped = [each for each in services.dropped_targets() if pool in ("", each.job)]
    shown = [] if state == "active" else [_dropped(each) for each in dropped]
    counts = dict(sorted(Counter(each.job for each in dropped).items()))
    return success({"activeTargets": found, "droppedTargets": shown, "droppedTargetCounts": counts})


@router.get("/api/v1/scrape_pools")
@requires(Role.VIEWER)
def scrape_pools(services: ServicesDep) -> Response:
    """List the jobs. `targets` accepts one of them as `scrapePool`."""
    return success({"scrapePools": sorted({health.target.job for health in services.targets()})})


@router.get("/api/v1/targets/metadata")
@requires(Role.VIEWER)
async def target_metadata(services: ServicesDep, asker: AskerDep, params: ParamsDep) -> Response:
    """List type and help of each target's metrics (`match_target`, `metric`, `limit`).

    Raises QueryError(timeout) after QUERY_TIMEOUT_S.
    """
    limit, metric = params.family_limit(), params.get("metric")
    chosen = _matching(services.targets(), params.get("match_target"))
    try:
        async with asyncio.timeout(QUERY_TIMEOUT_S):
            return success(await asker.wait_for(_target_metadata(services, asker.id, chosen, metric, limit)))
    except TimeoutError as error:
        raise QueryError("timeout", "reading every target's metrics took too long; narrow match_target") from error


async def _target_metadata(
    services: Services, asker: str, chosen: Sequence[Target], metric: str, limit: int
) -> list[dict[str, Any]]:
    families = await services.queries.metadata(metric, -1)
    now = services.clock.now()
    found: list[dict[str, Any]] = []
    for target in chosen:
        if 0 <= limit <= len(found):
            break
        # A JSON string is also a valid string of PromQL.
        selector = f"{{job={json.dumps(target.job)},instance={json.dumps(target.instance)}}}"
        names = await services.queries.label_values("__name__", [selector], now - RECENT_S, now, asker=asker)
        for family in _families(names, families):
            named = {} if metric else {"metric": family}
            found.append({"target": _labels(target), **named, **families[family][0]})
    return found if limit < 0 else found[:limit]


def _families(names: Iterable[str], known: dict[str, list[dict[str, str]]]) -> list[str]:
    """Return the known metric families of these series names, sorted: `x_bucket` and `x_sum` → `x`."""
    bare = {name.removesuffix(suffix) for name in names for suffix in ("", *_SUFFIXES)}
    return sorted(bare & known.keys())


def _matching(targets: Sequence[TargetHealth], selector: str) -> list[Target]:
    if not selector:
        return [health.target for health in targets]
    try:
        matchers = parse_selector(selector)
    except QueryError as error:
        raise bad("match_target", str(error)) from error
    return [health.target for health in targets if _matches(_labels(health.target), matchers)]


def _matches(labels: dict[str, str], matchers: Sequence[Matcher]) -> bool:
    return all(matcher.matches(labels.get(matcher.name, "")) for matcher in matchers)


def _labels(target: Target) -> dict[str, str]:
    return {**dict(target.labels), "job": target.job, "instance": target.instance}


def _dropped(target: DroppedTarget) -> dict[str, Any]:
    return {"discoveredLabels": dict(target.discovered), "scrapePool": target.job}


def _target(health: TargetHealth) -> dict[str, Any]:
    target = health.target
    labels = _labels(target)
    return {
        "discoveredLabels": dict(target.discovered) or {**labels, **_address(target.url)},
        "labels": labels,
        "scrapePool": target.job,
        "scrapeUrl": target.url,
        "globalUrl": target.url,
        "lastError": health.last_error,
        "lastScrape": rfc3339(health.last_scrape_at) or NEVER,
        "lastScrapeDuration": health.duration_s or 0.0,
        "health": health.health,
        "scrapeInterval": f"{target.interval_s:g}s",
        "scrapeTimeout": f"{target.timeout_s:g}s",
    }


def _address(url: str) -> dict[str, str]:
    parts = urlsplit(url)
    labels = {"__scheme__": parts.scheme, "__address__": parts.netloc, "__metrics_path__": parts.path}
    return {name: value for name, value in labels.items() if value}
