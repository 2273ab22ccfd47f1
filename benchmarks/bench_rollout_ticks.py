"""CPU of one tick of the rollout engine with many models rolling at once: real engine, service and SQLite.

    PYTHONPATH=. python benchmarks/bench_rollout_ticks.py [MODELS]

The drivers and workers are in memory, so what is measured is the control plane alone: reading, deciding, writing. Each
model runs a canary with two shares, a warm gate and looks every five seconds. In the first run all promotions start in
the same instant, so that all models take each step in the same tick; in the second they start one after another. The
garbage collector is set as `controlplane up` sets it. The figures are CPU time of all threads of this process
(`time.process_time`), from the start of a tick to the start of the next one, so the answers that come between two ticks
count too.
"""

from __future__ import annotations

import asyncio
import gc
import sys
import tempfile
import time
from pathlib import Path
from statistics import median

from controlplane.app.interpreter import set_up_interpreter
from tests.fakes.rollouts.strategy_world import StrategyWorld

OPTIONS = {"steps": ["1%", "analyse 10s", "50%", "analyse 10s"], "analysis": {"interval": "5s"}, "warm": {}}
TICK_S, TICKS = 0.5, 160


async def run(folder: Path, models: int, *, at_once: bool) -> list[float]:
    """Return the CPU milliseconds of each tick, of all threads of this process together."""
    async with StrategyWorld(folder, models=models, rollout=OPTIONS) as world:
        world.helps = False
        waiting = list(world.sections)
        await world.engine.tick(world.clock.now())
        gc.collect()
        costs = []
        for tick in range(TICKS):
            while waiting and (at_once or len(waiting) > models - models * (tick + 1) // (TICKS // 2)):
                await world.promote(model=waiting.pop())
            world.clock.time += TICK_S
            began = time.process_time()
            await world.engine.tick(world.clock.now())
            await world.settle()
            costs.append(1000 * (time.process_time() - began))
        return costs


def main() -> None:
    """Print the costs of both runs."""
    models = int(sys.argv[1]) if len(sys.argv) > 1 else 200
    set_up_interpreter()
    for at_once, words in ((True, "started in one instant"), (False, "started one after another")):
        with tempfile.TemporaryDirectory() as folder:
            costs = sorted(asyncio.run(run(Path(folder), models, at_once=at_once)))
        above = sum(cost > 100 for cost in costs)
        print(
            f"{models} models, {words}: median {median(costs):.0f} ms, p90 {costs[len(costs) * 9 // 10]:.0f} ms, "
            f"p99 {costs[len(costs) * 99 // 100]:.0f} ms, most {costs[-1]:.0f} ms, "
            f"above 100 ms {above} of {len(costs)} ticks"
        )


if __name__ == "__main__":
    main()
