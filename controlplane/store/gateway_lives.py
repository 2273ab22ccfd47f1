"""Processes that report under one gateway's name. Pure.

A restart and an upgrade change the process behind a name once. Two processes with one name, such as two machines with a
copied fleet.yaml, report in turn: a process reports again after another one did.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

SHARED_S = 10.0
"""Seconds for which returns count. Chosen: gateways report every second, and one that is silent for ten is not live."""
RETURNS = 3
"""Returns within SHARED_S that prove two processes. A report that a successor overtook makes one or two."""
KNOWN_S = 60.0
"""Seconds for which another process is remembered. Chosen: longer than a pause of its network."""
MOST = 8
"""Maximum number of processes remembered. Chosen: a gateway that crashes at each start must not fill its row."""


@dataclass(frozen=True)
class Lives:
    """The processes that reported under a name, besides the last one."""

    others: Mapping[str, float] = field(default_factory=dict)
    """Unix seconds of the last report of each other process, by incarnation."""
    returns: tuple[float, ...] = ()
    """Unix seconds at which a process reported again after another one did, the last RETURNS of them."""

    def after(self, last: str, seen_at: float, reporting: str, now: float) -> Lives:
        """Return the lives after a report of `reporting` at `now`. `last` reported before it, at `seen_at`."""
        if last == reporting:
            return self
        returned = reporting in self.others
        others = {**self.others, last: seen_at}
        others.pop(reporting, None)
        return Lives(others, (*self.returns, now)[-RETURNS:] if returned else self.returns)

    def recent(self, now: float) -> Lives:
        """Return the lives without what is too old at `now`, and with MOST other processes at most."""
        newest = sorted(((at, name) for name, at in self.others.items() if abs(now - at) <= KNOWN_S), reverse=True)
        others = {name: at for at, name in newest[:MOST]}
        return Lives(others, tuple(at for at in self.returns if abs(now - at) <= KNOWN_S))

    def processes(self, now: float) -> int:
        """Return the number of processes that share the name at `now`: 1 when no other one does."""
        if len([at for at in self.returns if abs(now - at) <= SHARED_S]) < RETURNS:
            return 1
        return 1 + sum(abs(now - at) <= SHARED_S for at in self.others.values())
