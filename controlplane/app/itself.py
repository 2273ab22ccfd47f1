"""The control plane as a target of its own: it scrapes its own metrics, so that rules can read them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from collectors.errors import ScrapeTimeout
from collectors.target import Target

LOCAL_SELF = "local:controlplane"


class OwnSource:
    """A collectors.target.Source of this process's own registry."""

    def __init__(self, render: Callable[[], bytes]) -> None:
        """Read the exposition from `render`. It may block, because it reads some metrics from the database."""
        self._render = render

    async def read(self, timeout_s: float) -> bytes:
        """Return the exposition. Raises ScrapeTimeout when the database does not answer in time."""
        try:
            async with asyncio.timeout(timeout_s):
                return await asyncio.to_thread(self._render)
        except TimeoutError as error:
            raise ScrapeTimeout(f"own metrics were not ready within {timeout_s:g}s: is the database slow?") from error

    async def close(self) -> None:
        """Do nothing: the source holds no connection."""


def own_target(instance: str, interval_s: float, timeout_s: float) -> Target:
    """Return the target for this process's own metrics."""
    return Target(
        engine="controlplane",
        url=LOCAL_SELF,
        job="controlplane",
        instance=instance,
        interval_s=interval_s,
        timeout_s=timeout_s,
    )
