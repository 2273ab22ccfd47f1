"""Explains where an alert is between its rule and a person: for each route and notifier, which stage it is in. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from alerts.dispatch.decide import flaps_changed
from alerts.dispatch.groups import GroupState, Picture
from alerts.dispatch.muting import Mute
from alerts.dispatch.routing import UNROUTED_SEVERITY, Members, Outlet, Sorted, Stages
from alerts.dispatch.storms import sort_with_storms
from alerts.dispatch.timing import due_at, patience
from alerts.interfaces import AlertInstance, AlertState
from alerts.routing.tree import Node
from collectors.durations import format_duration

NOT_FIRING, UNROUTED, DROPPED, OPENING = "not firing", "unrouted", "no notifier", "opening"
FLAPPING, STORM = "flapping", "storm"
WAITING, UNDERWAY, GIVEN_UP, SENT, TOLD_OVER = "waiting", "underway", "given up", "sent", "over"


@dataclass(frozen=True)
class Leg:
    """The way of an alert to one notifier, and the stage in which it is. Times are unix seconds."""

    stage: str
    """`not firing`, `unrouted`, `no notifier`, a stage of muting, `storm`, `flapping`, `opening`, `waiting`,
    `underway`, `given up`, `sent` or `over`."""
    sentence: str
    route: str = ""
    """Place of the route in the tree: `route.routes[2]`."""
    line: int = 0
    """Its line in an `alertmanager.yml`; 0 in fleet.yaml."""
    receiver: str = ""
    notifier: str = ""
    group: str = ""
    mutes: tuple[Mute, ...] = ()
    """All reasons that hold it back now."""
    due_at: float | None = None
    """Time of the next message that may have it; None: nothing is planned."""
    message: str = ""
    """Id of the group's last message; "" when there is none yet."""
    message_at: float | None = None


def explain(stages: Stages, picture: Picture, instance: AlertInstance, at: float) -> list[Leg]:
    """Return the legs of an alert at unix second `at`, at least one, in the order of the routes."""
    labels = dict(instance.labels)
    nodes = stages.nodes(labels)
    if not nodes:
        why = f"severity {UNROUTED_SEVERITY}: only a route with matchers sends it, and none does"
        return [Leg(UNROUTED, why)]
    found = sort_with_storms(stages, picture, at)
    return [leg for node in nodes for leg in _legs(stages, node, picture, found, instance, at)]


def _legs(
    stages: Stages, node: Node, picture: Picture, found: Sorted, instance: AlertInstance, at: float
) -> Iterator[Leg]:
    if not stages.notifiers.get(node.receiver):
        why = f"receiver {node.receiver} has no notifier, so its alerts are dropped"
        yield Leg(DROPPED, why, node.path, node.line, node.receiver)
    for outlet in stages.of(node):
        yield _leg(stages, outlet, picture, found, instance, at)


def _leg(stages: Stages, outlet: Outlet, picture: Picture, found: Sorted, instance: AlertInstance, at: float) -> Leg:
    node, key = outlet.node, outlet.key(instance.labels)
    if storm := found.members(key).folded.get(instance.labels):
        return _in_storm(outlet, picture, found.members(storm), storm, instance)
    members, group = found.members(key), picture.groups.get(key)
    held = members.held.get(instance.labels)
    told = group is not None and any(one.labels == instance.labels for one in group.notified)
    # A flapping alert fires for its group, whatever its state is.
    instance = members.firing.get(instance.labels, instance)
    stage, sentence, due = _stage(outlet, picture, members, instance, told=told, key=key, at=at)
    if stage in (SENT, WAITING) and (why := _flapping(stages, members, group, instance, told=told)):
        stage, sentence = FLAPPING, why
    sent = group is not None and group.sequence > 0
    return Leg(
        stage,
        sentence,
        node.path,
        node.line,
        node.receiver,
        outlet.notifier,
        key,
        held.mutes if held else (),
        due,
        f"{key}/{group.generation}/{group.sequence}" if group is not None and sent else "",
        group.notified_at if group is not None and sent else None,
    )


def _in_storm(outlet: Outlet, picture: Picture, members: Members, key: str, instance: AlertInstance) -> Leg:
    """Return the leg of an alert that is in the message of a storm."""
    node, group = outlet.node, picture.groups.get(key)
    begun = group if group is not None and group.is_open else None
    number = begun.sequence if begun else 0
    message = f"{key}/{begun.generation}/{number}" if begun and number else ""
    due = None
    if begun and members.outlet:
        due = due_at(members.outlet.node, begun, changed=not number)
    sentence = (
        f"storm: folded into message {message}" if message else f"storm: it will be in the first message of {key}"
    )
    mutes = held.mutes if (held := members.held.get(instance.labels)) else ()
    return Leg(
        mutes[0].stage if mutes else STORM,
        f"{mutes[0].sentence}; {sentence}" if mutes else sentence,
        node.path,
        node.line,
        node.receiver,
        outlet.notifier,
        key,
        mutes,
        due,
        message,
        begun.notified_at if begun and number else None,
    )


def _flapping(
    stages: Stages, members: Members, group: GroupState | None, instance: AlertInstance, *, told: bool
) -> str:
    """Return why an alert that flaps is not sent for each change; "": it does not flap."""
    flap, settings = members.flaps.get(instance.labels), stages.routing.flapping
    if flap is None or settings is None or group is None:
        return ""
    known = told and any(one.fingerprint == flap.fingerprint for one in group.flaps)
    said = "its receiver was told so" if known else "its receiver is told so with the group's next message"
    quiet = format_duration(settings.settled_after_s)
    return f"{flap.sentence}; {said}, and what becomes of it when it has not changed for {quiet}"


def _stage(
    outlet: Outlet, picture: Picture, members: Members, instance: AlertInstance, *, told: bool, key: str, at: float
) -> tuple[str, str, float | None]:
    """Return the stage, a sentence, and the time of the next message."""
    group, deliveries = picture.groups.get(key), picture.deliveries
    is_open = group is not None and group.is_open
    if instance.state is not AlertState.FIRING and not told:
        if instance.state is AlertState.PENDING:
            return NOT_FIRING, "it is pending: nothing is sent before its condition has held for the rule's `for`", None
        return TOLD_OVER, "it has resolved, and no message is due: its end was sent, or nobody was told of it", None
    if key in deliveries.underway:
        return UNDERWAY, "a message of its group is on its way; nothing else is sent before that has arrived", None
    if held := members.held.get(instance.labels):
        return held.mutes[0].stage, held.mutes[0].sentence, None
    if group is None or not is_open:
        return OPENING, "its group opens within a second", at
    node = patience(outlet.node, key, deliveries)
    # Here nothing holds it back any more.
    news = not told or instance.fingerprint in group.held
    changed = news or instance.state is not AlertState.FIRING or flaps_changed(group, members)
    due = max(at, due_at(node, group, changed=changed))
    if told and key in deliveries.dead:
        return GIVEN_UP, "the last message of its group was given up; the group is sent again later", due
    if told and not changed:
        return SENT, f"the last message has it; it is repeated after {format_duration(node.repeat_interval_s)}", due
    if group.notified_at is None and outlet.after_s:
        wait = format_duration(outlet.after_s)
        return WAITING, f"it is sent there when nobody has acknowledged it {wait} after its group opened", due
    if group.notified_at is None:
        return WAITING, f"its group waits {format_duration(node.group_wait_s)} for more alerts (group_wait)", due
    pause = format_duration(node.group_interval_s)
    return WAITING, f"changes of its group are sent at most every {pause} (group_interval)", due
