"""The alert log and the group log that continue in memory while the database cannot be written."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

from alerts.dispatch import Decide, GroupStep, Picture
from alerts.interfaces import AlertInstance, MessageRef, Transition
from controlplane.errors import Unavailable
from controlplane.store.alert_groups import SqlGroupLog
from controlplane.store.alert_log import SqlAlertLog
from controlplane.store.backlog.backlog import Backlog

ROOTS = 10_000
"""Maximum number of places of groups' messages in memory. Chosen."""


class EnduringAlertLog:
    """Implements alerts.interfaces.AlertLog. Changes that cannot be written go to the backlog."""

    def __init__(self, log: SqlAlertLog, backlog: Backlog) -> None:
        self._log, self._backlog = log, backlog

    def load(self, rule: str) -> Sequence[AlertInstance]:
        """Return a rule's instances. Raises Unavailable when neither memory nor the database can be read."""
        known = self._backlog.latest(rule)
        if known is not None:
            return known
        try:
            return self._log.load(rule)
        except Unavailable as error:
            self._backlog.pause(error)
            known = self._backlog.latest(rule)
            if known is None:
                raise
            return known

    def record(self, rule: str, instances: Sequence[AlertInstance], transitions: Sequence[Transition]) -> None:
        """Replace a rule's instances and append its transitions. Raises LeaseLost and NotStored, never Unavailable."""
        while not self._backlog.keep(rule, instances, transitions):
            try:
                self._log.record(rule, instances, transitions)
            except Unavailable as error:
                self._backlog.pause(error)
            else:
                self._backlog.wrote(rule, instances)
                return


class EnduringGroupLog:
    """Implements alerts.dispatch.GroupLog. While the database cannot be written, groups advance in memory."""

    def __init__(self, groups: SqlGroupLog, backlog: Backlog) -> None:
        self._groups, self._backlog = groups, backlog
        self._roots: dict[str, tuple[int, MessageRef]] = {}

    def advance(self, decide: Decide, at: float) -> Sequence[GroupStep]:
        """Read, decide, store and enqueue. Raises LeaseLost, and Unavailable before the database was ever read."""
        self._read_once(at)
        while (steps := self._backlog.advance(decide, at)) is None:
            read: list[Picture] = []

            def decide_and_note(picture: Picture, read: list[Picture] = read) -> Sequence[GroupStep]:
                read.append(picture)
                return decide(picture)

            try:
                steps = self._groups.advance(decide_and_note, at)
            except Unavailable as error:
                self._backlog.pause(error)
                self._read_once(at)
            else:
                self._backlog.read(read[-1], steps, at)
                return steps
        return steps

    def _read_once(self, at: float) -> None:
        """Read the state to start from, if it was never read. A database on a full disk can still be read."""
        if self._backlog.paused and self._backlog.seen is None:
            self._backlog.read(self._groups.read(), (), at)

    def roots(self, wanted: Collection[tuple[str, int]]) -> Mapping[tuple[str, int], MessageRef]:
        """Return the places of the first messages of groups. A group has none also when it cannot be read."""
        known = {group: self._roots.get(group[0], (0, MessageRef(""))) for group in wanted}
        found = {group: ref for group, (generation, ref) in known.items() if ref.place and group[1] == generation}
        try:
            return {**self._groups.roots([group for group in wanted if group not in found]), **found}
        except Unavailable as error:
            # A second message is better than none.
            self._backlog.pause(error)
            return found

    def remember(self, places: Mapping[tuple[str, int], MessageRef]) -> None:
        """Store the places of groups' messages, in the database or in the backlog."""
        for (key, generation), ref in places.items():
            self._roots.pop(key, None)
            self._roots[key] = (generation, ref)
            if len(self._roots) > ROOTS:
                del self._roots[next(iter(self._roots))]
        if not self._backlog.paused:
            try:
                self._groups.remember(places)
            except Unavailable as error:
                self._backlog.pause(error)
            else:
                return
        with self._backlog.lock:
            self._backlog.roots.update({key: (generation, ref) for (key, generation), ref in places.items()})
