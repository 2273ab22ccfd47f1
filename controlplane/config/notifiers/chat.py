"""Notifiers for incoming webhooks of chat programs."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

from controlplane.config.checking import Fault, check
from controlplane.config.notifiers.common import WebhookUrl
from controlplane.config.vocabulary import FilePath, Text


class SignedBot(WebhookUrl):
    """A bot whose messages may be signed."""

    secret_env: Text | None = None
    secret_file: FilePath | None = None

    @check
    def _has_one_secret(self) -> Iterator[Fault]:
        if self.secret_env and self.secret_file:
            yield Fault((), "takes one of secret_env:, secret_file:")


class FeishuSection(SignedBot):
    """A custom bot of Feishu or Lark."""

    type: Literal["feishu"]


class DingTalkSection(SignedBot):
    """A custom bot of DingTalk."""

    type: Literal["dingtalk"]


class WeComSection(WebhookUrl):
    """A group's bot of WeCom."""

    type: Literal["wecom"]


class MSTeamsSection(WebhookUrl):
    """A workflow of Microsoft Teams."""

    type: Literal["msteams"]


class SlackWebhookSection(WebhookUrl):
    """An incoming webhook of Slack, or of a program that takes the same messages."""

    type: Literal["slack_webhook"]
