"""Notifiers for programs: webhooks, Alertmanagers, and a command."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Literal

from pydantic import Field

from controlplane.config.checking import Fault, check
from controlplane.config.notifiers.common import BaseUrl, CommonNotifier, PostedNotifier
from controlplane.config.vocabulary import FilePath, HttpUrl, Interval, Text


class WebhookSection(PostedNotifier):
    """A URL that takes the content of Alertmanager's webhooks."""

    type: Literal["webhook"]
    url: HttpUrl | None = None
    url_env: Text | None = None
    url_file: FilePath | None = None
    max_alerts: int = Field(default=0, ge=0)

    @check
    def _has_url(self) -> Iterator[Fault]:
        if sum(map(bool, (self.url, self.url_env, self.url_file))) != 1:
            yield Fault((), "type webhook needs one of url:, url_env:, url_file:")


class AlertmanagerSection(PostedNotifier):
    """Alertmanagers that get the alerts."""

    type: Literal["alertmanager"]
    urls: Annotated[tuple[BaseUrl, ...], Field(min_length=1)]
    ends_after: Annotated[Interval, Field(ge=600)] = 86_400.0
    """The `endsAt` of a firing alert, in seconds from the message."""

    @check
    def _sends_resolved(self) -> Iterator[Fault]:
        if not self.send_resolved:
            yield Fault(("send_resolved",), "an Alertmanager needs the end of each alert; set it at its receivers")


class CommandSection(CommonNotifier):
    """A program that gets the message on its standard input."""

    type: Literal["command"]
    command: Annotated[tuple[Text, ...], Field(min_length=1)]
    timeout: Annotated[Interval, Field(le=13)] = 10.0
    environment: dict[str, Text] = Field(default={})

    @check
    def _names_are_variables(self) -> Iterator[Fault]:
        for name in self.environment:
            if not name or "=" in name or not name.isprintable():
                yield Fault(("environment", name), "expected a variable's name without '='")
