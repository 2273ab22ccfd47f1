"""Decides whom to tell what, and when: grouping as Alertmanager does it, over state that is stored.

A group opens with its first firing alert, waits `group_wait` for company, and sends. Changes (an alert more or less)
are sent once `group_interval` has passed since the last message, an unchanged group again after `repeat_interval`.
When everything in it has resolved it says so and closes. While a message of a group is still on its way, nothing is
decided for it: the next message then tells the newest state at once, so an outage of the receiver ends in one message
and not in a flood. A message that was given up (a wrong token) is told anew after a quarter of an hour. What was told
is stored with the group, so no crash and no pause can lose a resolved notice.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import NamedTuple, Protocol

from alerts.interfaces import AlertInstance, AlertState, Clock, Message, MessageRef
from collectors.durations import format_duration
from collectors.samples import Labels

UNROUTED_SEVERITY = "none"
"""Alerts of this severity (the Watchdog) are for machines: nobody is told."""

DEAD_RETRY_S = 15 * 60.0
"""A group whose message was given up is told again after this long: the cause may have been mended by then."""


@dataclass(frozen=True)
class Route:
    """Where alerts go and how they are grouped; Alertmanager's words, durations in seconds."""

    receiver: str
    group_by: tuple[str, ...] = ("model", "alertname")
    """`("...",)` makes every alert a group of its own."""
    group_wait_s: float = 10.0
    group_interval_s: float = 60.0
    repeat_interval_s: float = 4 * 3600.0


@dataclass(frozen=True)
class GroupState:
    """What one receiver was last told about one group. Times are unix seconds."""

    key: str
    receiver: str
    labels: Labels
    generation: int
    """Grows each time the group reopens: a new generation is a new message, not an update of the old one."""
    sequence: int
    is_open: bool
    opened_at: float
    notified_at: float | None = None
    notified: tuple[AlertInstance, ...] = ()
    """The alerts that were firing in the last message."""
    recalled: bool = True
    """False: what was told cannot be read any more, nor perhaps `labels`; `decide` finds out from the alerts."""

    def moved_by(self, by_s: float) -> GroupState:
        """Return it as it is after the clock was set: what waits goes on waiting for as long as it would have."""
        return replace(
            self,
            opened_at=self.opened_at + by_s,
            notified_at=None if self.notified_at is None else self.notified_at + by_s,
            notified=tuple(instance.moved_by(by_s) for instance in self.notified),
        )


class GroupStep(NamedTuple):
    """A group's new state, the message to send, if any, and why."""

    state: GroupState
    message: Message | None
    sentence: str


class Deliveries(NamedTuple):
    """Groups, by key, whose last message has not simply arrived."""

    underway: Collection[str] = ()
    """It is queued, being sent or being retried."""
    dead: Collection[str] = ()
    """It was given up: a wrong token, a channel that is gone."""


Decide = Callable[[Sequence[AlertInstance], Mapping[str, GroupState], Deliveries], Sequence[GroupStep]]
"""(all instances, open and closed groups by key, deliveries) -> what changes."""


class GroupLog(Protocol):
    """The durable memory of groups. Synchronous; callers on an event loop use a thread."""

    def advance(self, decide: Decide, at: float) -> Sequence[GroupStep]:
        """Read, decide, and store new states with their messages' outbox rows, all in one transaction.

        Raises when the caller's lease is lost; then nothing was written.
        """
        ...

    def root(self, key: str, generation: int) -> MessageRef | None:
        """Return where the first message of this generation of a group is."""
        ...

    def remember(self, key: str, generation: int, ref: MessageRef) -> None:
        """Store where a group's message is; ignored when the group has reopened since."""
        ...


class Dispatcher:
    """Turns stored alerts into queued messages, one transaction a tick."""

    def __init__(self, route: Route, groups: GroupLog, clock: Clock, console_url: str) -> None:
        self._route, self._groups, self._clock, self._console_url = route, groups, clock, console_url
        self._looked_at = self._idle_until = 0.0

    async def tick(self, at: float | None = None, *, changed: bool = True) -> Sequence[GroupStep]:
        """Decide for every group at unix second `at` (now when None); return what changed.

        `changed` False says that no alert can have changed since the last tick: then nothing is read before the
        first group is due, unless the clock was set back. Raises what the log raises: a lost lease means that another
        process dispatches by now.
        """
        moment = self._clock.now() if at is None else at
        if not changed and self._looked_at <= moment < self._idle_until:
            return ()

        def decide_now(
            instances: Sequence[AlertInstance], groups: Mapping[str, GroupState], deliveries: Deliveries
        ) -> Sequence[GroupStep]:
            steps = decide(self._route, instances, groups, deliveries, moment, self._console_url)
            self._idle_until = next_due(self._route, instances, groups, deliveries, moment, steps)
            return steps

        self._looked_at, self._idle_until = moment, 0.0
        return await asyncio.to_thread(self._groups.advance, decide_now, moment)


def decide(
    route: Route,
    instances: Iterable[AlertInstance],
    groups: Mapping[str, GroupState],
    deliveries: Deliveries,
    at: float,
    console_url: str,
) -> tuple[GroupStep, ...]:
    """Return the groups that change at unix second `at`, in the order of their keys."""
    firing, ended = _sort_out(route, instances)
    steps = []
    for key in sorted(firing.keys() | {k for k, group in groups.items() if group.is_open}):
        if key in deliveries.underway:
            continue
        members = firing.get(key, {})
        group = groups.get(key)
        if group is None or not group.is_open:
            group = _opened(route, key, group, members, at)
            opened = GroupStep(group, None, f"{key} opened with {len(members)} alert(s)")
            steps.append(_advance(route, group, members, ended, at, console_url) or opened)
        elif step := _go_on(route, group, members, ended, deliveries, at, console_url):
            steps.append(step)
    return tuple(steps)


def next_due(
    route: Route,
    instances: Iterable[AlertInstance],
    groups: Mapping[str, GroupState],
    deliveries: Deliveries,
    at: float,
    steps: Sequence[GroupStep],
) -> float:
    """Return the unix second up to which nothing is to be decided while no alert changes; `at` when that is unknown.

    Unknown it is while a message is under way or given up, and right after a step.
    """
    if steps or deliveries.underway or deliveries.dead:
        return at
    firing, _ = _sort_out(route, instances)
    due = [math.inf]
    for key, group in groups.items():
        if group.is_open and not group.recalled:
            return at
        if group.is_open:
            told = {instance.labels for instance in group.notified}
            due.append(_due(route, group, changed=firing.get(key, {}).keys() != told))
    return min(due)


def group_labels(route: Route, labels: Labels) -> Labels:
    """Return the labels that an alert is grouped by."""
    if route.group_by == ("...",):
        return labels
    return tuple((k, v) for k, v in labels if k in route.group_by)


def group_key(receiver: str, labels: Labels) -> str:
    """Return a group's readable name: `ops{alertname="LLMModelDown",model="chat"}`."""
    return f"{receiver}{{{','.join(f'{k}={v!r}' for k, v in labels)}}}"


def _sort_out(
    route: Route, instances: Iterable[AlertInstance]
) -> tuple[dict[str, dict[Labels, AlertInstance]], dict[Labels, AlertInstance]]:
    """Return firing alerts by group and labels, and by labels those that have resolved."""
    firing: dict[str, dict[Labels, AlertInstance]] = {}
    ended: dict[Labels, AlertInstance] = {}
    for instance in sorted(instances, key=lambda i: (i.active_at, i.labels)):
        if dict(instance.labels).get("severity") == UNROUTED_SEVERITY:
            continue
        if instance.state is AlertState.FIRING:
            key = group_key(route.receiver, group_labels(route, instance.labels))
            firing.setdefault(key, {}).setdefault(instance.labels, instance)
        elif instance.resolved_at is not None:
            ended[instance.labels] = instance
    return firing, ended


def _patience(route: Route, key: str, deliveries: Deliveries) -> Route:
    """Return the route with an earlier repeat for a group whose last message was given up."""
    if key not in deliveries.dead:
        return route
    return replace(route, repeat_interval_s=min(route.repeat_interval_s, max(route.group_interval_s, DEAD_RETRY_S)))


def _go_on(
    route: Route,
    group: GroupState,
    members: Mapping[Labels, AlertInstance],
    ended: Mapping[Labels, AlertInstance],
    deliveries: Deliveries,
    at: float,
    console_url: str,
) -> GroupStep | None:
    """Return how an open group changes, if it does."""
    if not group.recalled:
        group = _recall(route, group, members, ended)
        if not members and not group.notified:
            # Whether it is over is not known: an alert that was read anew may still be pending.
            words = f"{group.key} closed: what was told of it cannot be read, and nothing of it fires"
            return None if _recent(route, group, at) else GroupStep(_closed(group), None, words)
    if group.receiver != route.receiver or not _belongs(route, group):
        return GroupStep(_closed(group), None, f"{group.key} closed: alerts are no longer grouped so")
    return _advance(_patience(route, group.key, deliveries), group, members, ended, at, console_url)


def _recent(route: Route, group: GroupState, at: float) -> bool:
    told_at = group.opened_at if group.notified_at is None else group.notified_at
    return at < told_at + route.repeat_interval_s


def _recall(
    route: Route, group: GroupState, members: Mapping[Labels, AlertInstance], ended: Mapping[Labels, AlertInstance]
) -> GroupState:
    """Return a group with what must have been told of it: what fired when its last message was made."""
    told_at = -math.inf if group.notified_at is None else group.notified_at
    alive = [i for i in members.values() if i.fired_at is not None and i.fired_at <= told_at]
    over = [
        i
        for i in ended.values()
        if group_key(route.receiver, group_labels(route, i.labels)) == group.key
        and i.fired_at is not None
        and i.resolved_at is not None
        and i.fired_at <= told_at < i.resolved_at
    ]
    labels = next((group_labels(route, i.labels) for i in (*members.values(), *over)), group.labels)
    return replace(group, labels=labels, notified=(*alive, *over), recalled=True)


def _belongs(route: Route, group: GroupState) -> bool:
    return all(group_labels(route, i.labels) == group.labels for i in group.notified)


def _opened(
    route: Route, key: str, old: GroupState | None, members: Mapping[Labels, AlertInstance], at: float
) -> GroupState:
    # Unix seconds keep generations growing even when the old row has been pruned: message ids never repeat.
    generation = max(int(at), 0 if old is None else old.generation + 1)
    labels = group_labels(route, next(iter(members)))
    return GroupState(key, route.receiver, labels, generation, sequence=0, is_open=True, opened_at=at)


def _closed(group: GroupState) -> GroupState:
    return replace(group, is_open=False, notified=(), recalled=True)


def _advance(
    route: Route,
    group: GroupState,
    members: Mapping[Labels, AlertInstance],
    ended: Mapping[Labels, AlertInstance],
    at: float,
    console_url: str,
) -> GroupStep | None:
    told = {instance.labels: instance for instance in group.notified}
    new, gone = members.keys() - told.keys(), told.keys() - members.keys()
    if not members and not told:
        return GroupStep(_closed(group), None, f"{group.key} closed: resolved before anyone was told")
    if at < _due(route, group, changed=bool(new or gone)):
        return None
    resolved = tuple(ended.get(labels) or _ended(told[labels], at) for labels in sorted(gone))
    firing = tuple(members.values())
    message = Message(
        group_key=group.key,
        receiver=group.receiver,
        status="firing" if firing else "resolved",
        group_labels=group.labels,
        firing=firing,
        resolved=resolved,
        sequence=group.sequence + 1,
        generation=group.generation,
        console_url=console_url,
        sent_at=datetime.fromtimestamp(at, UTC),
    )
    state = replace(group, sequence=message.sequence, is_open=bool(firing), notified_at=at, notified=firing)
    return GroupStep(state, message, _sentence(route, group, len(new), len(gone), len(firing)))


def _due(route: Route, group: GroupState, *, changed: bool) -> float:
    if group.notified_at is None:
        return group.opened_at + route.group_wait_s
    return group.notified_at + (route.group_interval_s if changed else route.repeat_interval_s)


def _ended(instance: AlertInstance, at: float) -> AlertInstance:
    """Return a told alert whose own row is gone by now: the end of it was missed, not the fact."""
    return replace(instance, state=AlertState.INACTIVE, resolved_at=at, keep_firing_since=None)


def _sentence(route: Route, group: GroupState, new: int, gone: int, firing: int) -> str:
    if not firing:
        return f"{group.key} resolved"
    if not new and not gone:
        return f"{group.key} repeats {firing} firing alert(s) after {format_duration(route.repeat_interval_s)}"
    return f"{group.key} tells of {new} new and {gone} resolved alert(s), {firing} firing"
