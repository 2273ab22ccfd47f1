"""A gateway whose machine's clock is set while it runs, by libfaketime: nothing stops, no budget is given out twice."""

from __future__ import annotations

import asyncio
import time
from dataclasses import replace
from pathlib import Path

import pytest

from controlplane.gateway.desired.codec import sealed
from controlplane.gateway.desired.document import LimitSpec
from tests.fakes.chat_engine import chat_engine
from tests.fakes.faked_clock import environment
from tests.fakes.gateway_control_plane import GatewayControlPlane, desired_of, gateway_control_plane
from tests.patience import PROCESS_S
from tests.scenario.gateway_up import chat, gateway_up

pytestmark = pytest.mark.needs("faketime")

DAY_S = 86_400
BUDGET = "model/chat/daily_tokens"
TOKENS = 5
"""Tokens of one chat of the fake engine."""


class Clock:
    """The clock of the gateway's processes. It begins at noon, UTC: no day ends by itself."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "clock"
        self._noon = round(DAY_S / 2 - time.time() % DAY_S)
        self.set(0)

    def set(self, by_s: int) -> None:
        """Set it to noon of today plus `by_s` seconds, and what has passed since the start."""
        draft = self.path.with_suffix(".new")
        draft.write_text(f"{self._noon + by_s:+d}\n")
        draft.replace(self.path)


async def spent(plane: GatewayControlPlane, tokens: float) -> None:
    """Wait until the gateway reports that so much of the day's budget is spent."""
    while plane.reports[-1]["demand"].get(BUDGET, 0.0) != tokens:
        await plane.next_report()


async def test_a_clock_that_is_set_back_stops_nothing_and_frees_no_budget(tmp_path: Path) -> None:
    clock = Clock(tmp_path)
    async with asyncio.timeout(2 * PROCESS_S), chat_engine("one") as engine, gateway_control_plane() as (plane, port):
        state = desired_of(1, v1=(1000, engine.url))
        limits = LimitSpec(daily_tokens=100_000, requests_per_minute=1000)
        state = sealed(replace(state, models=(replace(state.models[0], limits=limits),)))
        plane.give(state)
        fleet = (
            "fleet: {name: test}\n"
            f'gateway: {{name: gw, workers: 2, control_plane: {{url: "http://127.0.0.1:{port}"}}}}\n'
        )
        async with gateway_up(tmp_path, fleet, env=environment(clock.path)) as gateway:
            await plane.report_with(state.revision)
            assert [await chat(gateway.port) for _ in range(4)] == ["one"] * 4
            await spent(plane, 4 * TOKENS)

            clock.set(-DAY_S)
            reports = len(plane.reports)
            while len(plane.reports) < reports + 3:  # it has seen the clock, and folded what was spent
                await plane.next_report()
            assert plane.reports[-1]["demand"][BUDGET] == 4 * TOKENS, "what was spent stays spent"
            assert [await chat(gateway.port) for _ in range(4)] == ["one"] * 4
            await spent(plane, 8 * TOKENS)

            clock.set(2 * DAY_S)
            await spent(plane, 0.0)  # another day has begun
            assert await chat(gateway.port) == "one"
            await spent(plane, TOKENS)

            clock.set(0)
            reports = len(plane.reports)
            while len(plane.reports) < reports + 3:
                await plane.next_report()
            assert plane.reports[-1]["demand"][BUDGET] == TOKENS
            assert await chat(gateway.port) == "one"
            while plane.ledger.requests < 10:
                await plane.next_report()
        assert plane.ledger.requests == 10, "each record is counted once"
        assert not [line for line in gateway.log if " ERROR " in line or " CRITICAL " in line]
