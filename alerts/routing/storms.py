"""When many alerts are a storm: the settings of a routing."""

from __future__ import annotations

from dataclasses import dataclass

CAUSES = ("node", "switch", "rack", "zone", "model", "alertname")
"""Labels whose value may be the cause of a storm, the most specific first. Chosen: what fails as a whole in a fleet.
The last one names what the alerts have in common when no place explains them."""


@dataclass(frozen=True)
class Storms:
    """When alerts are a storm, and what may be its cause (alerts/dispatch/storms.py)."""

    groups: int
    """A storm begins when so many groups of one notifier are about to tell of alerts that began within `window_s`."""
    window_s: float
    share: float
    """Least part of those alerts, from 0 to 1, that the cause must explain."""
    causes: tuple[str, ...] = CAUSES
    """Labels whose value may be the cause, the most specific first."""
