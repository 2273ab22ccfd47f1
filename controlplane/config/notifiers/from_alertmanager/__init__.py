"""The kinds of receivers of an `alertmanager.yml` as sections of notifiers. What is not taken over becomes a note."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from controlplane.config.notifiers.chat import MSTeamsSection
from controlplane.config.notifiers.common import CommonNotifier
from controlplane.config.notifiers.from_alertmanager.mail import email
from controlplane.config.notifiers.from_alertmanager.paging import opsgenie, pagerduty
from controlplane.config.notifiers.from_alertmanager.reading import Fields, Source, Taken, Unsupported, needs
from controlplane.config.notifiers.from_alertmanager.slack import slack
from controlplane.config.notifiers.posted import WebhookSection

__all__ = ["KINDS", "UNRESOLVED", "Fields", "Note", "Source", "Taken", "Unsupported"]

UNRESOLVED = frozenset({"slack", "email"})
"""Kinds whose `send_resolved` is false where it is not given (config/notifiers.go of Alertmanager)."""
Kind = Callable[[Source, Fields, Taken], type[CommonNotifier]]
"""Takes the fields of one receiver over. Raises Unsupported and RuleError."""


def webhook(source: Source, fields: Fields, taken: Taken) -> type[CommonNotifier]:
    """Take a webhook over."""
    config = source.http(fields, taken)
    source.credentials(config, taken)
    source.proxy(config, taken)
    needs(fields, source.secret(taken, "url", (fields, "url")), "url or url_file")
    if most := fields.text("max_alerts"):
        taken.put("max_alerts", int(most) if most.isdecimal() else most)
    source.leftover(config)
    return WebhookSection


def msteams(source: Source, fields: Fields, taken: Taken) -> type[CommonNotifier]:
    """Take Microsoft Teams over."""
    needs(fields, source.secret(taken, "url", (fields, "webhook_url")), "webhook_url or webhook_url_file")
    for name in ("title", "text", "summary"):
        source.text(fields, name, taken, name)
    source.posted(fields, taken)
    return MSTeamsSection


KINDS: Mapping[str, Kind] = {
    "webhook": webhook,
    "slack": slack,
    "email": email,
    "pagerduty": pagerduty,
    "opsgenie": opsgenie,
    "msteams": msteams,
    "msteamsv2": msteams,
}
"""Kinds that are supported, by the name before `_configs`."""
