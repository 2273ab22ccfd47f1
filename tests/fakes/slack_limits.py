"""Slack's limits on calls, as a fake of Slack keeps them: more calls are answered with 429."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

LIMITS = {"chat.postMessage": (1.0, 3), "chat.update": (1.2, 10)}
"""Seconds between two calls, and how many may come at once."""


@dataclass
class SlackLimits:
    """The limits of one app in one workspace: posts by channel, updates together."""

    now: Callable[[], float]
    taken: list[tuple[float, str, str]] = field(default_factory=list)
    """(moment, method, channel) of the calls within the limits."""
    refused: int = 0
    _full_at: dict[tuple[str, str], float] = field(default_factory=dict)

    def take(self, method: str, body: Mapping[str, Any]) -> str:
        """Return the fault `429:SECONDS` for a call that comes too early, else ""."""
        if method not in LIMITS:
            return ""
        every_s, burst = LIMITS[method]
        channel, now = str(body.get("channel", "")), self.now()
        key = (method, channel if method == "chat.postMessage" else "")
        full_at = max(self._full_at.get(key, now), now)
        # The tolerance is for sums of 1.2.
        if (wait_s := full_at - now - (burst - 1) * every_s) > 1e-6:
            self.refused += 1
            return f"429:{math.ceil(wait_s)}"
        self._full_at[key] = full_at + every_s
        self.taken.append((round(now, 6), method, channel))
        return ""
