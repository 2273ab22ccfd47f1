"""The notifiers Slack and log."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

from controlplane.config.checking import Fault, check
from controlplane.config.notifiers.common import CommonNotifier
from controlplane.config.vocabulary import FilePath, HttpUrl, Text


class SlackSection(CommonNotifier):
    """Slack's Web API, with a bot token."""

    type: Literal["slack"]
    channel: Text
    token_env: Text | None = None
    token_file: FilePath | None = None
    base_url: HttpUrl | None = None
    """Another address of the Web API (a proxy, a test server)."""
    chart: bool = True
    """Whether messages about alerts have a chart. It needs the scope files:write."""

    @check
    def _has_token(self) -> Iterator[Fault]:
        if not (self.token_env or self.token_file):
            yield Fault((), "type slack needs one of token_env:, token_file:")


class LogSection(CommonNotifier):
    """The control plane's own log."""

    type: Literal["log"]
