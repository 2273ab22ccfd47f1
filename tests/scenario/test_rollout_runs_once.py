"""Work with a limit is not repeated by the process that comes after one that died."""

from __future__ import annotations

from pathlib import Path

from controlplane.rollout.findings import Finding, Outcome, Work, WorkKind
from controlplane.rollout.model import Rollout
from tests.fakes.rollouts.strategy_world import KindWorker, StrategyWorld

SECTION = {
    "steps": ["5%", "analyse 5s"],
    "analysis": {"interval": "5s", "minimum_requests": 500},
    "top_up": {"prompts": ["hi"], "at_most": 100},
}


class Limited(KindWorker):
    """A worker whose synthetic requests hang, so that its process dies while they are out."""

    def __init__(self) -> None:
        super().__init__()
        self.hangs = {WorkKind.TOP_UP}
        self.interruptions: list[tuple[int, str]] = []

    def interrupted(self, rollout: Rollout, work: Work, before: Finding | None) -> Finding:
        """Note the number of the work, and what the run before kept."""
        if work.kind is WorkKind.TOP_UP:
            self.interruptions.append((work.number, before.carry if before else ""))
        return Finding(Outcome.PASS, ("it may have been sent",), carry=f"after {work.number}")


async def test_a_run_that_was_under_way_is_settled_and_the_next_one_goes_on_from_there(tmp_path: Path) -> None:
    world = StrategyWorld(tmp_path, rollout=SECTION)
    world.worker = worker = Limited()
    worker.outcomes[WorkKind.LOOK, ""] = Finding(Outcome.NOT_ENOUGH, ("12 requests are missing",))
    async with world:
        world.helps = False
        await world.promote()
        for expected in ([(1, "")], [(1, ""), (2, "after 1")]):
            for _ in range(40):
                await world.tick()
                if len([done for done in worker.done if done[0] is WorkKind.TOP_UP]) == len(expected):
                    break
            await world.crash()
            await world.tick()
            assert worker.interruptions == expected
        runs = [done[3] for done in worker.done if done[0] is WorkKind.TOP_UP]
        assert runs == [1, 2], "no run was begun twice"
