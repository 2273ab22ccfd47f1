"""The kinds of receivers of an `alertmanager.yml` as sections of notifiers. What is not taken over becomes a note."""

from __future__ import annotations

import base64
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from alerts.errors import RuleError
from alerts.yaml_nodes import Place
from controlplane.config.notifiers.basic import SlackSection
from controlplane.config.notifiers.chat import MSTeamsSection, SlackWebhookSection
from controlplane.config.notifiers.common import CommonNotifier
from controlplane.config.notifiers.mail import EmailSection
from controlplane.config.notifiers.paging import OpsgenieSection, PagerDutySection
from controlplane.config.notifiers.posted import WebhookSection

WEB_API = "/chat.postMessage"
"""End of the address of Slack's Web API. Every other address of Slack's is an incoming webhook."""
_SILENT = frozenset({"enable_http2", "send_resolved"})
"""Fields without a note: they change nothing, or `send_resolved` has its own note."""
_TEMPLATE = "{{"


class Note(NamedTuple):
    """A field that is not taken over."""

    file: str
    line: int
    text: str

    def __str__(self) -> str:
        return f"{self.file}:{self.line}: {self.text}"


class Unsupported(Exception):
    """A receiver cannot be taken over. It matters only if a route uses it."""

    def __init__(self, error: RuleError) -> None:
        super().__init__(str(error))
        self.error = error


class Fields:
    """The fields of one mapping. Those that nobody reads become notes."""

    def __init__(self, place: Place | None, path: str) -> None:
        self.path = path
        self.place = place.within(path) if place else None
        self._all = self.place.fields() if self.place else {}
        self._read: set[str] = set()

    def has(self, name: str) -> bool:
        """Return whether a field is given and not empty. It does not count as read."""
        return name in self._all and not self._all[name].is_null

    def at(self, name: str) -> Place | None:
        """Return a field's place, and count it as read."""
        self._read.add(name)
        return self._all[name].within(f"{self.path}.{name}") if self.has(name) else None

    def text(self, name: str, default: str = "") -> str:
        """Return a field's text. Raises Unsupported for a template, RuleError for another type."""
        place = self.at(name)
        if place is None:
            return default
        text = place.text()
        if _TEMPLATE in text:
            raise Unsupported(place.error("a template is not expanded here; give the value itself"))
        return text

    def flag(self, name: str, default: bool) -> bool:
        """Return a field that is true or false."""
        text = self.text(name, str(default)).lower()
        if text not in ("true", "false"):
            place = self._all[name].within(f"{self.path}.{name}")
            raise place.error("expected true or false")
        return text == "true"

    def unread(self) -> Iterator[tuple[str, Place]]:
        """Yield the fields that nobody has read."""
        for name, place in self._all.items():
            if name not in self._read and name not in _SILENT and not place.is_null:
                yield name, place


@dataclass
class Taken:
    """Parts of a section."""

    fields: dict[str, Any] = field(default_factory=dict)
    secrets: dict[str, str] = field(default_factory=dict)
    """Secrets of the file, by our name without `_env` and `_file`."""

    def put(self, name: str, value: Any) -> None:
        """Set a field unless the value is empty."""
        if value:
            self.fields[name] = value


@dataclass
class Source:
    """The file: its folder, its global section, and the notes so far."""

    file: str
    folder: Path
    shared: Fields
    notes: list[Note] = field(default_factory=list)

    def note(self, place: Place, text: str) -> None:
        """Add a note."""
        self.notes.append(Note(self.file, place.line, text))

    def secret(self, taken: Taken, ours: str, *places: tuple[Fields, str]) -> bool:
        """Take a secret from the first of some fields that is given, or from its `_file`. Return whether one is."""
        for fields, name in places:
            if value := fields.text(name):
                taken.secrets[ours] = value
                return True
            if path := fields.text(f"{name}_file"):
                taken.fields[f"{ours}_file"] = str(self.folder / path)
                return True
        return False

    def leftover(self, fields: Fields, why: str = "is not taken over") -> None:
        """Add a note for each field that nobody has read."""
        for name, place in fields.unread():
            self.note(place, f"{fields.path}.{name} {why}")

    def http(self, fields: Fields, taken: Taken) -> Fields:
        """Take the TLS settings of `http_config`, the receiver's or else the global one. Return its fields."""
        own = fields.at("http_config")
        config = Fields(own or self.shared.at("http_config"), f"{fields.path}.http_config" if own else "http_config")
        self.tls(config, taken)
        return config

    def tls(self, fields: Fields, taken: Taken) -> None:
        """Take the TLS settings of `tls_config`."""
        tls = Fields(fields.at("tls_config"), f"{fields.path}.tls_config")
        found: dict[str, Any] = {}
        if path := tls.text("ca_file"):
            found["ca_file"] = str(self.folder / path)
        if tls.flag("insecure_skip_verify", False):
            found["insecure_skip_verify"] = True
        taken.put("tls", found)
        self.leftover(tls)

    def credentials(self, config: Fields, taken: Taken) -> None:
        """Take the credentials of an `http_config`."""
        header = Fields(config.at("authorization"), f"{config.path}.authorization")
        basic = Fields(config.at("basic_auth"), f"{config.path}.basic_auth")
        scheme = header.text("type", "Bearer")
        if value := header.text("credentials") or config.text("bearer_token"):
            taken.secrets["authorization"] = f"{scheme} {value}"
        elif path := header.text("credentials_file") or config.text("bearer_token_file"):
            taken.fields["authorization"] = {"type": scheme, "credentials_file": str(self.folder / path)}
        if user := basic.text("username"):
            if path := basic.text("password_file"):
                taken.fields["basic_auth"] = {"username": user, "password_file": str(self.folder / path)}
            else:
                pair = f"{user}:{basic.text('password')}".encode()
                taken.secrets["authorization"] = f"Basic {base64.b64encode(pair).decode()}"
        self.leftover(header)
        self.leftover(basic)


Kind = Callable[[Source, Fields, Taken], type[CommonNotifier]]
"""Takes the fields of one receiver over. Raises Unsupported and RuleError."""


def webhook(source: Source, fields: Fields, taken: Taken) -> type[CommonNotifier]:
    """Take a webhook over."""
    config = source.http(fields, taken)
    source.credentials(config, taken)
    _needs(fields, source.secret(taken, "url", (fields, "url")), "url or url_file")
    if most := fields.text("max_alerts"):
        taken.put("max_alerts", int(most) if most.isdecimal() else most)
    source.leftover(config)
    return WebhookSection


def slack(source: Source, fields: Fields, taken: Taken) -> type[CommonNotifier]:
    """Take Slack over: an incoming webhook, or its Web API with a bot token."""
    config = source.http(fields, taken)
    token = Fields(config.at("authorization"), f"{config.path}.authorization")
    address = fields.text("api_url") or ("" if fields.has("api_url_file") else source.shared.text("slack_api_url"))
    if address.endswith(WEB_API) or fields.has("app_token") or fields.has("app_token_file") or _app_token(source):
        places = [(token, "credentials"), (fields, "app_token"), (source.shared, "slack_app_token")]
        _needs(fields, source.secret(taken, "token", *places), "a bot token as credentials of http_config")
        taken.fields["channel"] = fields.text("channel")
        _needs(fields, taken.fields["channel"], "channel")
        fields.at("update_message")  # every message is updated
        if address.endswith(WEB_API):
            taken.put("base_url", address.removesuffix(WEB_API.removeprefix("/")))
        source.leftover(token)
        source.leftover(config)
        return SlackSection
    given = source.secret(taken, "url", (fields, "api_url"), (source.shared, "slack_api_url"))
    _needs(fields, given, "api_url or api_url_file")
    if (channel := fields.at("channel")) is not None:
        source.note(channel, f"{fields.path}.channel is not taken over: an incoming webhook has a channel of its own")
    source.leftover(token)
    source.leftover(config)
    return SlackWebhookSection


def email(source: Source, fields: Fields, taken: Taken) -> type[CommonNotifier]:
    """Take e-mail over. As in Alertmanager, port 465 means TLS from the start, and STARTTLS is required elsewhere."""
    shared = source.shared
    host, _, port = (fields.text("smarthost") or shared.text("smtp_smarthost")).rpartition(":")
    _needs(fields, host and port.isdecimal(), "smarthost, as host:port")
    implicit = fields.flag("force_implicit_tls", shared.flag("smtp_force_implicit_tls", port == "465"))
    required = fields.flag("require_tls", shared.flag("smtp_require_tls", True))
    taken.fields |= {"host": host.strip("[]"), "port": int(port)}
    taken.fields["security"] = "tls" if implicit else "starttls" if required else "none"
    taken.fields["from"] = fields.text("from") or shared.text("smtp_from")
    taken.fields["to"] = _addresses(fields.text("to"))
    taken.put("hello", fields.text("hello") or shared.text("smtp_hello"))
    if user := fields.text("auth_username") or shared.text("smtp_auth_username"):
        taken.fields["username"] = user
        source.secret(taken, "password", (fields, "auth_password"), (shared, "smtp_auth_password"))
    if fields.has("tls_config"):
        source.tls(fields, taken)
    else:
        source.tls(_renamed(shared, "smtp_tls_config"), taken)
    headers = Fields(fields.at("headers"), f"{fields.path}.headers")
    for name, place in list(headers.unread()):
        if name.lower() == "cc":
            taken.fields["cc"] = _addresses(headers.text(name))
        elif name.lower() == "reply-to":
            taken.fields["reply_to"] = headers.text(name)
        else:
            source.note(place, f"{headers.path}.{name} is not taken over")
    return EmailSection


def pagerduty(source: Source, fields: Fields, taken: Taken) -> type[CommonNotifier]:
    """Take PagerDuty's Events API, version 2, over. Raises Unsupported for version 1."""
    if place := fields.at("service_key") or fields.at("service_key_file"):
        raise Unsupported(place.error("version 1 of PagerDuty's Events API is not supported; use routing_key"))
    _needs(fields, source.secret(taken, "routing_key", (fields, "routing_key")), "routing_key or routing_key_file")
    address = fields.text("url") or source.shared.text("pagerduty_url")
    taken.put("url", re.sub(r"/v2/enqueue/?$", "", address))
    source.leftover(source.http(fields, taken))
    return PagerDutySection


def opsgenie(source: Source, fields: Fields, taken: Taken) -> type[CommonNotifier]:
    """Take Opsgenie over."""
    key = source.secret(taken, "api_key", (fields, "api_key"), (source.shared, "opsgenie_api_key"))
    _needs(fields, key, "api_key or api_key_file")
    taken.put("url", (fields.text("api_url") or source.shared.text("opsgenie_api_url")).rstrip("/"))
    taken.put("tags", tuple(filter(None, (tag.strip() for tag in fields.text("tags").split(",")))))
    teams = []
    responders = fields.at("responders")
    for item in responders.items() if responders else ():
        one = Fields(item, f"{fields.path}.responders")
        kind, name = one.text("type"), one.text("name")
        if kind == "team" and name:
            teams.append(name)
        else:
            source.note(item, f"{one.path}: a responder of type {kind or '?'} is not taken over, only teams by name")
    taken.put("teams", tuple(teams))
    source.leftover(source.http(fields, taken))
    return OpsgenieSection


def msteams(source: Source, fields: Fields, taken: Taken) -> type[CommonNotifier]:
    """Take Microsoft Teams over."""
    _needs(fields, source.secret(taken, "url", (fields, "webhook_url")), "webhook_url or webhook_url_file")
    source.leftover(source.http(fields, taken))
    return MSTeamsSection


KINDS: Mapping[str, Kind] = {
    "webhook": webhook,
    "slack": slack,
    "email": email,
    "pagerduty": pagerduty,
    "opsgenie": opsgenie,
    "msteams": msteams,
    "msteamsv2": msteams,
}
"""Kinds that are supported, by the name before `_configs`."""


def _needs(fields: Fields, given: object, what: str) -> None:
    if not given:
        assert fields.place is not None
        raise fields.place.error(f"needs {what}")


def _app_token(source: Source) -> bool:
    return source.shared.has("slack_app_token") or source.shared.has("slack_app_token_file")


def _addresses(text: str) -> tuple[str, ...]:
    return tuple(filter(None, (address.strip() for address in text.split(","))))


class _Renamed(Fields):
    """The global section, with one of its fields as `tls_config`."""

    def __init__(self, fields: Fields, name: str) -> None:
        self.path, self._fields, self._name = "global", fields, name

    def at(self, name: str) -> Place | None:
        """Return the place of the renamed field."""
        return self._fields.at(self._name)


def _renamed(fields: Fields, name: str) -> Fields:
    return _Renamed(fields, name)
