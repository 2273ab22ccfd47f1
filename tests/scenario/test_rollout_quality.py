"""Quality gates as timelines of a whole rollout: warm-up, golden set and copies, with real requests to fake engines."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from alerts.interfaces import VectorSample
from controlplane.metrics.promql.values import QueryValue, Vector
from controlplane.rollout.findings import Finding, Outcome, Work, WorkKind
from controlplane.rollout.model import Rollout
from controlplane.rollout.work.golden import GoldenWorker
from controlplane.rollout.work.mirrored import COPIES, MirroredWorker
from controlplane.rollout.work.warm import WarmWorker
from controlplane.rollout.workers import Worker
from controlplane.store.assignments import AssignmentStore
from tests.fakes.gateway_world import GatewayWorld
from tests.fakes.rollout_world import START

GATES: dict[str, Any] = {
    "steps": "mirror 20% for 10m, 100%",
    "warm": {"prompts": ["hello"], "at_least": 3, "within": 1.0},
    "golden": {"prompts": [{"name": "greeting", "prompt": "Greet me.", "expect": {"contains": "hi"}}]},
}
VERSIONS = ("v1", "v2")


class Counted:
    """Metrics of a gateway: 10 requests a second of clients to v1, and two copies to v2, of which `failing` fail."""

    def __init__(self, failing: float = 0.0) -> None:
        self.failing = failing

    async def instant_value(self, expr: str, at: float) -> QueryValue:
        copies = "mirror" in expr
        name, version = (COPIES, "v2") if copies else ("llm_requests_total", "v1")
        seconds = at - START + 10_000
        bad = seconds * (2 * self.failing if copies else 0.1)
        good = seconds * (2 if copies else 10) - bad
        source = {} if copies else {"source": "gateway"}
        labels = {"__name__": name, "instance": "gw:1", "version": version, **source}
        return Vector(at, [_sample({**labels, "outcome": o}, v) for o, v in (("success", good), ("error", bad))])


def _sample(labels: Mapping[str, str], value: float) -> VectorSample:
    return VectorSample(tuple(sorted(labels.items())), value)


class Content:
    """A worker of looks that finds nothing against the candidate: looks have tests of their own."""

    async def run(self, rollout: Rollout, work: Work, since: float, before: Finding | None) -> Finding:
        return Finding(Outcome.PASS, ("nothing speaks against it",))


def workers(counted: Counted) -> Any:
    def made(world: GatewayWorld) -> Mapping[WorkKind, Worker]:
        return {
            WorkKind.WARM: WarmWorker(lambda _: world.driver, lambda _: world.section),
            WorkKind.GOLDEN: GoldenWorker(lambda _: world.driver),
            WorkKind.MIRRORED: MirroredWorker(counted, world.clock.now),
            WorkKind.LOOK: Content(),
        }

    return made


def world_of(folder: Path, counted: Counted | None = None, **changes: Any) -> GatewayWorld:
    return GatewayWorld(folder, rollout={**GATES, **changes}, workers=workers(counted or Counted()))


async def until(world: GatewayWorld, words: str, seconds: float = 10.0) -> list[str]:
    """Tick until the sentence has `words`, and return the lines that differ."""
    lines: list[str] = []
    for _ in range(200):
        line = await world.tick(seconds)
        lines += [line] if not lines or lines[-1] != line else []
        if words in line:
            return lines
    raise AssertionError("\n".join(lines))


async def test_a_candidate_passes_every_gate_before_a_client_reaches_it(tmp_path: Path) -> None:
    async with world_of(tmp_path) as world:
        await world.start(strategy="canary")
        await until(world, "v2 gets copies of 20% of the requests")
        asked = [body["messages"][0]["content"] for _, body in world.engines["v2"].asked]
        assert set(asked[:-1]) == {"hello"} and len(asked) >= 4 and asked[-1] == "Greet me."
        assert (world.weights(), world.copies()) == ({"v1": 1000}, {"v2": 200})
        await until(world, "Sending requests to v2")
        assert (world.weights(), world.copies()) == ({"v2": 1000}, {}), "copies end with their step"
        lines = await world.timeline(seconds=10.0)
        assert lines[-1].startswith("succeeded: v2 serves")
        kinds = {state.work.kind: state.finding for state in (await world.latest()).works}
        for kind in (WorkKind.WARM, WorkKind.GOLDEN, WorkKind.MIRRORED):
            finding = kinds[kind]
            assert finding is not None and finding.outcome is Outcome.PASS and finding.samples


@pytest.mark.parametrize(
    ("misbehave", "words"),
    [
        ({"status": 500}, "v2 did not get warm on gateway: v2 on gateway gave 3 bad answers:"),
        ({"says": "bye"}, "v2 does not pass the golden set: v2 fails 1 of 1 prompt of the golden set"),
    ],
)
async def test_a_candidate_that_fails_a_gate_gets_nothing(
    tmp_path: Path, misbehave: dict[str, Any], words: str
) -> None:
    async with world_of(tmp_path) as world:
        for name, value in misbehave.items():
            setattr(world.engines["v2"], name, value)
        await world.start(strategy="canary")
        lines = await world.timeline(seconds=10.0)
        assert words in lines[-1] and lines[-1].startswith("failed: ")
        assert (world.weights(), world.copies(), world.stable()) == ({}, {}, "v1")


async def test_copies_that_fail_take_the_rollout_back_and_end(tmp_path: Path) -> None:
    async with world_of(tmp_path, Counted(failing=0.3)) as world:
        await world.start(strategy="canary")
        await until(world, "v2 gets copies of 20%")
        lines = await world.timeline(most=200, seconds=10.0)
        assert "v2 answers otherwise: v2 fails 30% of" in lines[-1]
        assert (world.weights(), world.copies(), world.stable()) == ({"v1": 1000}, {}, "v1")


async def test_copies_that_somebody_ends_by_hand_are_ordered_again(tmp_path: Path) -> None:
    """Only the observation tells: the order for the copies was accepted."""
    async with world_of(tmp_path) as world:
        await world.start(strategy="canary")
        await until(world, "v2 gets copies of 20%")
        AssignmentStore(world.db).assign("chat", {"v1": 1000}, None, "somebody", 0.0)
        assert world.copies() == {}
        await until(world, "v2 gets copies of 20%", seconds=1.0)
        for _ in range(3):
            await world.tick()
        assert world.copies() == {"v2": 200}


async def test_a_crash_within_a_gate_repeats_it(tmp_path: Path) -> None:
    async with world_of(tmp_path) as world:
        await world.start(strategy="canary")
        await until(world, "v2 gets copies of 20%", seconds=1.0)
        await world.crash()
        lines = await world.timeline(most=200, seconds=10.0)
        assert lines[-1].startswith("succeeded: v2 serves") and world.copies() == {}
