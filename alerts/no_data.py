"""The annotation `controlplane_no_data` of a rule: the policy for alerts without data."""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum

from collectors.durations import format_duration, parse_duration

NO_DATA = "controlplane_no_data"
"""Name of the annotation of a rule that holds the policy, and of the label of alerts that report missing data.

An annotation, because Prometheus and promtool accept any. It is left out of the annotations of alerts.
"""
QUERY = "its query"
"""Text that stands in `AlertInstance.away` for the targets while the rule cannot be evaluated."""
_FORM = re.compile(r"(keep|fire|resolve)(?:\s+after\s+(\S+))?")


class Action(StrEnum):
    """Action on an alert whose data has been away for the policy's time."""

    KEEP = "keep"
    """It keeps its state until there is data."""
    FIRE = "fire"
    """A pending alert fires. A target without an alert gets one that says that its data is missing."""
    RESOLVE = "resolve"
    """It ends."""


@dataclass(frozen=True)
class NoData:
    """The policy of one rule. `after_s` is the time without data, in seconds, after which the action is taken."""

    action: Action = Action.KEEP
    after_s: float = 0.0

    def acts(self, action: Action, away_s: float) -> bool:
        """Return whether the policy takes `action` after `away_s` seconds without data."""
        return self.action is action and away_s >= self.after_s

    def __str__(self) -> str:
        return self.action + (f" after {format_duration(self.after_s)}" if self.after_s else "")


def read_no_data(text: str) -> NoData:
    """Read a policy: `keep`, `fire`, `resolve`, `fire after 10m` or `resolve after 1h`. Raises ValueError."""
    found = _FORM.fullmatch(text.strip())
    if found is None:
        raise ValueError(f"expected keep, fire, resolve, fire after 10m or resolve after 1h, got {text!r}")
    action, after = Action(found[1]), found[2]
    if after is not None and action is Action.KEEP:
        raise ValueError("keep has no time: the alert keeps its state until there is data")
    return NoData(action, 0.0 if after is None else parse_duration(after))
