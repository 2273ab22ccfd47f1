"""The models of the fleet, and what happened to each of them within the day."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import numpy as np

from collectors.samples import FloatArray
from tests.e2e.bad_day.curves import Grid

INCIDENT_S = (-4.0 * 3600.0, -4.0 * 3600.0 + 4200.0)
"""The latency incident of the day, in seconds after now: 70 minutes long."""
BURST_S = (-7.0 * 3600.0, -7.0 * 3600.0 + 900.0)
"""The burst of errors."""
CANARY_S = (-10.0 * 3600.0, -10.0 * 3600.0 + 1500.0)
"""The canary of `code` that was rolled back."""
LIVE_CANARY_S = -2400.0
"""Begin of the canary of `chat` that still runs."""
PAUSED_S = -5400.0
"""Begin of the canary of `translate` that is paused."""
SLOW_SINCE_S, FAILING_SINCE_S = -1500.0, -1080.0
"""Since then `summarise` is slow, and requests to `translate` fail."""


@dataclass(frozen=True)
class Story:
    """One model. `versions` has the number of servers of each version."""

    name: str
    driver: str
    engine: str
    stable: str
    versions: Mapping[str, int]
    peak_rps: float
    median_s: float
    shift_h: float = 0.0
    """Hours by which its day is later."""
    gateway: bool = field(default=False)
    """Whether its requests pass the gateways."""


EIGHT = (
    Story("chat", "gateway", "vllm", "v3", {"v2": 1, "v3": 4, "v4": 2}, 42.0, 0.38, gateway=True),
    Story("code", "gateway", "vllm", "v5", {"v5": 3, "v6": 1}, 18.0, 0.4, 1.0, gateway=True),
    Story("embed", "triton", "triton", "v2", {"v1": 0, "v2": 2, "v3": 0}, 120.0, 0.02, 2.0),
    Story("guard", "none", "sglang", "v1", {"v1": 2, "v2": 1}, 60.0, 0.08),
    Story("rerank", "none", "vllm", "v4", {"v3": 1, "v4": 2}, 55.0, 0.04, -2.0),
    Story("summarise", "none", "sglang", "v2", {"v1": 1, "v2": 3}, 6.0, 0.4, 3.0),
    Story("translate", "gateway", "vllm", "v2", {"v2": 2, "v3": 1}, 9.0, 0.35, -4.0, gateway=True),
    Story("vision", "triton", "triton", "v1", {"v1": 1, "v2": 0}, 4.0, 0.3, 1.0),
)
MOVED = {("code", "v6"): CANARY_S, ("chat", "v4"): (LIVE_CANARY_S, 1e9), ("translate", "v3"): (PAUSED_S, 1e9)}
"""When versions that are not stable got requests."""
SHARES = {("code", "v6"): 0.2, ("chat", "v4"): 0.1, ("translate", "v3"): 0.25}


def stories(models: int) -> tuple[Story, ...]:
    """Return `models` stories: the eight, then copies of the watched ones under other names."""
    watched = [story for story in EIGHT if story.driver == "none"]
    more = (replace(watched[n % len(watched)], name=f"{watched[n % len(watched)].name}-{n + 1}") for n in range(models))
    return (*EIGHT, *more)[:models]


def share(story: Story, version: str, grid: Grid) -> FloatArray:
    """Return the share of the model's requests that a version gets, 0 to 1, [points]."""
    moved = {v: SHARES[story.name, v] * grid.bump(*MOVED[story.name, v]) for v in _candidates(story)}
    if version in moved:
        return moved[version]
    rest: FloatArray = 1.0 - sum(moved.values(), np.zeros(len(grid.times)))
    return rest if version == story.stable else np.zeros(len(grid.times))


def requests(story: Story, version: str, grid: Grid) -> FloatArray:
    """Return a version's requests per second, [points]."""
    return story.peak_rps * grid.day(story.shift_h) * grid.noise(story.name) * share(story, version, grid)


def median(story: Story, version: str, grid: Grid) -> FloatArray:
    """Return the median duration of a version's requests in seconds, [points]."""
    worse = 1.0 + 0.3 * grid.day(story.shift_h)
    if story.name in ("chat", "translate"):
        worse = worse + (5.5 if story.name == "chat" else 2.0) * grid.bump(*INCIDENT_S, slope_s=900.0)
    if story.name == "summarise":
        worse = worse + 3.0 * grid.bump(SLOW_SINCE_S, 1e9)
    if (story.name, version) == ("code", "v6"):
        worse = worse * 1.6
    return story.median_s * worse * grid.noise(f"{story.name} {version} median", 0.04)


def failing(story: Story, version: str, grid: Grid) -> FloatArray:
    """Return the share of a version's requests that fail, 0 to 1, [points]."""
    found = 0.0008 * grid.noise(f"{story.name} errors", 0.3)
    if story.name == "code":
        found = found + 0.08 * grid.bump(*BURST_S, slope_s=120.0)
    if (story.name, version) == ("code", "v6"):
        found = found + 0.07
    if (story.name, version) == ("translate", "v2"):
        found = found + 0.034 * grid.bump(FAILING_SINCE_S, 1e9, slope_s=120.0)
    return found


def _candidates(story: Story) -> list[str]:
    return [version for version in story.versions if (story.name, version) in MOVED]
