"""Turns that are taken side by side, a few at a time."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence

from controlplane.errors import LeaseLost

ABREAST = 8
"""Turns at a time: enough that one whose server hangs holds up none, without flooding that server."""


async def abreast(turns: Sequence[Callable[[], Awaitable[None]]]) -> None:
    """Take every turn, whatever becomes of the others. Raises what one raised, LeaseLost before all else."""
    places = asyncio.Semaphore(ABREAST)

    async def one(turn: Callable[[], Awaitable[None]]) -> None:
        async with places:
            await turn()

    outcomes = await asyncio.gather(*map(one, turns), return_exceptions=True)
    failures = [outcome for outcome in outcomes if isinstance(outcome, BaseException)]
    for failure in sorted(failures, key=lambda failure: not isinstance(failure, LeaseLost)):
        raise failure
