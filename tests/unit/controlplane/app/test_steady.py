"""The lock that many share and one takes alone."""

from __future__ import annotations

import asyncio

import pytest

from controlplane.app.steady import Steady


async def test_many_share_it_and_one_has_it_alone() -> None:
    steady, log = Steady(), list[str]()
    leave = asyncio.Event()

    async def share(name: str) -> None:
        async with steady.shared():
            log.append(f"{name} in")
            await leave.wait()
            log.append(f"{name} out")

    async def alone() -> None:
        async with steady:
            log.append("alone")

    sharing = [asyncio.create_task(share("a")), asyncio.create_task(share("b"))]
    await asyncio.sleep(0)
    only = asyncio.create_task(alone())
    await asyncio.sleep(0)
    late = asyncio.create_task(share("c"))  # whoever waits to be alone goes first
    for _ in range(5):
        await asyncio.sleep(0)
    assert log == ["a in", "b in"]
    leave.set()
    await asyncio.gather(*sharing, only, late)
    assert log == ["a in", "b in", "a out", "b out", "alone", "c in", "c out"]


async def test_who_gives_up_waiting_shuts_nobody_out() -> None:
    steady = Steady()
    async with steady.shared():
        waiting = asyncio.ensure_future(steady.__aenter__())
        await asyncio.sleep(0)
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        async with steady.shared():
            pass
    async with steady:
        pass


async def test_a_fault_inside_leaves_it_free() -> None:
    steady = Steady()
    with pytest.raises(ValueError, match="inside"):
        async with steady.shared():
            raise ValueError("inside")
    async with steady:
        pass
