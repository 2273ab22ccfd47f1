"""Slack of an `alertmanager.yml`: an incoming webhook, or the Web API with a bot token."""

from __future__ import annotations

from alerts.notify.slack.blocks import OWN_ACTIONS, OWN_FIELDS
from alerts.texts.places import item
from alerts.texts.templates import OwnText
from controlplane.config.notifiers.basic import SlackSection
from controlplane.config.notifiers.chat import SlackWebhookSection
from controlplane.config.notifiers.common import CommonNotifier
from controlplane.config.notifiers.from_alertmanager.reading import Fields, Source, Taken, needs

WEB_API = "/chat.postMessage"
"""End of the address of Slack's Web API. Every other address of Slack's is an incoming webhook."""
LOOK = ("color", "username", "icon_emoji", "footer")
LINKS = ("title_link", "icon_url", "image_url", "thumb_url")
_NOT_TAKEN = {
    "link_names": "a name in a label would then mention people",
    "mrkdwn_in": "text, pretext, fallback and the values of fields are mrkdwn, and nothing else is",
    "callback_id": "no program reads it",
}


def slack(source: Source, fields: Fields, taken: Taken) -> type[CommonNotifier]:
    """Take Slack over: an incoming webhook, or its Web API with a bot token."""
    config = source.http(fields, taken)
    source.text(fields, "title", taken, "title")
    for name in ("pretext", "text", "fallback"):
        source.text(fields, name, taken, name, "mrkdwn")
    for name in LOOK:
        source.text(fields, name, taken, name)
    for name in LINKS:
        source.link(fields, name, taken, name)
    _own_fields(source, fields, taken)
    _actions(source, fields, taken)
    _without(source, fields)
    token = Fields(config.at("authorization"), f"{config.path}.authorization")
    address = fields.text("api_url") or ("" if fields.has("api_url_file") else source.shared.text("slack_api_url"))
    if address.endswith(WEB_API) or fields.has("app_token") or fields.has("app_token_file") or _app_token(source):
        places = [(token, "credentials"), (fields, "app_token"), (source.shared, "slack_app_token")]
        needs(fields, source.secret(taken, "token", *places), "a bot token as credentials of http_config")
        taken.fields["channel"] = fields.text("channel")
        needs(fields, taken.fields["channel"], "channel")
        fields.at("update_message")  # every message is updated
        if address.endswith(WEB_API):
            taken.put("base_url", address.removesuffix(WEB_API.removeprefix("/")))
        source.leftover(token)
        source.leftover(config)
        return SlackSection
    given = source.secret(taken, "url", (fields, "api_url"), (source.shared, "slack_api_url"))
    needs(fields, given, "api_url or api_url_file")
    if (channel := fields.at("channel")) is not None:
        source.note(channel, f"{fields.path}.channel is not taken over: an incoming webhook has a channel of its own")
    source.proxy(config, taken)
    source.leftover(token)
    source.leftover(config)
    return SlackWebhookSection


def _own_fields(source: Source, fields: Fields, taken: Taken) -> None:
    shared = fields.flag("short_fields", False)
    for number, one in source.listed(fields, "fields", OWN_FIELDS):
        source.text(one, "title", taken, item("fields", number, "title"))
        source.text(one, "value", taken, item("fields", number, "value"), "mrkdwn")
        if one.flag("short", shared):
            taken.texts.append(OwnText(item("fields", number, "short"), "true"))
        source.leftover(one)


def _actions(source: Source, fields: Fields, taken: Taken) -> None:
    for number, one in source.listed(fields, "actions", OWN_ACTIONS):
        one.at("type")  # every one is a button
        if not one.has("url"):
            assert one.place is not None
            source.note(one.place, f"{one.path} is not taken over: it has no url, and a click on it would reach nobody")
            continue
        for name in ("text", "style"):
            source.text(one, name, taken, item("actions", number, name))
        source.link(one, "url", taken, item("actions", number, "url"))
        source.leftover(one, "is not taken over: a link has none")


def _without(source: Source, fields: Fields) -> None:
    """Note the fields that have no meaning here."""
    for name, why in _NOT_TAKEN.items():
        place = fields.at(name)
        if place is not None and (name != "link_names" or fields.flag(name, False)):
            source.note(place, f"{fields.path}.{name} is not taken over: {why}")


def _app_token(source: Source) -> bool:
    return source.shared.has("slack_app_token") or source.shared.has("slack_app_token_file")
