"""A test of a model's driver against the operator's own backend: read, plan, set a share, and set the old one back.

The old weights come back whatever happens, also after Ctrl-C. Only a target that does not answer any more keeps a
changed share, and the last finding then says so.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import AsyncGenerator, Callable
from dataclasses import dataclass

from controlplane.errors import ControlPlaneError, Refused
from controlplane.traffic.driver import BackendObservation, Driver, Placement, Preparation, VersionState
from controlplane.traffic.proxies.shares import near

SETTLE_S, LOOK_S = 30.0, 0.2
"""Seconds that a placement may take to be seen, and between two looks. Chosen: reloads take less than a second."""
COUNT_FROM, COUNT_S, ENOUGH, FEW = 0.2, 20.0, 200, 20
"""Smallest share that is counted, seconds in which requests are counted, requests that are enough, and too few. Chosen:
at half of the requests, a target that sends none to the candidate is told from chance after 20."""
SIGMAS = 4.5
"""Standard deviations of a binomial count that a target which draws may be off, as Gateway API's conformance tests of
weighted pools allow."""


@dataclass(frozen=True)
class StepResult:
    """One finding of the test."""

    step: str
    ok: bool | None
    """None: the step was left out, and the words say why."""
    words: str


def candidate_of(seen: BackendObservation, wanted: str | None) -> str | None:
    """Return the version that gets a share in the test: `wanted`, or the first that is ready beside the serving one."""
    ready = [v for v, s in seen.versions.items() if s is VersionState.READY and v != seen.serving]
    return wanted or next(iter(ready), None)


async def examine(driver: Driver, version: str | None) -> AsyncGenerator[StepResult, None]:
    """Yield what can be found without a change: the observation, the capabilities, and a plan's check."""
    seen = await driver.observe()
    for backend in seen.backends:
        yield _observed(backend)
    yield StepResult("capabilities", True, _capabilities(driver))
    if not all(_is_known(backend) for backend in seen.backends) or not seen.backends:
        return
    chosen = candidate_of(seen.backends[0], version)
    if chosen is None:
        yield StepResult("prepare", None, "no version is ready beside the one that serves; start one")
        return
    try:
        prepared = await driver.prepare(chosen)
    except Refused as refused:
        for reason in refused.reasons:
            yield StepResult("prepare", False, reason)
        return
    notes = "; ".join((*prepared.notes, *prepared.known))
    yield StepResult("prepare", True, f"{chosen} can be promoted{f' ({notes})' if notes else ''}")
    again = await driver.observe()
    same = [(b.versions, b.weights) for b in again.backends] == [(b.versions, b.weights) for b in seen.backends]
    yield StepResult(
        "planning", same, "changed nothing" if same else "changed the target, or somebody else did meanwhile"
    )


async def exercise(
    driver: Driver, model: str, version: str | None, share: float, monotonic: Callable[[], float]
) -> AsyncGenerator[StepResult, None]:
    """Set a share of each backend's traffic to the candidate, read it back twice, and bring the old weights back.

    A share from COUNT_FROM is counted too. `share` is from 0 to 1. Yields nothing that was not seen.
    """
    for before in (await driver.observe()).backends:
        chosen = candidate_of(before, version)
        left_out = await _left_out(driver, before, chosen, share)
        if left_out is not None:
            yield left_out
            continue
        assert chosen is not None and before.serving is not None  # _left_out says otherwise
        there = Placement(model, chosen, (before.serving,), "", share, "driver test")
        back = Placement(model, before.serving, (chosen,), "", 1.0, "driver test")
        try:
            for step in ("set", "set again"):
                yield await _set(driver, before.url, step, there, monotonic)
            if share >= COUNT_FROM:
                yield await _count(driver, before.url, chosen, share, monotonic)
        finally:
            # Shielded: a Ctrl-C between the two orders must not leave the share behind.
            restored = await asyncio.shield(asyncio.ensure_future(_set(driver, before.url, "restore", back, monotonic)))
        yield restored if restored.ok else _left_behind(before, restored)


def _left_behind(before: BackendObservation, restored: StepResult) -> StepResult:
    return StepResult(
        "restore",
        False,
        f"{before.url} may still have the test's share: give {before.serving} all requests "
        f"there by hand ({restored.words})",
    )


async def _left_out(driver: Driver, seen: BackendObservation, chosen: str | None, share: float) -> StepResult | None:
    """Return why no share is set on this backend, or None."""
    if not driver.capabilities.weights:
        return StepResult("set", None, "this driver switches whole versions: a test would move every request")
    if not _is_known(seen):
        return StepResult("set", None, f"{seen.url} is not known well enough: {seen.error or seen.pending}")
    if seen.serving is None:
        return StepResult("set", None, f"{seen.url} serves {seen.served}: give one version every request first")
    if chosen is None or seen.versions.get(chosen) is not VersionState.READY:
        return StepResult("set", None, f"{chosen or 'another version'} is not ready, so it gets no request")
    prepared: Preparation = await driver.prepare(chosen)
    if unfit := prepared.unfit([share]):
        return StepResult("set", None, unfit[0])
    return None


async def _set(driver: Driver, url: str, step: str, placement: Placement, monotonic: Callable[[], float]) -> StepResult:
    """Order a placement, and wait until it is read back."""
    wanted, started = placement.weights, monotonic()
    try:
        await driver.place(url, placement)
    except ControlPlaneError as error:
        return StepResult(step, False, f"{url}: {error}")
    while True:
        seen = (await driver.observe()).backend(url)
        took = monotonic() - started
        if _is_known(seen) and near(seen.weights, wanted):
            return StepResult(step, True, f"{url} has {seen.served}, read back after {took:.1f} s")
        if took > SETTLE_S:
            why = seen.error or seen.pending or f"it has {seen.served}"
            return StepResult(step, False, f"{url} does not show the ordered share after {SETTLE_S:g} s: {why}")
        await asyncio.sleep(LOOK_S)


async def _count(driver: Driver, url: str, version: str, share: float, monotonic: Callable[[], float]) -> StepResult:
    """Count the requests of clients for a while, and compare the candidate's part with the share."""
    started, first = monotonic(), (await driver.observe()).backend(url).requests
    if first is None:
        return StepResult("count", None, f"{url} counts no requests, so nobody knows whether the share holds")
    while True:
        now = (await driver.observe()).backend(url).requests or first
        fresh = {name: max(0, count - first.get(name, 0)) for name, count in now.items()}
        total, took = sum(fresh.values()), monotonic() - started
        if total >= ENOUGH or took > COUNT_S:
            break
        await asyncio.sleep(LOOK_S)
    got = fresh.get(version, 0)
    words = f"{version} got {got} of the {total} requests that {url} had in {took:.0f} s; {100 * share:g}% were ordered"
    if total < FEW:
        return StepResult("count", None, f"{words}: too few to judge, so send more requests meanwhile")
    holds = abs(got - total * share) <= SIGMAS * math.sqrt(total * share * (1.0 - share))
    return StepResult("count", holds, words if holds else f"{words}: the target does not split as it was told")


def _is_known(seen: BackendObservation) -> bool:
    return seen.reachable and not seen.pending


def _observed(seen: BackendObservation) -> StepResult:
    if not seen.reachable:
        return StepResult("observe", False, f"{seen.url}: {seen.error}")
    states = ", ".join(f"{version} {state.value}" for version, state in seen.versions.items())
    counts = "counted" if seen.requests is not None else "not counted"
    opened = "counted" if seen.open is not None else "not known"
    words = f"{seen.url} serves {seen.served} ({states}); requests are {counts}, open requests are {opened}"
    return StepResult("observe", not seen.pending, f"{words}; {seen.pending}" if seen.pending else words)


def _capabilities(driver: Driver) -> str:
    can = driver.capabilities
    named = {
        "split by weight": can.weights,
        "load beside the old version": can.prewarm,
        "mirror requests": can.mirror,
        "let testers in by a header": can.testers,
    }
    able = ", ".join(name for name, has in named.items() if has)
    unable = ", ".join(name for name, has in named.items() if not has)
    return f"can {able or 'switch whole versions'}{f'; cannot {unable}' if unable else ''}"
