"""When an alert flaps: the settings of a routing, and their bounds."""

from __future__ import annotations

from dataclasses import dataclass

FEWEST_CHANGES = 3
"""Fewest changes of an alert that flaps: it began, ended, and began again."""
MOST_CHANGES = 40
"""Most earlier changes of an alert that are kept (even: begins and ends come in pairs). Chosen: at one episode a
minute they cover 20 minutes, and 1,000 alerts that change all the time are 0.7 MB."""
LONGEST_S = 2 * 3600.0
"""Seconds for which a change is kept, and so the longest window."""


@dataclass(frozen=True)
class Flapping:
    """When an alert flaps, and when it has settled (alerts/dispatch/flapping.py). Times are seconds."""

    changes: int
    """It flaps from this number of changes within `window_s` on. A change is a begin or an end of firing."""
    window_s: float
    settled_after_s: float
    """It has settled when it has not changed for so long. At most `window_s`."""
