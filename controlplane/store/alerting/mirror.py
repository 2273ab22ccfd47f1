"""Content of the tables of alerts, kept in memory by the process that alone writes them: the holder of the lease."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence

from alerts.dispatch import GroupState, GroupStep
from alerts.interfaces import AlertInstance
from controlplane.store.lease import Lease

MOST_AGE_S = 600.0
"""Seconds after which everything is read anew. Chosen: rows that housekeeping deleted leave memory, and what somebody
changed by hand is seen; a reading of 10,000 alerts takes about a second."""


class Content:
    """Alerts and groups as stored under one lease. Each is None or absent until it was read or written.

    Invariant: a caller asks for it before its transaction, checks the lease in it, and notes what it wrote after the
    commit, by `Mirror.wrote`. A Content that was given up meanwhile still takes notes, and nobody reads them.
    """

    def __init__(self, lease: Lease | None, since: float) -> None:
        self.lease, self.since = lease, since
        self._lock = threading.Lock()
        self._written: dict[str, tuple[AlertInstance, ...]] = {}
        self._read: dict[str, tuple[AlertInstance, ...]] = {}
        """Instances of rules that were read but not written. Their rows may be damaged."""
        self._emptied: set[str] = set()
        """Rules whose last instance went before all were read: a reading that began earlier may still have it."""
        self._is_all = False
        self._flat: tuple[AlertInstance, ...] | None = None
        self._groups: dict[str, GroupState] | None = None

    def of(self, rule: str) -> tuple[AlertInstance, ...] | None:
        """Return a rule's instances if its rows hold exactly these; None when the rows must be read."""
        with self._lock:
            return self._written.get(rule)

    def wrote(self, rule: str, instances: Sequence[AlertInstance]) -> None:
        """Note that a rule's rows hold exactly these instances."""
        with self._lock:
            self._flat = None
            self._read.pop(rule, None)
            self._written.pop(rule, None)
            if instances:
                self._written[rule] = tuple(instances)
                self._emptied.discard(rule)
            elif not self._is_all:
                self._emptied.add(rule)

    def instances(self) -> tuple[AlertInstance, ...] | None:
        """Return all instances, the same object while nothing changes; None when they must be read."""
        with self._lock:
            if self._flat is None and self._is_all:
                rules = (*self._written.values(), *self._read.values())
                self._flat = tuple(one for found in rules for one in found)
            return self._flat

    def read(self, instances: Iterable[AlertInstance]) -> None:
        """Note all readable instances. What was written meanwhile is newer, and stays."""
        by_rule: dict[str, list[AlertInstance]] = {}
        for instance in instances:
            by_rule.setdefault(instance.rule, []).append(instance)
        with self._lock:
            newer = self._written.keys() | self._emptied
            self._read = {rule: tuple(found) for rule, found in by_rule.items() if rule not in newer}
            self._is_all, self._flat = True, None
            self._emptied.clear()

    def groups(self) -> dict[str, GroupState] | None:
        """Return all groups by key; None when they must be read."""
        with self._lock:
            return None if self._groups is None else dict(self._groups)

    def read_groups(self, groups: Mapping[str, GroupState], steps: Iterable[GroupStep]) -> None:
        """Note all groups as they were read, and the steps that were written after that."""
        with self._lock:
            self._groups = {**groups, **{step.state.key: step.state for step in steps}}


class Mirror:
    """Gives the content that belongs to the lease under which a caller works. Thread-safe."""

    def __init__(self, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._monotonic = monotonic
        self._lock = threading.Lock()
        self._content: Content | None = None

    def under(self, lease: Lease | None) -> Content:
        """Return what is known of the tables under this lease. It is empty for a new lease, and every MOST_AGE_S."""
        now = self._monotonic()
        with self._lock:
            known = self._content
            if known is None or known.lease != lease or now - known.since > MOST_AGE_S:
                known = self._content = Content(lease, now)
            return known

    def wrote(self, content: Content, rule: str, instances: Sequence[AlertInstance]) -> None:
        """Note in the content of `under` that a rule's rows hold exactly these instances, after the commit.

        When that content was given up in between, the one after it may have been read before the commit.
        """
        with self._lock:
            if self._content is content:
                content.wrote(rule, instances)
            else:
                self._content = None

    def forget(self) -> None:
        """Read everything anew. Call it after a write to these tables that no Content noted."""
        with self._lock:
            self._content = None
