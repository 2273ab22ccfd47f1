"""Where alerts and notices go, from `route:` and `notifiers:` of fleet.yaml."""

from __future__ import annotations

from alerts.dispatch import Stages
from alerts.routing.tree import Node, Receiver, Routing
from controlplane.config.model import LOG, Fleet, RouteSection


def routing_of(fleet: Fleet) -> Routing:
    """Return the routing. Without a `route:` all alerts go to the only notifier, or to the log if there is not one."""
    section = fleet.route
    if section is None:
        names = [notifier.name for notifier in fleet.notifiers]
        section = RouteSection(receiver=names[0] if len(names) == 1 else LOG)
    root = Node(
        "route",
        0,
        (),
        section.receiver,
        section.group_by,
        group_wait_s=section.group_wait,
        group_interval_s=section.group_interval,
        repeat_interval_s=section.repeat_interval,
    )
    every = (*(notifier.name for notifier in fleet.notifiers), *(node.receiver for node in root.walk()))
    return Routing(root, {name: Receiver(name, 0, ()) for name in every})


def stages_of(fleet: Fleet, console_url: str) -> Stages:
    """Return all that lies between an alert and its notification."""
    routing = routing_of(fleet)
    return Stages(routing, {name: (name,) for name in routing.receivers}, console_url)


def notice_receiver(fleet: Fleet) -> str:
    """Return the notifier that gets messages about other things than alerts: that of the root route."""
    return routing_of(fleet).root.receiver
