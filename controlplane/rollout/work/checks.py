"""Items of the pre-launch checklist: the control plane's own checks, PromQL, and what a person attested."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable, Callable
from typing import Protocol

from controlplane.errors import ControlPlaneError
from controlplane.metrics.promql.values import QueryValue, Scalar, Vector
from controlplane.rollout.findings import Finding, Outcome, Work
from controlplane.rollout.model import Rollout
from controlplane.rollout.options import CheckItem
from controlplane.rollout.planning.capacity import Capacity, Fit
from controlplane.rollout.planning.templates import filled
from controlplane.rollout.work.backed_up import BackupWaiter
from controlplane.traffic.driver import TrafficObservation, VersionState

CHECK_S = 10.0
"""Deadline of one item, in seconds. Chosen: an item is checked again and again until it passes."""
REQUESTS = "llm_requests_total|llm_request_duration_seconds_count|llm_requests_running|llm_requests_waiting"
"""Metrics of which each source of requests exposes at least one."""


class Queries(Protocol):
    """Ad-hoc PromQL. Raises QueryError and other errors of the control plane."""

    async def instant_value(self, expr: str, at: float) -> QueryValue:
        """Evaluate at unix second `at`."""
        ...


class Facts(Protocol):
    """Facts about a model now. Each method may raise errors of the control plane."""

    async def observe(self, model: str) -> TrafficObservation:
        """Return the model's backends, observed now."""
        ...

    async def capacity(self, model: str, stable: str, version: str) -> Capacity:
        """Return whether `version` fits beside `stable`."""
        ...

    def targets(self, model: str, version: str) -> tuple[str, ...]:
        """Return `host:port` of the targets with the metrics of a version's servers."""
        ...


class Checks:
    """Checks items. Never raises errors of the control plane: a finding says what could not be read."""

    def __init__(self, queries: Queries, facts: Facts, now: Callable[[], float]) -> None:
        self._queries, self._facts, self._now = queries, facts, now
        self._builtin: dict[str, Callable[[str, str, str], Awaitable[Finding]]] = {
            "monitoring": self._monitoring,
            "rollback": self._rollback,
            "capacity": self._capacity,
        }

    async def check(self, item: CheckItem, model: str, stable: str, version: str) -> Finding:
        """Return the present state of an item: PASS, FAIL, or NOT_ENOUGH where it could not be found out."""
        if item.backup:  # the worker waits for it; a plan only names it
            return _finding(Outcome.NOT_ENOUGH, f"{item.name}: a run of the backup {item.backup} is made first")
        try:
            async with asyncio.timeout(CHECK_S):
                if item.builtin:
                    return await self._builtin[item.builtin](model, stable, version)
                if item.expr:
                    return await self._expression(item, model, stable, version)
        except TimeoutError:
            return _finding(Outcome.NOT_ENOUGH, f"{item.name}: no answer within {CHECK_S:g} s")
        except ControlPlaneError as error:
            return _finding(Outcome.NOT_ENOUGH, f"{item.name} cannot be checked: {error}")
        if item.attested:
            return _finding(Outcome.PASS, f"{item.name} is attested: {item.attested}")
        return _finding(Outcome.FAIL, f"nobody attested {item.name}")

    async def _expression(self, item: CheckItem, model: str, stable: str, version: str) -> Finding:
        expr = filled(item.expr, model, version, stable)
        value = await self._queries.instant_value(expr, self._now())
        if isinstance(value, Scalar) or (isinstance(value, Vector) and len(value.samples)):
            return _finding(Outcome.PASS, f"{item.name}: {expr} has a result")
        return _finding(Outcome.FAIL, f"{item.name}: {expr} has no result now")

    async def _monitoring(self, model: str, stable: str, version: str) -> Finding:
        ready = await self._count(f'count(llm_backend_ready{{model="{model}"}})')
        if not ready:
            return _finding(Outcome.FAIL, f"monitoring: no server of {model} is watched; check `cp targets`")
        known = "|".join(re.escape(target) for target in self._facts.targets(model, stable))
        down = await self._labels(f'up{{instance=~"{_quoted(known)}"}} == 0', "instance") if known else []
        if down:
            return _finding(Outcome.FAIL, f"monitoring: {', '.join(down)} cannot be scraped; check `cp targets`")
        sources = await self._labels(f'count by (source) ({{__name__=~"{REQUESTS}",model="{model}"}})', "source")
        if not sources:
            why = f"no source counts requests of {model}"
            return _finding(Outcome.FAIL, f"monitoring: {why}; scrape its servers, or send requests by the gateway")
        servers = f"{ready:.0f} server{'' if ready == 1 else 's'} of {model}"
        return _finding(Outcome.PASS, f"monitoring: {servers} watched; requests are counted by {', '.join(sources)}")

    async def _rollback(self, model: str, stable: str, version: str) -> Finding:
        seen = await self._facts.observe(model)
        for backend in seen.backends:
            if not backend.reachable:
                return _finding(Outcome.NOT_ENOUGH, f"rollback: {backend.url} does not answer: {backend.error}")
            if backend.versions.get(stable) is not VersionState.READY:
                state = backend.versions.get(stable, VersionState.UNAVAILABLE)
                why = f"{stable} is {state} on {backend.url}, so nothing could be rolled back to"
                return _finding(Outcome.FAIL, f"rollback: {why}")
        if not seen.backends:
            return _finding(Outcome.FAIL, f"rollback: no backend of {model} is known")
        return _finding(Outcome.PASS, f"rollback: {stable} is ready on every backend")

    async def _capacity(self, model: str, stable: str, version: str) -> Finding:
        found = await self._facts.capacity(model, stable, version)
        outcome = {Fit.BESIDE: Outcome.PASS, Fit.UNKNOWN: Outcome.NOT_ENOUGH}.get(found.fit, Outcome.FAIL)
        return _finding(outcome, f"capacity: {found.sentence}")

    async def _count(self, expr: str) -> float:
        value = await self._queries.instant_value(expr, self._now())
        return float(value.samples[0].value) if isinstance(value, Vector) and len(value.samples) else 0.0

    async def _labels(self, expr: str, name: str) -> list[str]:
        value = await self._queries.instant_value(expr, self._now())
        samples = value.samples if isinstance(value, Vector) else ()
        return sorted({dict(sample.labels).get(name, "") for sample in samples} - {""})


class CheckWorker:
    """A rollout.workers.Worker: checks the item of the checklist that has the work's name."""

    def __init__(self, checks: Checks, backups: BackupWaiter) -> None:
        self._checks, self._backups = checks, backups

    async def run(self, rollout: Rollout, work: Work, since: float, before: Finding | None) -> Finding:
        """Return the item's present state, of a backup the result of its run. An unknown item is NOT_ENOUGH."""
        plan = rollout.plan
        item = next((each for each in plan.options.checklist if each.name == work.name), None)
        if item is None:
            return _finding(Outcome.NOT_ENOUGH, f"the checklist has no item {work.name}")
        if item.backup:
            return await self._backups.fresh(item.backup, rollout.created_at, f"rollout {rollout.id}")
        return await self._checks.check(item, plan.model, plan.from_version, plan.to_version)


def _finding(outcome: Outcome, sentence: str) -> Finding:
    return Finding(outcome, (sentence,))


def _quoted(text: str) -> str:
    """Return a text for a PromQL string in double quotes."""
    return text.replace("\\", "\\\\").replace('"', '\\"')
