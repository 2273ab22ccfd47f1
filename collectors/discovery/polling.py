"""Asks a source of addresses again and again, at an interval."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

from collectors.discovery.asking import Hears
from collectors.errors import DiscoveryError

JITTER = 0.1
"""Share of the interval by which questions are early or late, so that many control planes do not ask at once."""


def _spread() -> float:
    return random.uniform(1 - JITTER, 1 + JITTER)  # noqa: S311 - no secret


@dataclass(frozen=True)
class Means:
    """Means of a process that the followers of sources need."""

    in_thread: Callable[..., Awaitable[Any]] = asyncio.to_thread
    """Runs a blocking call in another thread: (call, arguments…) -> its result."""
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep
    spread: Callable[[], float] = _spread
    """Returns the factor of the next wait."""


async def poll(ask: Callable[[Hears], Awaitable[None]], heard: Hears, interval_s: float, means: Means) -> None:
    """Call `ask` until cancelled. It tells a list, or raises DiscoveryError, which is told as a fault."""
    while True:
        try:
            await ask(heard)
        except DiscoveryError as error:
            heard.failed(error)
        await means.sleep(interval_s * means.spread())
