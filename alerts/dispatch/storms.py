"""The storm stage: many alerts that begin together and have one cause are one message. Pure.

A storm begins at a notifier when many groups are about to tell it of alerts that began within a short window, and one
cause explains most of them. A cause is a value of a label (a node, a rack, a model) that most of these alerts have and
few of the calm ones: its lift is high. Without a cause there is no storm, and every group sends its own message.

The storm's alerts leave their groups and are members of a group of the storm: `ops//storm{node='n1'}`. That is a group
as any other. It is stored, sent, edited, repeated, acknowledged and resolved by the same code, and its name is all that
has to be stored. Alerts that the cause does not explain stay in their groups, critical ones too. Later alerts with
the cause join as long as they come in close succession.

A storm is over when few of its groups still fire. Its message says so, and what still fires goes back to its own
groups, which tell of it as of any new alert. ADR 0027 has the reasons.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple
from urllib.parse import urlencode

from alerts.dispatch.groups import GroupState, Picture
from alerts.dispatch.routing import Members, Outlet, Sorted, Stages, sort
from alerts.interfaces import AlertInstance, Message, Storm, StormCount
from alerts.routing.matchers import Matcher, Op
from alerts.routing.storms import Storms
from alerts.routing.tree import Node
from collectors.samples import Labels

STORM = "//storm"
"""Stands in the names of storms' groups where other groups have the matchers of their route."""
LEAST_LIFT = 2.0
"""A cause is at least this much more frequent in the storm than among the calm alerts. Chosen: a label that half of the
calm alerts have explains nothing, even when all of the storm's have it."""
FEWEST_CALM = 5
"""Fewest calm alerts whose labels say what is usual. Chosen."""
JOINS_WITHIN_S = 300.0
"""An alert joins a storm when it began within this time of another one of the storm, in seconds. Chosen: rules with
`for: 5m` see the same cause five minutes later."""
OVER_BELOW = 3
"""A storm is over when less than its threshold divided by this still fire, at least two. Chosen: a third is a number of
messages that people can read, and far enough below the threshold that no storm begins and ends in turn."""
LOOK_BACK_S = 600.0
"""Seconds before a storm in which a rollout or a reload is named in its message. Chosen: `for` of most rules is 5m."""
MOST_ACTS = 3
_NODE_OF = re.compile(r"\[?([^\]]+?)\]?(?::\d+)?$")


@dataclass(frozen=True)
class StormOutlet(Outlet):
    """The outlet of storms with one cause at one notifier."""

    cause: tuple[str, str] = ("", "")

    def group_labels(self, labels: Labels) -> Labels:
        """Return the cause, which all alerts of the storm have in common."""
        return (self.cause,)


class Home(NamedTuple):
    """The notifier of an outlet, and the time of the step of the escalation: each has storms of its own."""

    notifier: str
    after_s: float

    @classmethod
    def of(cls, outlet: Outlet) -> Home:
        """Return the home of an outlet."""
        return cls(outlet.notifier, outlet.after_s)


def fold(stages: Stages, picture: Picture, found: Sorted, at: float) -> None:
    """Move the alerts of storms from their groups to groups of the storms. Changes `found`.

    Without a storm and with few new alerts, nothing is moved, also later as long as no alert changes.
    """
    settings = stages.routing.storms
    if settings is None:
        return
    standing = [group for key, group in picture.groups.items() if group.is_open and is_storm(key, group.receiver)]
    fresh = [
        one for members in found.groups.values() for one in members.firing.values() if _is_fresh(one, settings, at)
    ]
    if not standing and len(fresh) < settings.groups:
        return
    found.lasts = False
    for group in standing:
        _go_on(stages, settings, picture, found, group)
    if len(fresh) < settings.groups:
        return
    for home in sorted({Home.of(members.outlet) for members in found.groups.values() if members.outlet}):
        if cause := _beginning(stages, settings, picture, found, home, at):
            outlet = outlet_for(stages, home, cause)
            _fold_into(outlet, picture, found, at - settings.window_s, at, set())


def sort_with_storms(stages: Stages, picture: Picture, at: float) -> Sorted:
    """Route, hold back and group the alerts at unix second `at`, with storms in groups of their own."""
    found = sort(stages, picture, at)
    fold(stages, picture, found, at)
    return found


def storm_of(stages: Stages, picture: Picture, members: Members, message: Message, opened_at: float) -> Message:
    """Return a message of a storm with the facts about it, and any other message unchanged."""
    if not isinstance(members.outlet, StormOutlet):
        return message
    alerts = message.firing or message.resolved
    kinds = Counter((each.get("alertname", ""), each.get("severity", "")) for each in (dict(a.labels) for a in alerts))
    counts = tuple(
        StormCount(*kind, count) for kind, count in sorted(kinds.items(), key=lambda kind: (-kind[1], kind[0]))
    )
    name, value = members.outlet.cause
    models = {value for alert in alerts for label, value in alert.labels if label == "model"}
    happened = picture.happened(opened_at - LOOK_BACK_S, opened_at)
    acts = [one.sentence for one in happened if one.model is None or one.model in models]
    groups = len({key for _, key in members.origins})
    storm = Storm(name, value, groups, counts, tuple(acts[-MOST_ACTS:]), members.rest)
    url = f"{stages.console_url}/alerts?{urlencode({'state': 'active', 'label': Matcher(name, Op.EQUAL, value)})}"
    return replace(message, storm=storm, console_url=url if stages.console_url else "")


def is_storm(key: str, notifier: str) -> bool:
    """Return whether a group of a notifier is a storm's, by its name."""
    return key.startswith((f"{notifier}{STORM}{{", f"{notifier}{STORM}^"))


def has_cause(labels: Labels, cause: tuple[str, str]) -> bool:
    """Return whether an alert has a value of a label, or is on that node by its instance."""
    return cause in causes_of(labels, (cause[0],))


def causes_of(labels: Labels, names: Sequence[str]) -> list[tuple[str, str]]:
    """Return the pairs of an alert that may be a cause. An alert without a node has that of its instance."""
    values = dict(labels)
    if "node" in names and "node" not in values and (node := _NODE_OF.match(values.get("instance", ""))):
        values["node"] = node[1]
    return [(name, values[name]) for name in names if values.get(name)]


def cause_of(fresh: Sequence[AlertInstance], calm: Iterable[AlertInstance], settings: Storms) -> tuple[str, str] | None:
    """Return the label value that most of `fresh` and few of `calm` have; None: there is none.

    Of several the one of most alerts, then the most specific one.
    """
    counts = Counter(pair for one in fresh for pair in causes_of(one.labels, settings.causes))
    least = settings.share * len(fresh)
    likely = [pair for pair, count in counts.items() if count >= least]
    if not likely:
        return None
    usual = Counter[tuple[str, str]]()
    calm_ones = 0
    for one in calm:
        calm_ones += 1
        usual.update(causes_of(one.labels, settings.causes))

    def lifted(pair: tuple[str, str]) -> bool:
        if calm_ones < FEWEST_CALM:
            return True
        return counts[pair] / len(fresh) >= LEAST_LIFT * usual[pair] / calm_ones

    best = [pair for pair in likely if lifted(pair)]
    return min(best, key=lambda pair: (-counts[pair], settings.causes.index(pair[0]), pair[1]), default=None)


def outlet_for(stages: Stages, home: Home, cause: tuple[str, str]) -> StormOutlet:
    """Return the outlet of the storms of a cause: as fast as the fastest route that leads to its notifier."""
    own = [one for node in stages.routing.root.walk() for one in stages.of(node) if Home.of(one) == home]
    nodes = [one.node for one in own] or [stages.routing.root]
    step, duty = (own[0].step, own[0].duty) if own else (0, ())
    node = Node(
        "storm",
        0,
        (),
        nodes[0].receiver,
        (cause[0],),
        group_wait_s=min(node.group_wait_s for node in nodes),
        group_interval_s=min(node.group_interval_s for node in nodes),
        repeat_interval_s=min(node.repeat_interval_s for node in nodes),
        escalation=nodes[0].escalation,
        key=STORM,
    )
    return StormOutlet(node, home.notifier, home.after_s, step, duty, cause)


def _is_fresh(instance: AlertInstance, settings: Storms, at: float) -> bool:
    return instance.fired_at is not None and instance.fired_at > at - settings.window_s


def _told(picture: Picture, key: str) -> set[Labels]:
    group = picture.groups.get(key)
    return set() if group is None or not group.is_open else {one.labels for one in group.notified}


def _beginning(
    stages: Stages, settings: Storms, picture: Picture, found: Sorted, home: Home, at: float
) -> tuple[str, str] | None:
    """Return the cause of a storm that begins at a notifier; None: none begins."""
    fresh: dict[Labels, AlertInstance] = {}
    keys: dict[Labels, list[str]] = {}
    for key, members in found.groups.items():
        if members.outlet is None or isinstance(members.outlet, StormOutlet) or Home.of(members.outlet) != home:
            continue
        new = {labels: one for labels, one in members.firing.items() if _is_fresh(one, settings, at)}
        told = _told(picture, key) if new else set()
        for labels, one in new.items():
            if labels not in told:
                fresh[labels] = one
                keys.setdefault(labels, []).append(key)
    if len({key for each in keys.values() for key in each}) < settings.groups:
        return None
    calm = (
        one
        for members in found.groups.values()
        if members.outlet is not None and Home.of(members.outlet) == home
        for labels, one in members.firing.items()
        if labels not in fresh
    )
    cause = cause_of(list(fresh.values()), calm, settings)
    if cause is None:
        return None
    explained = {key for labels, each in keys.items() if has_cause(labels, cause) for key in each}
    return cause if len(explained) >= settings.groups else None


def _go_on(stages: Stages, settings: Storms, picture: Picture, found: Sorted, group: GroupState) -> None:
    """Fold the alerts of a storm that began at an earlier decision, unless it is over."""
    outlet = _standing_outlet(stages, group)
    if outlet is None:
        return  # its notifier is gone, and so is what it would be told
    storm = found.groups.setdefault(group.key, Members(outlet))
    known = {one.labels for one in group.notified}
    firing = [one.fired_at or 0.0 for one in group.notified if one.labels in found.firing]
    last_at = max([group.opened_at, *firing])
    _fold_into(outlet, picture, found, group.opened_at - settings.window_s, last_at, known)
    if len({key for _, key in storm.origins}) < max(2, -(-settings.groups // OVER_BELOW)):
        _unfold(found, storm, known)


def _standing_outlet(stages: Stages, group: GroupState) -> StormOutlet | None:
    homes = {Home.of(one) for node in stages.routing.root.walk() for one in stages.of(node)}
    for home in homes:
        for cause in group.labels[:1]:
            outlet = outlet_for(stages, home, cause)
            if outlet.key(group.labels) == group.key:
                return outlet
    return None


def _fold_into(
    outlet: StormOutlet,
    picture: Picture,
    found: Sorted,
    began_at: float,
    last_at: float,
    known: set[Labels],
) -> None:
    """Move the alerts of a cause from the other groups of its notifier to the storm's group.

    `known` are the alerts that the storm has told. Others join if they began after `began_at`, in close succession
    after `last_at`, and nothing holds them back. `last_at` moves on with each.
    """
    key, home = outlet.key((outlet.cause,)), Home.of(outlet)
    storm = found.groups.get(key) or Members(outlet)
    candidates = [
        (one.fired_at or 0.0, labels, other)
        for other, members in found.groups.items()
        if members.outlet is not None
        and not isinstance(members.outlet, StormOutlet)
        and Home.of(members.outlet) == home
        for labels, one in [*members.firing.items(), *((each, held.instance) for each, held in members.held.items())]
        if has_cause(labels, outlet.cause)
    ]
    for fired_at, labels, other in sorted(candidates):
        members = found.groups[other]
        if labels not in known:
            is_late = not began_at < fired_at <= last_at + JOINS_WITHIN_S
            if is_late or labels in members.held or labels in _told(picture, other):
                continue
            last_at = max(last_at, fired_at)
        _move(labels, members, storm)
        storm.origins.append((labels, other))
        members.folded[labels] = key
    if storm.origins:
        found.groups[key] = storm


def _unfold(found: Sorted, storm: Members, known: set[Labels]) -> None:
    """Give the alerts of a storm that is over back to their groups.

    `known` are the alerts that it has told. Those of them that are held back stay until they end or are let go: their
    groups would not tell of them, and the storm's incident must not end while an acknowledged alert of it fires.
    """
    stay, back = [], set()
    for labels, other in storm.origins:
        if labels in storm.held and labels in known:
            stay.append((labels, other))
            continue
        members = found.groups[other]
        _move(labels, storm, members, keep=True)
        del members.folded[labels]
        back.add(labels)
    storm.rest = len(back & known)
    storm.firing, storm.origins = {}, stay
    storm.held = {labels: storm.held[labels] for labels, _ in stay}
    storm.flaps = {labels: flap for labels, flap in storm.flaps.items() if labels in storm.held}


def _move(labels: Labels, source: Members, target: Members, *, keep: bool = False) -> None:
    """Move an alert between two groups. `keep`: it stays in the first one, too, for it may come from several."""
    if labels in source.firing:
        target.firing[labels] = source.firing[labels]
    else:
        target.held[labels] = source.held[labels]
    if labels in source.flaps:
        target.flaps[labels] = source.flaps[labels]
    if not keep:
        for part in (source.firing, source.held, source.flaps):
            part.pop(labels, None)
