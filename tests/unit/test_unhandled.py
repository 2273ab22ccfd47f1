"""The rule that an unhandled exception on an event loop fails its test, and the loops that it holds for."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import Callable
from typing import Any

import pytest
import uvloop

from tests.unhandled import Unhandled

LOOPS = [asyncio.new_event_loop, uvloop.new_event_loop]


@pytest.mark.parametrize("new_loop", LOOPS, ids=["asyncio", "uvloop"])
def test_a_task_whose_exception_nobody_asked_for_is_told(new_loop: Callable[[], Any], unhandled: Unhandled) -> None:
    async def fail() -> None:
        raise ValueError("lost")

    async def main() -> None:
        task = asyncio.create_task(fail())
        await asyncio.wait([task])

    with asyncio.Runner(loop_factory=new_loop) as runner:
        runner.run(main())
    gc.collect()
    (said,) = unhandled.take()
    assert said.startswith("Task exception was never retrieved")
    assert "ValueError: lost" in said


@pytest.mark.parametrize("new_loop", LOOPS, ids=["asyncio", "uvloop"])
def test_a_callback_that_fails_is_told(new_loop: Callable[[], Any], unhandled: Unhandled) -> None:
    async def main() -> None:
        asyncio.get_running_loop().call_soon(lambda: 1 // 0)
        await asyncio.sleep(0.01)

    with asyncio.Runner(loop_factory=new_loop) as runner:
        runner.run(main())
    (said,) = unhandled.take()
    assert "ZeroDivisionError" in said
    assert unhandled.take() == []
