"""Notifiers for on-call services."""

from __future__ import annotations

from collections.abc import Iterator
from typing import ClassVar, Literal

from controlplane.config.checking import Fault, check
from controlplane.config.notifiers.common import BaseUrl, SecretNotifier
from controlplane.config.vocabulary import FilePath, Model, ProxySection, Text, TlsSection

PAGERDUTY, OPSGENIE = "https://events.pagerduty.com", "https://api.opsgenie.com"


class PagerDutySection(SecretNotifier, ProxySection):
    """An integration of PagerDuty's Events API, version 2."""

    needs: ClassVar[str] = "routing_key"

    type: Literal["pagerduty"]
    routing_key_env: Text | None = None
    routing_key_file: FilePath | None = None
    url: BaseUrl | None = None
    tls: TlsSection | None = None


class ResponderSection(Model):
    """Somebody whom Opsgenie tells of an alert."""

    type: Literal["team", "user", "escalation", "schedule"]
    name: Text | None = None
    username: Text | None = None
    id: Text | None = None

    @check
    def _is_named(self) -> Iterator[Fault]:
        if not (self.name or self.username or self.id):
            yield Fault((), "needs one of name:, username:, id:")


class OpsgenieSection(SecretNotifier, ProxySection):
    """Opsgenie's Alert API, or a service that has the same."""

    needs: ClassVar[str] = "api_key"

    type: Literal["opsgenie"]
    api_key_env: Text | None = None
    api_key_file: FilePath | None = None
    url: BaseUrl | None = None
    teams: tuple[Text, ...] = ()
    responders: tuple[ResponderSection, ...] = ()
    tags: tuple[Text, ...] = ()
    tls: TlsSection | None = None
