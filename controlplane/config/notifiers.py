"""`notifiers:` of fleet.yaml: the kinds of notifiers and their fields."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Literal

from pydantic import Field

from controlplane.config.checking import Fault, check
from controlplane.config.vocabulary import FilePath, HttpUrl, Model, Name, Text


class CommonNotifier(Model):
    """Fields of every kind of notifier."""

    name: Name


class SlackSection(CommonNotifier):
    """Slack's Web API, with a bot token."""

    type: Literal["slack"]
    channel: Text
    token_env: Text | None = None
    token_file: FilePath | None = None
    base_url: HttpUrl | None = None
    """Another address of the Web API (a proxy, a test server)."""

    @check
    def _has_token(self) -> Iterator[Fault]:
        if not (self.token_env or self.token_file):
            yield Fault((), "type slack needs one of token_env:, token_file:")


class LogSection(CommonNotifier):
    """The control plane's own log."""

    type: Literal["log"]


NotifierSection = Annotated[SlackSection | LogSection, Field(discriminator="type")]
