"""The second deadline of code that has its own."""

from __future__ import annotations

import asyncio
import time

import pytest

from collectors.overrun import overrun
from tests.patience import HANG_S


async def keeps_its_deadline(timeout_s: float) -> None:
    try:
        async with asyncio.timeout(timeout_s):
            await asyncio.sleep(HANG_S)
    except TimeoutError:
        raise ValueError("its own words") from None


async def test_a_block_that_keeps_its_deadline_says_so_in_its_own_words() -> None:
    with pytest.raises(ValueError, match="its own words"):
        async with overrun(0.01, HANG_S):
            await keeps_its_deadline(0.01)


async def test_a_loop_held_up_for_longer_than_the_grace_lets_the_block_speak_first() -> None:
    async def held_up() -> None:
        await asyncio.sleep(0)
        time.sleep(0.05)  # noqa: ASYNC251  # the loop is what is held up

    busy = asyncio.ensure_future(held_up())
    with pytest.raises(ValueError, match="its own words"):
        async with overrun(0.01, 0.01):
            await keeps_its_deadline(0.01)
    await busy


async def test_a_block_without_a_deadline_of_its_own_is_cancelled_after_the_grace() -> None:
    with pytest.raises(TimeoutError):
        async with overrun(0.01, 0.01):
            await asyncio.sleep(HANG_S)


async def test_a_block_that_ends_in_time_leaves_nothing_behind() -> None:
    async with overrun(0.01, 0.0):
        pass
    await asyncio.sleep(0.05)


async def test_a_cancelled_block_is_cancelled_and_not_late() -> None:
    async def block() -> None:
        async with overrun(HANG_S, 0.0):
            await asyncio.sleep(HANG_S)

    task = asyncio.ensure_future(block())
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
