"""Results of scrapes that arrive together are taken one an iteration of the event loop, in their order."""

from __future__ import annotations

import asyncio

from collectors.scraping.turns import Turns
from tests.patience import HANG_S


async def test_one_result_is_taken_between_two_looks_at_the_loop() -> None:
    turns, taken, looks = Turns(), [], 0

    async def result(number: int) -> None:
        await turns.take()
        taken.append((number, looks))

    tasks = [asyncio.create_task(result(number)) for number in range(5)]
    while len(taken) < 5:
        await asyncio.sleep(0)
        looks += 1
    await asyncio.gather(*tasks)
    assert [number for number, _ in taken] == [0, 1, 2, 3, 4]
    seen = [look for _, look in taken]
    assert seen == sorted(set(seen)), "two results were taken in one iteration"


async def test_a_result_that_is_given_up_lets_the_next_one_go() -> None:
    turns = Turns()
    first, given_up, last = (asyncio.create_task(turns.take()) for _ in range(3))
    await first
    assert not given_up.done()
    given_up.cancel()
    await asyncio.wait_for(last, HANG_S)
    assert given_up.cancelled()
