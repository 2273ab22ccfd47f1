"""Blocking work in a thread, which ends before a cancelled caller goes on."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import ParamSpec, TypeVar

Given = ParamSpec("Given")
Result = TypeVar("Result")


async def to_the_end(work: Callable[Given, Result], *args: Given.args, **kwargs: Given.kwargs) -> Result:
    """Run blocking work in a thread and return its result, as asyncio.to_thread does.

    A thread cannot be stopped. A cancelled caller waits for its end: else a file that a cancelled order writes could
    come after the file of a later order.
    """
    task = asyncio.ensure_future(asyncio.to_thread(work, *args, **kwargs))
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        await asyncio.wait([task])
        raise
