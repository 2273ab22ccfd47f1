"""Check that every notifier gets messages."""

from __future__ import annotations

from controlplane.app.checks.findings import Findings
from controlplane.config.loader import LoadedFleet


def check_routing(loaded: LoadedFleet, findings: Findings) -> None:
    """Add a warning for notifiers that get no messages."""
    fleet = loaded.fleet
    if not fleet.reads("notifiers", "route"):
        return
    names = [notifier.name if notifier.reads("name") else None for notifier in fleet.notifiers]
    if fleet.route is None:
        if len(names) > 1:
            findings.warn(("notifiers",), "no notifier gets messages, only the log does; add route:")
        return
    if not fleet.route.reads("receiver"):
        return
    for number, name in enumerate(names):
        if name is not None and name != fleet.route.receiver:
            findings.warn(
                ("notifiers", number, "name"), f"{name} gets no messages: route: names another notifier as receiver"
            )
