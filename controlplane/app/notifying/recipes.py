"""The recipe of each kind of notifier. Arguments of a recipe are comparable, so that a reload keeps what stays."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
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
from alerts.notify.email_message import Envelope, address_of
from alerts.notify.firing_only import FiringOnly
from alerts.notify.http import HttpPoster
from alerts.notify.log import LogNotifier
from alerts.notify.own_texts import OwnTexted
from alerts.notify.paging.opsgenie import OpsgenieNotifier
from alerts.notify.paging.pagerduty import PagerDutyNotifier
from alerts.notify.slack.limits import SlackAccount
from alerts.notify.slack.notifier import SlackNotifier
from alerts.notify.webhook import WebhookNotifier
from alerts.notify.words import WORDS
from alerts.texts.templates import OwnTexts
from collectors.target import Auth
from controlplane.app.notifying.secrets import Secret, secret_of
from controlplane.app.recipe import Recipe
from controlplane.app.slack_token import bot_token
from controlplane.config.auth import auth_of, posted
from controlplane.config.model import Fleet
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
from controlplane.config.notifiers.common import CommonNotifier, Language, PostedNotifier, WebhookUrl
from controlplane.config.notifiers.paging import OPSGENIE, PAGERDUTY
from controlplane.config.vocabulary import TlsSection

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


@dataclass(frozen=True)
class People:
    """The ways to the people who may be on call, by name."""

    slack: Mapping[str, str] = field(default_factory=dict)
    """Ids in Slack."""
    email: Mapping[str, str] = field(default_factory=dict)
    """E-mail addresses."""


def people_of(fleet: Fleet) -> People:
    """Return the ways to the people of a configuration. A person without an id has that of `slack.people`."""
    clicks = fleet.slack.people if fleet.slack else {}
    ids = {one.name: user for user, one in clicks.items() if one.name in fleet.people}
    ids |= {name: one.slack for name, one in fleet.people.items() if one.slack}
    return People(ids, {name: one.email for name, one in fleet.people.items() if one.email})


def recipe_of(section: NotifierSection, people: People | None = None) -> Recipe[Notifier]:
    """Return the recipe of a notifier. Only one with a rota gets to know people."""
    recipe = _of_kind(section, people)
    if isinstance(section.texts, OwnTexts):
        recipe = Recipe(_own_texted, (recipe, section.texts), {})
    return recipe if section.send_resolved else Recipe(_firing_only, (recipe, isinstance(section, SlackSection)), {})


def _own_texted(recipe: Recipe[Notifier], texts: OwnTexts) -> Notifier:
    return OwnTexted(recipe.made(), texts)


def _firing_only(recipe: Recipe[Notifier], edits: bool) -> Notifier:
    return FiringOnly(recipe.made(), edits=edits)


def _of_kind(section: NotifierSection, people: People | None) -> Recipe[Notifier]:
    known = people if people and section.on_call else People()
    match section:
        case LogSection():
            return Recipe(LogNotifier, (section.name,), {})
        case SlackSection():
            return _slack(section, known)
        case WebhookSection():
            url = section.url or _needed(section, "url")
            return Recipe(_webhook, (section.name, url, _access(section), section.max_alerts), {})
        case AlertmanagerSection():
            return Recipe(_alertmanager, (section.name, section.urls, _access(section), section.ends_after), {})
        case EmailSection():
            return Recipe(
                EmailNotifier, (section.name, _server(section), _envelope(section)), _email_options(section, known)
            )
        case CommandSection():
            options = {"timeout_s": section.timeout, "environment": section.environment}
            return Recipe(CommandNotifier, (section.name, section.command), options)
        case PagerDutySection():
            key = _needed(section, "routing_key")
            return Recipe(_pagerduty, (section.name, key, _tls(section), section.url or PAGERDUTY), {})
        case OpsgenieSection():
            key = _needed(section, "api_key")
            options = {"url": section.url or OPSGENIE, "teams": section.teams, "tags": section.tags}
            responders = (one.model_dump(exclude_none=True) for one in section.responders)
            options["responders"] = tuple(responders)
            options["people"] = {name: address_of(one) for name, one in known.email.items()}
            return Recipe(_opsgenie, (section.name, key, _tls(section)), options)
        case FeishuSection() | DingTalkSection() | WeComSection() | MSTeamsSection() | SlackWebhookSection():
            dialect, url = _DIALECTS[section.type], _needed(section, "url")
            secret = secret_of(section, "secret")
            return Recipe(_chat, (section.name, dialect, url, _tls(section), secret, section.language), {})
        case _:
            assert_never(section)


_DIALECTS: dict[str, Callable[[], Dialect]] = {
    "feishu": Feishu,
    "dingtalk": DingTalk,
    "wecom": WeCom,
    "msteams": MSTeams,
    "slack_webhook": SlackWebhook,
}


def _slack(section: SlackSection, people: People) -> Recipe[Notifier]:
    token, url = bot_token(section), section.base_url or SLACK_API
    account = SlackAccount(url.rstrip("/"), token.place)
    how = {"base_url": url, "people": people.slack, "chart": section.chart, "account": account}
    return Recipe(SlackNotifier, (section.name, section.channel, token), how)


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


def _email_options(section: EmailSection, people: People) -> dict[str, Any]:
    return {"words": WORDS[section.language], "html": section.html, "people": people.email}


def _access(section: PostedNotifier) -> HttpAccess:
    inline = section.inline("authorization")
    secret = Secret(f"notifier {section.name}", "credentials", inline=inline) if inline else None
    return HttpAccess(auth_of(section), tuple(section.headers.items()), secret)


def _tls(section: PagerDutySection | OpsgenieSection | WebhookUrl) -> HttpAccess:
    return HttpAccess(posted(section.tls, section))


def _needed(section: CommonNotifier, name: str) -> Secret:
    secret = secret_of(section, name)
    assert secret is not None  # the configuration requires one of its places
    return secret
