"""Turns that are taken side by side."""

from __future__ import annotations

import asyncio

import pytest

from controlplane.app.parts.abreast import ABREAST, abreast
from controlplane.errors import LeaseLost


async def test_one_that_hangs_holds_up_no_other_and_no_more_than_a_few_go_at_a_time() -> None:
    inside, most, done = 0, 0, 0
    let = asyncio.Event()

    async def hangs() -> None:
        await let.wait()

    async def turn() -> None:
        nonlocal inside, most, done
        inside += 1
        most = max(most, inside)
        await asyncio.sleep(0)
        inside -= 1
        done += 1
        if done == 3 * ABREAST:
            let.set()

    await abreast([hangs, *[turn] * (3 * ABREAST)])
    assert (done, most) == (3 * ABREAST, ABREAST - 1)


async def test_all_are_taken_though_some_fail_and_a_lost_lease_is_told_first() -> None:
    taken = []

    async def fails(error: Exception) -> None:
        taken.append(error)
        raise error

    lost = LeaseLost("it is over")
    with pytest.raises(LeaseLost):
        await abreast([lambda: fails(ValueError("a")), lambda: fails(lost), lambda: fails(ValueError("b"))])
    assert len(taken) == 3
