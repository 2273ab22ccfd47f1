"""Times of a target's scrapes. Pure."""

from __future__ import annotations

import hashlib
import math

from collectors.target import Target

SLOTS = 16
"""Number of moments per interval at which targets are scraped. Targets of one moment share the processor's caches: one
by one, a scrape costs half as much again (docs/metrics-engine.md). With 3,000 targets, a moment takes some 30 ms."""


def hashed_offset(target: Target) -> float:
    """Return a target's offset within its interval, in seconds: one of SLOTS values, the same after a restart."""
    digest = hashlib.blake2b(target.key.encode(), digest_size=8).digest()
    return round(digest[0] % SLOTS / SLOTS * target.interval_s, 3)


def next_tick(now: float, last: float | None, interval_s: float, offset_s: float) -> float:
    """Return the first scheduled time after both `now` and `last`, the previous tick (None: no tick yet)."""
    # A timer may wake a little early, so that `last` is after `now`. If it is much later, the clock was set back.
    after = now if last is None or last - now > interval_s else max(now, last)
    tick = offset_s + (math.floor((after - offset_s) / interval_s) + 1) * interval_s
    return tick if tick > after else tick + interval_s
