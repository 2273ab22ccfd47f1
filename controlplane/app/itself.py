"""The control plane as a target of its own: its metrics are scraped like everybody's, and rules can watch them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from collectors.errors import ScrapeTimeout
from collectors.target import Target

LOCAL_SELF = "local:controlplane"


class OwnSource:
    """Implements collectors.target.Source over the process's own registry."""

    def __init__(self, render: Callable[[], bytes]) -> None:
        """`render` may block: some numbers are read from the database."""
        self._render = render

    async def read(self, timeout_s: float) -> bytes:
        """Return the exposition. Raises ScrapeTimeout when the database holds it up."""
        try:
            async with asyncio.timeout(timeout_s):
                return await asyncio.to_thread(self._render)
        except TimeoutError as error:
            raise ScrapeTimeout(f"own metrics were not ready within {timeout_s:g}s: is the database slow?") from error

    async def close(self) -> None:
        """Nothing is held."""


def own_target(instance: str, interval_s: float, timeout_s: float) -> Target:
    """Return the target under which this process is scraped."""
    return Target(
        engine="controlplane",
        url=LOCAL_SELF,
        job="controlplane",
        instance=instance,
        interval_s=interval_s,
        timeout_s=timeout_s,
    )
