"""Notifiers for on-call services."""

from __future__ import annotations

from typing import ClassVar, Literal

from controlplane.config.notifiers.common import BaseUrl, SecretNotifier
from controlplane.config.vocabulary import FilePath, Text, TlsSection

PAGERDUTY, OPSGENIE = "https://events.pagerduty.com", "https://api.opsgenie.com"


class PagerDutySection(SecretNotifier):
    """An integration of PagerDuty's Events API, version 2."""

    needs: ClassVar[str] = "routing_key"

    type: Literal["pagerduty"]
    routing_key_env: Text | None = None
    routing_key_file: FilePath | None = None
    url: BaseUrl | None = None
    tls: TlsSection | None = None


class OpsgenieSection(SecretNotifier):
    """Opsgenie's Alert API, or a service that has the same."""

    needs: ClassVar[str] = "api_key"

    type: Literal["opsgenie"]
    api_key_env: Text | None = None
    api_key_file: FilePath | None = None
    url: BaseUrl | None = None
    teams: tuple[Text, ...] = ()
    tags: tuple[Text, ...] = ()
    tls: TlsSection | None = None
