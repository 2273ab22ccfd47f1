"""The test of a model's driver, as a program of its own: no control plane runs, and none is asked."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import aclosing
from dataclasses import dataclass

from controlplane.config.loader import LoadedFleet
from controlplane.config.models import ModelSection
from controlplane.config.traffic.gateway import GatewayTraffic
from controlplane.errors import NotFound, Refused, Unavailable
from controlplane.traffic.conformance import StepResult, examine, exercise
from controlplane.traffic.drivers import FACTORIES
from controlplane.traffic.gateway.driver import ModelTraffic


def section_of(loaded: LoadedFleet, model: str) -> ModelSection:
    """Return the section of a model whose driver can be tested. Raises NotFound, and Refused with the cure."""
    sections = {section.name: section for section in loaded.fleet.models}
    if model not in sections:
        raise NotFound(f"there is no model {model}; fleet.yaml declares {', '.join(sections) or 'none'}")
    section = sections[model]
    if not section.traffic.switches:
        raise Refused(f"{model} has traffic driver `none`: it is watched, and nothing moves its traffic")
    if isinstance(section.traffic, GatewayTraffic):
        raise Refused(f"{model} is behind this product's gateways, which report by themselves: see `cp gateways`")
    return section


@dataclass(frozen=True)
class Wishes:
    """The wishes of the operator for a test."""

    version: str | None
    """The version that gets a share. None: the first that is ready."""
    share: float
    """Its share, 0 to 1."""
    may_change: Callable[[str], bool]
    """Asks the operator, with a sentence, before a share is set. Called once. Blocking."""


def run(section: ModelSection, wishes: Wishes, tell: Callable[[StepResult], None]) -> bool:
    """Test the driver of a model, and return whether nothing failed. Blocking. `tell` gets each finding."""
    return asyncio.run(_run(section, wishes, tell))


async def _run(section: ModelSection, wishes: Wishes, tell: Callable[[StepResult], None]) -> bool:
    driver = FACTORIES[type(section.traffic)](section, _NoGateways())
    try:
        good = await _told(examine(driver, wishes.version), tell)
        if good and driver.capabilities.weights:
            question = (
                f"Send {100 * wishes.share:g}% of the requests for {section.name} to another version for a moment?"
            )
            if not await asyncio.to_thread(wishes.may_change, question):
                tell(StepResult("set", None, "no share was set, as you wished"))
                return good
            exercised = exercise(driver, section.name, wishes.version, wishes.share, time.monotonic)
            good = await _told(exercised, tell) and good
        return good
    finally:
        await driver.close()


async def _told(findings: AsyncGenerator[StepResult, None], tell: Callable[[StepResult], None]) -> bool:
    """Pass on the findings, and return whether none failed. The test ends, and restores, before this returns."""
    good = True
    async with aclosing(findings):
        async for found in findings:
            tell(found)
            good = good and found.ok is not False
    return good


class _NoGateways:
    """Gateways where none is asked: section_of() refuses the driver that needs them."""

    def traffic(self, model: str) -> ModelTraffic:
        raise Unavailable("this test asks no gateway")

    def assign(
        self, model: str, weights: Mapping[str, float], mirror: Mapping[str, float], by: str, tenure: object
    ) -> None:
        raise Unavailable("this test asks no gateway")
