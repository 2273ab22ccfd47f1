"""Whole rollouts on the real target of every driver, while clients ask without a pause: none fails, none is cut."""

from __future__ import annotations

import typing
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from controlplane.errors import Refused
from controlplane.rollout.model import Phase, StepKind
from controlplane.traffic.drivers import FACTORIES
from tests.contract.drivers.cases import DRIVERS, NEEDS, Case
from tests.scenario.driver_world import SAMPLE, DriverWorld

JOINED: Mapping[str, str] = {
    "haproxy": "haproxy",
    "nginx": "nginx",
    "nginx, sticky": "nginx",
    "envoy": "envoy",
    "exec": "exec",
    "vllm on a fake": "vllm",
    "kubernetes, route": "kubernetes",
    "kubernetes, group": "kubernetes",
    "kubernetes, canary": "kubernetes",
    "kubernetes, selector": "kubernetes",
}
"""The targets of these tests (tests/contract/drivers/cases.py), and their drivers."""
ELSEWHERE: Mapping[str, str] = {
    "triton": "whole rollouts under streams are tests/e2e, on a virtual clock tests/scenario/test_rollout_timelines.py",
    "gateway": "whole rollouts under streams and kills of real processes are tests/scenario/test_gateway_chaos.py",
}
"""Drivers whose whole rollouts under clients' requests are tested by other files, and which."""
NEAR = 0.03
"""Largest difference of a counted share where the target counts requests out: HAProxy's first round after a change."""


def driver_names() -> set[str]:
    return {typing.get_args(traffic.model_fields["driver"].annotation)[0] for traffic in FACTORIES}


def test_every_driver_of_the_registry_joins_or_is_named() -> None:
    assert driver_names() == set(JOINED.values()) | set(ELSEWHERE)
    assert not set(JOINED.values()) & set(ELSEWHERE)


@pytest.fixture(params=[pytest.param(n, marks=pytest.mark.needs(NEEDS[n])) if n in NEEDS else n for n in JOINED])
async def case(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Case]:
    async with DRIVERS[request.param](tmp_path) as made:
        if made.versions is not None:
            made.versions.stream()
        yield made
        await made.driver.close()


def splits(case: Case) -> bool:
    return case.driver.capabilities.weights


def switch(case: Case, **rollout: Any) -> dict[str, Any]:
    """Return `rollout:` with steps where the driver takes them."""
    steps = ["25%", "analyse 5s", "50%", "analyse 5s"]
    return {"steps": steps, "analysis": {"interval": "5s"}, **rollout} if splits(case) else rollout


async def test_a_canary_gives_clients_each_planned_share_and_succeeds(case: Case, tmp_path: Path) -> None:
    async with DriverWorld(case, tmp_path, switch(case)) as world:
        if not splits(case):
            with pytest.raises(Refused, match="cannot be split by weight"):
                await world.service.start("chat", "v2", "canary", actor="ann")
            return
        await world.service.start("chat", "v2", "canary", actor="ann")
        for share in (0.25, 0.5, 1.0):
            await world.at(share)
            answered = await world.crowd.next(SAMPLE)
            assert set(answered) == ({"v1", "v2"} if share < 1.0 else {"v2"})
            assert abs(answered["v2"] / SAMPLE - share) <= max(case.spread, NEAR), (share, answered)
        latest = await world.finish()
        assert (latest.phase, latest.verified) == (Phase.SUCCEEDED, True), await world.story()
        await world.only("v2")
        assert (await world.service.model("chat")).stable == "v2"
    assert world.crowd.faults == []


async def test_a_breach_takes_every_request_back(case: Case, tmp_path: Path) -> None:
    async with DriverWorld(case, tmp_path, switch(case)) as world:
        await world.service.start("chat", "v2", "canary" if splits(case) else "blue-green", actor="ann")
        await world.at(0.25 if splits(case) else 1.0)
        world.breach()
        latest = await world.finish()
        assert latest.phase is Phase.ROLLED_BACK, await world.story()
        await world.only("v1")
        assert (await world.service.model("chat")).stable == "v1"
    assert world.crowd.faults == []


async def test_blue_green_keeps_the_old_version_for_its_window_and_then_retires_it(case: Case, tmp_path: Path) -> None:
    async with DriverWorld(case, tmp_path, {"rollback_window": "6s"}) as world:
        await world.service.start("chat", "v2", "blue-green", actor="ann")
        before = world.clock.time
        await world.at(1.0, StepKind.KEEP)
        await world.only("v2")
        latest = await world.finish()
        assert latest.phase is Phase.SUCCEEDED, await world.story()
        assert world.clock.time - before >= 6.0
        await world.only("v2")
    assert world.crowd.faults == []


async def test_a_rollback_within_the_window_takes_every_request_back(case: Case, tmp_path: Path) -> None:
    async with DriverWorld(case, tmp_path, {"rollback_window": "6s"}) as world:
        await world.service.start("chat", "v2", "blue-green", actor="ann")
        await world.at(1.0, StepKind.KEEP)
        await world.service.rollback("chat", actor="ann")
        latest = await world.finish()
        assert latest.phase is Phase.ROLLED_BACK, await world.story()
        await world.only("v1")
    assert world.crowd.faults == []
