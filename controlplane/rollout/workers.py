"""The contract of workers: they do the slow work that a step asks for, and return a finding."""

from __future__ import annotations

from typing import Protocol

from controlplane.rollout.findings import Finding, Work
from controlplane.rollout.model import Rollout


class Worker(Protocol):
    """Does one kind of work. It must bear repetition: after a crash an unfinished work begins again."""

    async def run(self, rollout: Rollout, work: Work, since: float, before: Finding | None) -> Finding:
        """Do `work` and return its finding.

        `since` is the time at which the work was first asked for, in unix seconds; a repetition gets the same time.
        `before` is the rollout's latest finding of the same kind and name, with its `carry`, or None.

        A fault of the world (no connection, no metrics) is a finding NOT_ENOUGH with the reason, or FAIL for a hook.
        The caller turns any other exception into NOT_ENOUGH. It cancels the call when nothing waits for the work.
        """
        ...
