"""Concurrent turns, with a bound on their number."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence

from controlplane.errors import LeaseLost

ABREAST = 8
"""Most concurrent turns. Chosen: a turn whose server hangs delays no other one, and no server is flooded."""


async def abreast(turns: Sequence[Callable[[], Awaitable[None]]]) -> None:
    """Run every turn, even when others fail. Raises the error of a failed turn, LeaseLost before any other."""
    places = asyncio.Semaphore(ABREAST)

    async def one(turn: Callable[[], Awaitable[None]]) -> None:
        async with places:
            await turn()

    outcomes = await asyncio.gather(*map(one, turns), return_exceptions=True)
    failures = [outcome for outcome in outcomes if isinstance(outcome, BaseException)]
    for failure in sorted(failures, key=lambda failure: not isinstance(failure, LeaseLost)):
        raise failure
