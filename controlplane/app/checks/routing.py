"""Check that every notifier gets messages, that alerts reach every route, and that inhibitions are not too wide."""

from __future__ import annotations

from pathlib import Path

from alerts.errors import RuleError
from alerts.routing.doubts import doubts
from controlplane.app.checks.findings import Findings
from controlplane.app.checks.secrets import access_faults, notifier_faults
from controlplane.config.loader import LoadedFleet
from controlplane.config.notifications.alertmanager import read_receivers
from controlplane.config.vocabulary import Access, whole
from controlplane.errors import ConfigErrors
from controlplane.fleet.alerting.route import ALERTMANAGER, notice_receiver
from controlplane.fleet.alerting.routing import routing_of


def check_routing(loaded: LoadedFleet, findings: Findings) -> None:
    """Add warnings for notifiers and routes that get nothing, and for inhibitions that reach far.

    Add an error for a bad `alertmanager.yml`.
    """
    fleet = loaded.fleet
    if fleet.reads("notifications") and fleet.notifications.reads("alertmanager_config"):
        path = fleet.notifications.alertmanager_config
        if path is not None:
            _check_alertmanager(path, findings)
            return
    if not fleet.reads("notifiers", "route"):
        return
    names = [notifier.name if notifier.reads("name") else None for notifier in fleet.notifiers]
    if fleet.route is None:
        if len(names) > 1:
            findings.warn(("notifiers",), "no notifier gets messages, only the log does; add route:")
        return
    _check_tree(loaded, names, findings)


def _check_alertmanager(path: Path, findings: Findings) -> None:
    try:
        read = read_receivers(path)
    except RuleError as error:
        findings.error(ALERTMANAGER, str(error))
        return
    for doubt in doubts(read.routing):
        findings.elsewhere("warning", str(path), doubt.line, doubt.sentence)
    for note in read.notes:
        findings.elsewhere("warning", note.file, note.line, note.text)
    for receiver, sections in read.sections.items():
        for section in sections:
            access = access_faults(section) if isinstance(section, Access) else ()
            for _, fault in (*notifier_faults(section), *access):
                findings.elsewhere("warning", str(path), None, f"receiver {receiver}: {fault}")


def can_route(loaded: LoadedFleet) -> bool:
    """Return whether everything that decides where messages go could be read."""
    fleet = loaded.fleet
    sections = ("notifiers", "route", "inhibit_rules", "time_intervals", "notifications", "rotas")
    if not (fleet.reads(*sections) and whole(tuple(getattr(fleet, section) for section in sections))):
        return False
    try:
        notice_receiver(loaded)
    except ConfigErrors:
        return False
    return True


def _check_tree(loaded: LoadedFleet, names: list[str | None], findings: Findings) -> None:
    fleet = loaded.fleet
    if not can_route(loaded):
        return
    routing = routing_of(fleet)
    used = {name for node in routing.root.walk() for name in node.receivers}
    used |= {rota.fallback for rota in fleet.rotas} if fleet.reads("rotas") and whole(fleet.rotas) else set()
    for number, name in enumerate(names):
        if name is not None and name not in used:
            sentence = f"{name} gets no messages: route: names another notifier as receiver"
            findings.warn(("notifiers", number, "name"), sentence)
    for doubt in doubts(routing):
        if doubt.place:  # an unused receiver has none: it is a notifier, which is named above
            findings.warn(doubt.place, doubt.sentence)
