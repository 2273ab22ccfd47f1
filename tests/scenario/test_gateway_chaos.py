"""kill -9 of each process in every phase of a switch, under 50 streams: nothing else is lost, and cuts are counted.

A stream is lost only with the process that carried it: its engine, or its worker of the gateway. It is then counted as
cut, once. Everything else comes to its end whole.
"""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from tests.patience import PROCESS_S
from tests.scenario.chaos_world import STREAMS, WORKERS, ChaosWorld

pytestmark = pytest.mark.timeout(600)

PHASES = ("preparing", "verifying", "succeeded")
"""Phases in which something is killed. The two between them last for less than half a second."""


async def test_killing_workers_cuts_their_own_streams_alone(tmp_path: Path) -> None:
    async with ChaosWorld(tmp_path) as world:
        switch, cut, silent = "", 0, 0
        for phase in ("", *PHASES):
            if phase == PHASES[0]:
                switch = await world.promote("v2")
            if phase:
                await world.in_phase(switch, phase)
            before = world.hows()
            await world.kill_worker()
            await world.more(2 * STREAMS)
            lost = world.hows() - before
            # About half of the streams were in the worker. The clients that waited for it were served by the next one.
            assert set(lost) <= {"whole", "broken", "silent"}, world.logs()
            assert lost["broken"] + lost["silent"] <= STREAMS
            cut += lost["broken"]
            silent += lost["silent"]
        assert cut > 0
        await world.counts_agree(cut=cut, maybe=silent)


async def test_killing_the_control_plane_touches_no_stream(tmp_path: Path) -> None:
    async with ChaosWorld(tmp_path) as world:
        switch = ""
        for phase in ("", *PHASES):
            if phase == PHASES[0]:
                switch = await world.promote("v2")
            if phase:
                await world.in_phase(switch, phase)
            await world.kill("plane")
            await world.more(2 * STREAMS)
            await world.start("plane")
            await world.answers("plane", "/readyz")
        assert set(world.hows()) == {"whole"}, world.logs()
        await world.only_from("v2")
        await world.counts_agree(cut=0)


async def test_killing_the_gateways_supervisor_cuts_no_stream(tmp_path: Path) -> None:
    async with ChaosWorld(tmp_path) as world:
        switch = ""
        for phase in ("", *PHASES):
            if phase == PHASES[0]:
                switch = await world.promote("v2")
            if phase:
                await world.in_phase(switch, phase)
            await world.kill("gateway")
            await world.start("gateway")
            await world.answers("admin", "/readyz")
            await world.more(STREAMS)
        # Workers without a supervisor finish their streams. New clients are not served until the next one is there.
        assert set(world.hows()) <= {"whole", "unconnected", "silent"}, world.logs()
        await world.in_phase(switch, "succeeded")
        await world.only_from("v2")
        assert len(await world.workers()) == WORKERS


HELD = {"strategy": "canary", "steps": ["30%", "pause"], "analysis": {"interval": "1h"}}
"""A canary that stays in the phase switching until a person approves or aborts it. Its looks come later."""


async def test_kills_while_both_versions_serve_and_on_the_way_back(tmp_path: Path) -> None:
    async with ChaosWorld(tmp_path) as world:
        switch = await world.promote("v2", rollout=HELD)
        await world.in_phase(switch, "switching")
        await world.comes_from("v1", "v2")

        await world.kill("plane")
        await world.more(2 * STREAMS)
        await world.comes_from("v1", "v2")
        await world.start("plane")
        await world.answers("plane", "/readyz")
        await world.in_phase(switch, "switching")
        assert set(world.hows()) == {"whole"}, world.logs()

        before = len(world.ended)
        await world.kill("v2a")
        await world.more(2 * STREAMS)
        lost = [one for one in world.ended[before:] if one.how != "whole"]
        assert {(one.how, one.engine) for one in lost} <= {("told", "v2a"), ("502", "")}, world.logs()
        await world.start("v2a")
        await world.served_by("v2a")

        status, found = await world.api("POST", f"/cp/v1/rollouts/{switch}/abort", {})
        assert status == 202, found
        await world.kill("plane")
        await world.more(STREAMS)
        await world.start("plane")
        await world.answers("plane", "/readyz")
        async with asyncio.timeout(PROCESS_S):
            while (await world.phase(switch))[0] != "rolled-back":  # noqa: ASYNC110 - another process
                await asyncio.sleep(0.05)
        await world.only_from("v1")
        hows = [one.how for one in lost]
        await world.counts_agree(cut=hows.count("told"), errors=hows.count("502"))


async def test_killing_engines_cuts_the_streams_that_they_were_answering_alone(tmp_path: Path) -> None:
    async with ChaosWorld(tmp_path) as world:
        killed = ("v1a", "v1b", "v2a", "v2b")
        switch, lost = "", []
        for phase, engine in zip(("", *PHASES), killed, strict=True):
            if phase == PHASES[0]:
                switch = await world.promote("v2")
            if phase:
                await world.in_phase(switch, phase, "rolled-back")
            before = len(world.ended)
            await world.kill(engine)
            await world.more(2 * STREAMS)
            now = [one for one in world.ended[before:] if one.how != "whole"]
            # Requests that found nobody went to the other engine of the version. One that the engine had got, and not
            # begun to answer, is not repeated: it is refused, and the client may repeat it.
            assert {(one.how, one.engine) for one in now} <= {("told", engine), ("502", "")}, world.logs()
            assert all(b'"error"' in one.said for one in now)
            lost += [one.how for one in now]
            await world.start(engine)
            await world.served_by(engine)
        assert lost.count("told") > 0
        await world.counts_agree(cut=lost.count("told"), errors=lost.count("502"))
