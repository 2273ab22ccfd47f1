"""Reads the fields of receivers of an `alertmanager.yml`: texts, secrets, access, and notes of what is left."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from alerts.errors import RuleError, TemplateError
from alerts.texts.places import web_address
from alerts.texts.templates import OwnText, TemplateSet
from alerts.yaml_nodes import Place
from controlplane.config.notes import Note

_SILENT = frozenset({"enable_http2"})
"""Fields without a note, because they change nothing."""
TEMPLATE = "{{"
"""Begin of an action. A text without one is no template."""


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
        if TEMPLATE in text:
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
    texts: list[OwnText] = field(default_factory=list)
    """Texts of the receiver's own."""

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
    templates: TemplateSet = field(default_factory=TemplateSet)
    notes: list[Note] = field(default_factory=list)

    def text(self, fields: Fields, name: str, taken: Taken, ours: str, markup: str = "plain") -> None:
        """Take a template as one of the receiver's own texts. Raises Unsupported for one that cannot be executed."""
        if (place := fields.at(name)) is None:
            return
        try:
            self.templates.parsed(place.text())
        except TemplateError as fault:
            raise Unsupported(place.error(str(fault))) from fault
        except RuleError as fault:
            raise Unsupported(place.error(f"it calls a template that cannot be executed, {fault}")) from fault
        taken.texts.append(OwnText(ours, place.text(), markup))

    def link(self, fields: Fields, name: str, taken: Taken, ours: str) -> None:
        """Take a template of an address. A text that is none becomes a note: messages would leave it out unsaid."""
        place = fields.at(name)
        if place is not None and TEMPLATE not in (text := place.text()) and text and not web_address(text, len(text)):
            self.note(place, f"{fields.path}.{name} is not taken over: it is no http:// or https:// address")
            return
        self.text(fields, name, taken, ours)

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

    def listed(self, fields: Fields, name: str, most: int) -> Iterator[tuple[int, Fields]]:
        """Yield number and fields of each item of a list. Those after the first `most` become a note."""
        place = fields.at(name)
        for number, one in enumerate(place.items() if place else ()):
            if number == most:
                self.note(one, f"{fields.path}.{name}: only the first {most} are taken over")
                return
            yield number, Fields(one, f"{fields.path}.{name}[{number}]")

    def leftover(self, fields: Fields, why: str = "is not taken over") -> None:
        """Add a note for each field that nobody has read."""
        for name, place in fields.unread():
            self.note(place, f"{fields.path}.{name} {why}")

    def http(self, fields: Fields, taken: Taken) -> Fields:
        """Take the TLS settings of `http_config`, the receiver's or else the global one. Return its fields."""
        own = fields.at("http_config")
        config = Fields(own or self.shared.at("http_config"), f"{fields.path}.http_config" if own else "http_config")
        self.tls(config, taken, shown=True)
        return config

    def posted(self, fields: Fields, taken: Taken) -> None:
        """Take TLS settings and proxy of a receiver that has its secret elsewhere."""
        config = self.http(fields, taken)
        self.proxy(config, taken)
        self.leftover(config)

    def proxy(self, config: Fields, taken: Taken) -> None:
        """Take the proxy of an `http_config`. An address with a password becomes a note."""
        place, url = config.at("proxy_url"), config.text("proxy_url")
        if place is not None and ("@" in url or url.partition("://")[0] not in ("http", "https")):
            cure = "expected an http:// or https:// address"
            if "@" in url:
                cure = "it holds a password; put it into the environment (https_proxy), and use proxy_from_environment"
            self.note(place, f"{config.path}.proxy_url is not taken over: {cure}")
        elif url:
            taken.fields["proxy_url"] = url
            taken.put("no_proxy", config.text("no_proxy"))
        if config.flag("proxy_from_environment", False):
            taken.fields["proxy_from_environment"] = True

    def tls(self, fields: Fields, taken: Taken, *, shown: bool = False) -> None:
        """Take the TLS settings of `tls_config`; with `shown` also the certificate that the receiver is shown."""
        tls = Fields(fields.at("tls_config"), f"{fields.path}.tls_config")
        found: dict[str, Any] = {}
        if path := tls.text("ca_file"):
            found["ca_file"] = str(self.folder / path)
        if tls.flag("insecure_skip_verify", False):
            found["insecure_skip_verify"] = True
        if shown:
            found |= {name: str(self.folder / path) for name in ("cert_file", "key_file") if (path := tls.text(name))}
            if name := tls.text("server_name"):
                found["server_name"] = name
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
        self._issuer(Fields(config.at("oauth2"), f"{config.path}.oauth2"), taken)

    def _issuer(self, oauth2: Fields, taken: Taken) -> None:
        """Take an issuer of tokens whose secret is in a file; that of another one becomes a note."""
        path = oauth2.text("client_secret_file")
        if path:
            tls = Taken()
            self.tls(oauth2, tls, shown=True)
            self.proxy(oauth2, tls)
            scopes, params = oauth2.at("scopes"), oauth2.at("endpoint_params")
            taken.fields["oauth2"] = {
                "client_id": oauth2.text("client_id"),
                "client_secret_file": str(self.folder / path),
                "token_url": oauth2.text("token_url"),
                "scopes": [scope.text() for scope in scopes.items()] if scopes else [],
                "endpoint_params": {name: at.text() for name, at in params.fields().items()} if params else {},
                **tls.fields,
            }
        self.leftover(oauth2, "is not taken over" if path else "is not taken over: oauth2 needs client_secret_file")


def needs(fields: Fields, given: object, what: str) -> None:
    """Raise RuleError unless a field is given."""
    if not given:
        assert fields.place is not None
        raise fields.place.error(f"needs {what}")
