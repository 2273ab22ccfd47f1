"""The console's sections, in the order of the navigation. The command palette and the key sheet list the same."""

from __future__ import annotations

from typing import NamedTuple

from controlplane.access.roles import Role
from controlplane.web.languages import noted as _


class Section(NamedTuple):
    """One entry of the navigation."""

    path: str
    name: str
    """English; the template translates it."""
    icon: str
    """Name of a symbol in static/icons.svg."""
    key: str
    """Letter that opens the section after `g`."""
    role: Role = Role.VIEWER


class Group(NamedTuple):
    """Entries under one heading."""

    name: str
    sections: tuple[Section, ...]


GROUPS = (
    Group(
        _("Watch"),
        (
            Section("/", _("Fleet"), "fleet", "f"),
            Section("/alerts", _("Alerts"), "alerts", "a"),
            Section("/targets", _("Targets"), "targets", "t"),
            Section("/query", _("Query"), "query", "q"),
        ),
    ),
    Group(
        _("Change"),
        (
            Section("/rollouts", _("Rollouts"), "rollouts", "r"),
            Section("/backups", _("Backups"), "backups", "b"),
            Section("/audit", _("Audit"), "audit", "u", Role.OPERATOR),
        ),
    ),
    Group(
        _("Alerting"),
        (
            Section("/rules", _("Rules"), "rules", "l"),
            Section("/silences", _("Silences"), "silences", "s"),
            Section("/notifications", _("Notifications"), "notifications", "n"),
            Section("/runbooks", _("Runbooks"), "runbooks", "k"),
        ),
    ),
    Group(
        _("Traffic"),
        (
            Section("/gateway", _("Gateway"), "gateway", "w"),
            Section("/cost", _("Cost and usage"), "cost", "c"),
            Section("/keys", _("Keys"), "keys", "y"),
        ),
    ),
    Group(
        _("Administration"),
        (
            Section("/access", _("Access"), "access", "x", Role.ADMIN),
            Section("/system", _("System"), "system", "z"),
        ),
    ),
)


def groups_of(role: Role) -> tuple[Group, ...]:
    """Return the groups with the sections that a role may open."""
    found = (Group(group.name, tuple(s for s in group.sections if role.includes(s.role))) for group in GROUPS)
    return tuple(group for group in found if group.sections)


def current(path: str, groups: tuple[Group, ...] = GROUPS) -> str:
    """Return the path of the section that a page belongs to; "" for none."""
    paths = [s.path for group in groups for s in group.sections if s.path != "/" and within(path, s.path)]
    if path == "/" or within(path, "/models"):
        return "/"
    return max(paths, key=len, default="")


def within(path: str, section: str) -> bool:
    """Return whether a page is the section's own, or below it."""
    return path == section or path.startswith(section + "/")
