"""`notifiers:` of fleet.yaml: the kinds of notifiers and their fields. `common.py` has what they share."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from controlplane.config.notifiers.basic import LogSection, SlackSection
from controlplane.config.notifiers.chat import (
    DingTalkSection,
    FeishuSection,
    MSTeamsSection,
    SlackWebhookSection,
    WeComSection,
)
from controlplane.config.notifiers.mail import EmailSection
from controlplane.config.notifiers.paging import OpsgenieSection, PagerDutySection
from controlplane.config.notifiers.posted import AlertmanagerSection, CommandSection, WebhookSection

__all__ = [
    "AlertmanagerSection",
    "CommandSection",
    "DingTalkSection",
    "EmailSection",
    "FeishuSection",
    "LogSection",
    "MSTeamsSection",
    "NotifierSection",
    "OpsgenieSection",
    "PagerDutySection",
    "SlackSection",
    "SlackWebhookSection",
    "WeComSection",
    "WebhookSection",
]

NotifierSection = Annotated[
    SlackSection
    | LogSection
    | WebhookSection
    | AlertmanagerSection
    | EmailSection
    | FeishuSection
    | DingTalkSection
    | WeComSection
    | MSTeamsSection
    | SlackWebhookSection
    | PagerDutySection
    | OpsgenieSection
    | CommandSection,
    Field(discriminator="type"),
]
