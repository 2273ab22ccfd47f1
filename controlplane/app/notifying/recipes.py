"""The recipe of each kind of notifier. Arguments of a recipe are comparable, so that a reload keeps what stays."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, assert_never

from alerts.interfaces import Notifier
from alerts.notify.alertmanager import AlertmanagerNotifier
from alerts.notify.chat.bot import ChatBot, Dialect
from alerts.notify.chat.dingtalk import DingTalk
from alerts.notify.chat.feishu import Feishu
from alerts.notify.chat.msteams import MSTeams
from alerts.notify.chat.slack_webhook import SlackWebhook
from alerts.notify.chat.wecom import WeCom
from alerts.notify.command import CommandNotifier
from alerts.notify.email import EmailNotifier, MailServer
from alerts.notify.email_message import Envelope
from alerts.notify.http import HttpPoster
from alerts.notify.log import LogNotifier
from alerts.notify.paging.opsgenie import OpsgenieNotifier
from alerts.notify.paging.pagerduty import PagerDutyNotifier
from alerts.notify.slack import SlackNotifier
from alerts.notify.webhook import WebhookNotifier
from alerts.notify.words import WORDS
from collectors.target import Auth
from controlplane.app.notifying.secrets import Secret, secret_of
from controlplane.app.recipe import Recipe
from controlplane.app.slack_token import bot_token
from controlplane.config.auth import auth_of
from controlplane.config.notifiers import (
    AlertmanagerSection,
    CommandSection,
    DingTalkSection,
    EmailSection,
    FeishuSection,
    LogSection,
    MSTeamsSection,
    NotifierSection,
    OpsgenieSection,
    PagerDutySection,
    SlackSection,
    SlackWebhookSection,
    WebhookSection,
    WeComSection,
)
from controlplane.config.notifiers.common import CommonNotifier, Language, PostedNotifier
from controlplane.config.notifiers.paging import OPSGENIE, PAGERDUTY
from controlplane.config.vocabulary import Access, TlsSection

SLACK_API = "https://slack.com/api/"


@dataclass(frozen=True)
class HttpAccess:
    """Access of a notifier to its receiver, comparable."""

    auth: Auth | None = None
    headers: tuple[tuple[str, str], ...] = ()
    authorization: Secret | None = None
    """The value of the Authorization header, when it comes from an alertmanager.yml."""

    def poster(self, name: str) -> HttpPoster:
        """Return the client of a notifier."""
        return HttpPoster(name, self.auth, dict(self.headers), self.authorization)


def recipe_of(section: NotifierSection) -> Recipe[Notifier]:
    """Return the recipe of a notifier."""
    match section:
        case LogSection():
            return Recipe(LogNotifier, (section.name,), {})
        case SlackSection():
            told = (section.name, section.channel, bot_token(section))
            return Recipe(SlackNotifier, told, {"base_url": section.base_url or SLACK_API})
        case WebhookSection():
            url = section.url or _needed(section, "url")
            return Recipe(_webhook, (section.name, url, _access(section), section.max_alerts), {})
        case AlertmanagerSection():
            return Recipe(_alertmanager, (section.name, section.urls, _access(section), section.ends_after), {})
        case EmailSection():
            return Recipe(EmailNotifier, (section.name, _server(section), _envelope(section)), _email_options(section))
        case CommandSection():
            options = {"timeout_s": section.timeout, "environment": section.environment}
            return Recipe(CommandNotifier, (section.name, section.command), options)
        case PagerDutySection():
            key = _needed(section, "routing_key")
            return Recipe(_pagerduty, (section.name, key, _tls(section.tls), section.url or PAGERDUTY), {})
        case OpsgenieSection():
            key = _needed(section, "api_key")
            options = {"url": section.url or OPSGENIE, "teams": section.teams, "tags": section.tags}
            return Recipe(_opsgenie, (section.name, key, _tls(section.tls)), options)
        case FeishuSection() | DingTalkSection() | WeComSection() | MSTeamsSection() | SlackWebhookSection():
            dialect, url = _DIALECTS[section.type], _needed(section, "url")
            secret = secret_of(section, "secret")
            return Recipe(_chat, (section.name, dialect, url, _tls(section.tls), secret, section.language), {})
        case _:
            assert_never(section)


_DIALECTS: dict[str, Callable[[], Dialect]] = {
    "feishu": Feishu,
    "dingtalk": DingTalk,
    "wecom": WeCom,
    "msteams": MSTeams,
    "slack_webhook": SlackWebhook,
}


def _chat(
    name: str,
    dialect: Callable[[], Dialect],
    url: Secret,
    access: HttpAccess,
    secret: Secret | None,
    language: Language,
) -> Notifier:
    return ChatBot(name, dialect(), url, access.poster(name), secret=secret, words=WORDS[language])


def _webhook(name: str, url: str | Secret, access: HttpAccess, max_alerts: int) -> Notifier:
    given = (lambda: url) if isinstance(url, str) else url
    return WebhookNotifier(name, given, access.poster(name), max_alerts=max_alerts)


def _alertmanager(name: str, urls: tuple[str, ...], access: HttpAccess, ends_after_s: float) -> Notifier:
    return AlertmanagerNotifier(name, urls, access.poster(name), ends_after_s=ends_after_s)


def _pagerduty(name: str, key: Secret, access: HttpAccess, url: str) -> Notifier:
    return PagerDutyNotifier(name, key, access.poster(name), url=url)


def _opsgenie(name: str, key: Secret, access: HttpAccess, **options: Any) -> Notifier:
    return OpsgenieNotifier(name, key, access.poster(name), **options)


def _server(section: EmailSection) -> MailServer:
    tls = section.tls or TlsSection()
    return MailServer(
        section.host,
        section.used_port,
        section.security,
        section.username or "",
        secret_of(section, "password"),
        str(tls.ca_file) if tls.ca_file else "",
        tls.insecure_skip_verify,
        section.hello,
    )


def _envelope(section: EmailSection) -> Envelope:
    return Envelope(section.from_, section.to, section.cc, section.reply_to or "")


def _email_options(section: EmailSection) -> dict[str, Any]:
    return {"words": WORDS[section.language], "html": section.html}


def _access(section: PostedNotifier) -> HttpAccess:
    inline = section.inline("authorization")
    secret = Secret(f"notifier {section.name}", "credentials", inline=inline) if inline else None
    return HttpAccess(auth_of(section), tuple(section.headers.items()), secret)


def _tls(section: TlsSection | None) -> HttpAccess:
    return HttpAccess(auth_of(Access(tls=section)))


def _needed(section: CommonNotifier, name: str) -> Secret:
    secret = secret_of(section, name)
    assert secret is not None  # the configuration requires one of its places
    return secret
