"""PagerDuty and Opsgenie of an `alertmanager.yml`."""

from __future__ import annotations

import re

from alerts.texts.places import DETAIL, OWN_IMAGES, OWN_LINKS, OWN_RESPONDERS, item
from controlplane.config.notifiers.common import CommonNotifier
from controlplane.config.notifiers.from_alertmanager.reading import TEMPLATE, Fields, Source, Taken, Unsupported, needs
from controlplane.config.notifiers.paging import OpsgenieSection, PagerDutySection


def pagerduty(source: Source, fields: Fields, taken: Taken) -> type[CommonNotifier]:
    """Take PagerDuty's Events API, version 2, over. Raises Unsupported for version 1."""
    if place := fields.at("service_key") or fields.at("service_key_file"):
        raise Unsupported(place.error("version 1 of PagerDuty's Events API is not supported; use routing_key"))
    needs(fields, source.secret(taken, "routing_key", (fields, "routing_key")), "routing_key or routing_key_file")
    address = fields.text("url") or source.shared.text("pagerduty_url")
    taken.put("url", re.sub(r"/v2/enqueue/?$", "", address))
    source.text(fields, "description", taken, "title")
    for name in ("severity", "source", "client", "client_url", "component", "group", "class"):
        source.text(fields, name, taken, name)
    _listed(source, fields, taken, "links", ("href", "text"), OWN_LINKS)
    _listed(source, fields, taken, "images", ("src", "alt", "href"), OWN_IMAGES)
    _details(source, fields, taken)
    source.posted(fields, taken)
    return PagerDutySection


def opsgenie(source: Source, fields: Fields, taken: Taken) -> type[CommonNotifier]:
    """Take Opsgenie over."""
    key = source.secret(taken, "api_key", (fields, "api_key"), (source.shared, "opsgenie_api_key"))
    needs(fields, key, "api_key or api_key_file")
    taken.put("url", (fields.text("api_url") or source.shared.text("opsgenie_api_url")).rstrip("/"))
    tags = fields.at("tags")
    if tags is not None and TEMPLATE in tags.text():
        source.text(fields, "tags", taken, "tags")
    elif tags is not None:
        taken.put("tags", tuple(filter(None, (tag.strip() for tag in tags.text().split(",")))))
    source.text(fields, "message", taken, "title")
    source.text(fields, "description", taken, "text")
    for name in ("source", "entity", "note", "priority", "actions"):
        source.text(fields, name, taken, name)
    _details(source, fields, taken)
    _responders(source, fields, taken)
    source.posted(fields, taken)
    return OpsgenieSection


def _listed(source: Source, fields: Fields, taken: Taken, name: str, parts: tuple[str, ...], most: int) -> None:
    for number, one in source.listed(fields, name, most):
        for part in parts:
            source.text(one, part, taken, item(name, number, part))
        source.leftover(one)


def _details(source: Source, fields: Fields, taken: Taken) -> None:
    details = Fields(fields.at("details"), f"{fields.path}.details")
    for name, _ in list(details.unread()):
        source.text(details, name, taken, f"{DETAIL}{name}")


def _responders(source: Source, fields: Fields, taken: Taken) -> None:
    """Take the responders over: as templates those that are some, for alerts; the others for every message."""
    teams: list[str] = []
    others: list[dict[str, str]] = []
    for number, one in source.listed(fields, "responders", OWN_RESPONDERS):
        given = {name: place.text() for name in ("type", "name", "username", "id") if (place := one.at(name))}
        kind = given.get("type", "").lower()
        if any(TEMPLATE in text for text in given.values()):
            for name in given:
                source.text(one, name, taken, item("responders", number, name))
        elif kind == "team" and set(given) == {"type", "name"}:
            teams.append(given["name"])
        elif kind == "teams":
            teams += filter(None, (team.strip() for team in given.get("name", "").split(",")))
        else:
            others.append({**given, "type": kind})
        source.leftover(one)
    taken.put("teams", tuple(teams))
    taken.put("responders", tuple(others))
