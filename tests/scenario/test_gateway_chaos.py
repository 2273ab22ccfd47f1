"""kill -9 of each process in each phase of a switch, under 50 streams: nothing else is lost, and cuts are counted.

A stream is lost only with the process that carried it: its engine, or its worker of the gateway. It is then counted as
cut, once. Everything else comes to its end whole. At the end, the clients' own books are compared with the usage that
the control plane has: each request is in it once, with its outcome.

One world for each process goes through two switches. The first one is a canary to v2 that succeeds. The second one goes
back to v1, is aborted at its first share, and is rolled back. The process is killed in the phases of KILLED. Some
streams are held open through the whole first switch, so a kill while v1 drains meets streams that v1 still carries.

What is left out, because no other mechanism is met:

- The second share of the canary, but for an engine of the old version: for all processes it is one more assignment.
- `succeeded` and `rolled-back`, but for the control plane: there is no switch, as in `serving`. The control plane is
  killed behind the rollback instead of before the first switch: its database then has the most to say.
- Each engine in each phase. In turn it is one of the old version and one of the candidate.
- Kills of two processes at once, and of one process twice in a phase.
- The phase `planned`: it lasts for less than a tick, and nothing was ordered yet. Kills of the control plane at each
  of its writes are in test_rollout_strategies_crash.py, on a virtual clock.
- The steps of a canary that analyse or mirror. For the processes of the gateway they are shares like others.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from tests.scenario.chaos_clients import STREAMS
from tests.scenario.chaos_world import WORKERS, ChaosWorld

pytestmark = pytest.mark.timeout(600)

SHARES = ("20%", "60%")
"""Shares of a canary in which something may be killed. Each one waits for an approval."""
ANALYSIS = {"interval": "5s", "minimum_requests": 1, "compare": [{"metric": "errors", "dry_run": True}]}
"""No look sends the canary back: what is killed fails, and that is no verdict."""
HELD = 16
"""Streams that are held open on v1. Chosen: they are in all workers and on both engines."""
KILLED = {
    "worker": dict.fromkeys(("serving", "preparing", "20%", "verifying", "draining", "rolling-back"), ""),
    "control plane": dict.fromkeys(("preparing", "20%", "verifying", "draining", "rolling-back", "rolled-back"), ""),
    "supervisor": dict.fromkeys(("serving", "preparing", "20%", "verifying", "draining", "rolling-back"), ""),
    "engine": {
        "serving": "v1a",
        "preparing": "v1b",
        "20%": "v2a",
        "60%": "v1a",
        "verifying": "v2b",
        "draining": "v1b",
        "rolling-back": "v1a",
    },
}
"""Phases in which each process is killed, in their order, and which engine. On the way back, v1 is the candidate."""


WINDOWS = {"supervisor": "5s"}
"""Rollback window of the first switch, where nothing else keeps it draining. The streams that are held open are in
workers that finish without a supervisor, and the next supervisor does not know them."""


def canary(*shares: str, window: str = "0s") -> dict[str, Any]:
    """Return the options of a canary with these shares and a rollback window."""
    steps = [step for share in shares for step in (share, "pause")]
    return {"strategy": "canary", "steps": steps, "analysis": ANALYSIS, "rollback_window": window}


async def phases(world: ChaosWorld, process: str) -> AsyncIterator[str]:
    """Lead two switches through their phases, and stop in each one. Yields the words of KILLED."""
    shares = [share for share in SHARES if share in KILLED[process]]
    await world.hold("v1", HELD)
    yield "serving"
    there = await world.promote("v2", rollout=canary(*shares, window=WINDOWS.get(process, "0s")))
    yield await world.in_phase(there, "preparing")
    for share in shares:
        await world.at_share(there, share)
        await world.comes_from("v1", "v2")
        yield share
        await world.hold("v1", HELD)
        await world.steer(there, "approve")
    yield await world.in_phase(there, "verifying")
    yield await world.in_phase(there, "draining")
    await world.release()
    yield await world.in_phase(there, "succeeded")
    await world.only_from("v2")
    back = await world.promote("v1", rollout=canary("20%"))
    await world.at_share(back, "20%")
    await world.hold("v1", 1)
    await world.steer(back, "abort")
    yield await world.in_phase(back, "rolling-back")
    yield await world.in_phase(back, "rolled-back")
    await world.only_from("v2")


async def kill_a_worker(world: ChaosWorld, phase: str) -> None:
    """About half of the streams are in the worker. The clients that waited for it are served by the next one."""
    open_streams = world.open()
    before = world.hows()
    await world.kill_worker()
    await world.more(STREAMS)
    lost = world.hows() - before
    assert set(lost) <= {"whole", "broken", "silent"}, world.logs()
    assert lost["broken"] + lost["silent"] <= open_streams


async def kill_the_plane(world: ChaosWorld, phase: str) -> None:
    """Nothing happens to streams, while it is away and after it is back."""
    await world.kill("plane")
    await world.more(STREAMS)
    await world.start("plane")
    await world.answers("plane", "/readyz")
    assert set(world.hows()) == {"whole"}, world.logs()


async def kill_the_supervisor(world: ChaosWorld, phase: str) -> None:
    """Workers without a supervisor finish their streams. New clients are not served until the next one is there."""
    await world.kill("gateway")
    await world.start("gateway")
    await world.answers("admin", "/readyz")
    await world.more(STREAMS)
    assert set(world.hows()) <= {"whole", "unconnected", "silent"}, world.logs()
    assert len(await world.workers()) == WORKERS


async def kill_an_engine(world: ChaosWorld, phase: str) -> None:
    """Only the streams that it was answering are cut.

    Requests that found nobody go to the other engine of the version. One that the engine had got, and not begun to
    answer, is not repeated: it is refused, and the client may repeat it.
    """
    engine = KILLED["engine"][phase]
    before = len(world.ended)
    await world.kill(engine)
    await world.more(STREAMS)
    lost = [one for one in world.ended[before:] if one.how != "whole"]
    assert {(one.how, one.engine) for one in lost} <= {("told", engine), ("502", "")}, world.logs()
    assert all(b'"error"' in one.said for one in lost)
    await world.start(engine)
    await world.served_by(engine)


KILLS: dict[str, Callable[[ChaosWorld, str], Awaitable[None]]] = {
    "worker": kill_a_worker,
    "control plane": kill_the_plane,
    "supervisor": kill_the_supervisor,
    "engine": kill_an_engine,
}
CUTS = {"worker": "broken", "engine": "told"}
"""How clients see the streams that end with a process. Nothing ends with the other processes."""


@pytest.mark.parametrize("process", KILLED)
async def test_a_kill_in_any_phase_loses_only_what_its_process_carried(tmp_path: Path, process: str) -> None:
    async with ChaosWorld(tmp_path) as world:
        met = []
        async for phase in phases(world, process):
            if phase in KILLED[process]:
                await KILLS[process](world, phase)
                met.append(phase)
        assert met == list(KILLED[process])
        if process in CUTS:
            assert world.hows()[CUTS[process]] > 0
        await world.books_agree(metrics=process != "supervisor")


async def test_a_candidate_that_dies_while_it_is_asked_touches_no_stream(tmp_path: Path) -> None:
    async with ChaosWorld(tmp_path) as world:
        switch = await world.promote("v2")
        await world.in_phase(switch, "preparing")
        await world.kill("v2a")
        await world.in_phase(switch, "failed")
        await world.only_from("v1")
        assert set(world.hows()) == {"whole"}, world.logs()
        await world.books_agree()
