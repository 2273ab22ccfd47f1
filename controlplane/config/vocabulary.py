"""Types of the fields of fleet.yaml: durations, names, addresses, and access to servers."""

from __future__ import annotations

import json
import math
import re
import unicodedata
from collections.abc import Iterator
from ipaddress import IPv4Network, IPv6Network, ip_network
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any
from urllib.parse import urlsplit

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from controlplane.config.checking import Fault, Faults, UnreadField, check, faults_of
from controlplane.config.durations import duration_seconds
from controlplane.config.names.model_names import model_name

_SIZE = re.compile(r"([0-9]{1,15})(B|[KMGTP]B)")
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,62}")
_LABEL_NAME = re.compile(r"[a-zA-Z_][a-zA-Z0-9_]*")
_URL = re.compile(r"https?://[^\s/]+\S*")
_LABEL = r"[A-Za-z0-9_]([A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?"
_HOST = re.compile(rf"(?=.{{1,253}}\Z){_LABEL}(\.{_LABEL})*|(?=.*:.*:)[0-9a-fA-F:.]{{2,45}}")
_ADDRESS = re.compile(r"(?:[^\s/:@?#\[\]]+|\[[0-9a-fA-F:.%a-z]+\]):([0-9]{1,5})")


def plain_text(value: str) -> str:
    """Return a text unchanged. Raises ValueError for characters that a database, header or terminal may not accept.

    PostgreSQL stores no NUL, and UTF-8 has no half of a surrogate pair. In a name or label, a control character is a
    mistake.
    """
    for at, character in enumerate(value, start=1):
        if unicodedata.category(character) in ("Cc", "Cs"):
            name = {0: "a NUL", 10: "a line break", 9: "a tab"}.get(ord(character), "a control character")
            raise ValueError(f"holds {name} (U+{ord(character):04X}) as character {at}; remove it")
    return value


def whole_text(value: str) -> str:
    """Return a text unchanged. Raises ValueError for control characters other than line breaks and tabs."""
    plain_text(value.replace("\n", " ").replace("\t", " "))
    return value


def json_data(value: Any) -> Any:
    """Return a value unchanged. Raises ValueError for YAML that JSON cannot hold: infinite numbers, circles."""
    try:
        json.dumps(value, allow_nan=False).encode()
    except (TypeError, ValueError, RecursionError):
        raise ValueError("holds a value that JSON lacks; use finite numbers and no aliases in a circle") from None
    return value


def plain_path(value: Any) -> Any:
    """Return a path unchanged. Raises ValueError for an empty text, control characters, and other types."""
    if not isinstance(value, str | Path):
        raise ValueError("expected a path")
    if not str(value):
        raise ValueError("expected a path, got an empty text")
    plain_text(str(value))
    return value


def _name(value: str) -> str:
    if not _NAME.fullmatch(value):
        raise ValueError(
            "expected a name of letters, digits, '_', '.' and '-', at most 63, that begins with a letter or digit"
        )
    return value


def label_name(value: str) -> str:
    """Return a label's name unchanged. Raises ValueError for an invalid one."""
    if not _LABEL_NAME.fullmatch(value):
        raise ValueError("expected a label name of letters, digits and '_' that does not begin with a digit")
    return value


def address(value: str) -> str:
    """Return `host:port` unchanged. Raises ValueError if discovery would not accept it."""
    match = _ADDRESS.fullmatch(value)
    if not match or not value.isprintable():
        raise ValueError("expected host:port such as 10.0.0.5:8000, or [::1]:8000; the port cannot be left out")
    if not 0 < int(match[1]) < 65536:
        raise ValueError("expected a port from 1 to 65535")
    return value


def host_name(value: str) -> str:
    """Return the name of a host, or an IP address, unchanged. Raises ValueError for any other text."""
    if not _HOST.fullmatch(value):
        raise ValueError("expected the name of a host such as gpu-7.example, without a port")
    return value


def http_url(value: str) -> str:
    """Return an http or https address unchanged. Raises ValueError for an invalid host or port."""
    if not _URL.fullmatch(value) or not value.isprintable():
        raise ValueError("expected an address that begins with http:// or https:// and has no spaces")
    try:
        parts = urlsplit(value)
        good = parts.hostname and parts.port != 0
    except ValueError:
        good = False
    if not good:
        raise ValueError("expected an address with a host, and a port from 1 to 65535 or none")
    return value


def has_user(url: str) -> bool:
    """Return whether an address has a user, and perhaps a password, before its host."""
    return "@" in url.partition("://")[2].partition("/")[0]


def number_or_duration(value: Any) -> Any:
    """Return a number or a text unchanged. The rule pack checks later which durations and ranges fit.

    Raises ValueError for another type, an infinite number, and control characters.
    """
    if isinstance(value, bool) or not isinstance(value, int | float | str | None):
        raise ValueError("expected a number, or a duration such as 2s")
    if isinstance(value, float) and not math.isfinite(value):
        raise ValueError("expected a number that is not infinite, or a duration such as 2s")
    return plain_text(value) if isinstance(value, str) else value


def size_bytes(value: Any) -> int:
    """Return the bytes of a size, or of a bare 0. Units are powers of 1024, as in Prometheus: `1KB` -> 1024.

    Raises ValueError for any other value.
    """
    if isinstance(value, int) and not isinstance(value, bool) and value == 0:
        return 0
    match = _SIZE.fullmatch(value) if isinstance(value, str) else None
    if not match:
        raise ValueError("expected a size such as 512MB or 50GB")
    return int(match[1]) << 10 * "BKMGTP".index(match[2][0])


def network(value: Any) -> IPv4Network | IPv6Network:
    """Return the network of a text such as `10.0.0.0/8`, or of a single address.

    Raises ValueError for any other text, and for a network of all addresses: every client could then forge the address
    of its requests.
    """
    if isinstance(value, IPv4Network | IPv6Network):
        return value
    if not isinstance(value, str) or not value.strip():
        raise ValueError(f"expected an address such as 10.0.0.5, or a network such as 10.0.0.0/8, got {value!r}")
    try:
        found = ip_network(value.strip())
    except ValueError:
        try:
            meant = ip_network(value.strip(), strict=False)
        except ValueError:
            raise ValueError(
                f"expected an address such as 10.0.0.5, or a network such as 10.0.0.0/8, got {value!r}"
            ) from None
        raise ValueError(f"{value} is an address within a network: did you mean {meant}?") from None
    if found.prefixlen == 0:
        raise ValueError(f"{value} would trust everybody; name the addresses of the proxies")
    return found


Duration = Annotated[float, BeforeValidator(duration_seconds)]
"""Seconds, written as a Prometheus duration."""
Interval = Annotated[float, BeforeValidator(duration_seconds), Field(gt=0)]
"""A duration above zero."""
Text = Annotated[str, AfterValidator(plain_text)]
"""A text of one line without control characters."""
Name = Annotated[str, AfterValidator(_name)]
ModelName = Annotated[str, AfterValidator(model_name)]
"""A name of a model that clients send or an engine has. It may have `/`, `:` and letters of any script."""
LabelName = Annotated[str, AfterValidator(label_name)]
HostName = Annotated[str, AfterValidator(host_name)]
HttpUrl = Annotated[str, AfterValidator(http_url)]
Address = Annotated[str, AfterValidator(address)]
FilePath = Annotated[Path, BeforeValidator(plain_path)]


Network = Annotated[IPv4Network | IPv6Network, BeforeValidator(network)]


class Model(BaseModel):
    """Base of every section: frozen, without unknown fields. Its checks run when all its fields are valid."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    @model_validator(mode="after")
    def _checked(self) -> Model:
        if found := tuple(faults_of(self)):
            raise Faults(found)
        return self

    def reads(self, *fields: str) -> bool:
        """Return whether these fields could be read. In an accepted file, all could."""
        return all(field in self.__dict__ for field in fields)

    if not TYPE_CHECKING:  # otherwise misspelt attributes would pass the type checker

        def __getattr__(self, name: str) -> Any:
            """Raise UnreadField for an unread field of a partly read section, and AttributeError for other names."""
            fields = type(self).model_fields
            if not name.startswith("_") and any(field not in self.__dict__ for field in fields):
                raise UnreadField(name)
            return super().__getattr__(name)


def whole(value: Any) -> bool:
    """Return whether all fields of a section could be read, and no check finds a fault in it or the sections in it."""
    match value:
        case Model():
            if type(value).__subclasses__():
                return False  # a base of several kinds stands for one of which the kind could not be read
            read = value.reads(*type(value).model_fields) and all(whole(inner) for inner in vars(value).values())
            return read and next(faults_of(value), None) is None
        case tuple():
            return all(whole(inner) for inner in value)
        case dict():
            return all(whole(inner) for inner in value.values())
        case _:
            return True


class Authorization(Model):
    """Credentials of the Authorization header, such as a bearer token."""

    type: Text = "Bearer"
    credentials_file: FilePath | None = None
    credentials_env: Text | None = None

    @check
    def _has_credentials(self) -> Iterator[Fault]:
        if bool(self.credentials_file) == bool(self.credentials_env):
            yield Fault((), "needs one of credentials_file:, credentials_env:")


class BasicAuth(Model):
    """HTTP basic authentication."""

    username: Text
    password_file: FilePath


class TlsSection(Model):
    """Settings for the check of a server's certificate, and the certificate that is shown to it."""

    ca_file: FilePath | None = None
    insecure_skip_verify: bool = False
    cert_file: FilePath | None = None
    key_file: FilePath | None = None
    server_name: HostName | None = None

    @check
    def _certificate_is_whole(self) -> Iterator[Fault]:
        if self.cert_file and not self.key_file:
            yield Fault(("cert_file",), "needs key_file:, the private key of the certificate")
        if self.key_file and not self.cert_file:
            yield Fault(("key_file",), "needs cert_file:, the certificate of the private key")


class Access(Model):
    """Access to a server: credentials and TLS settings."""

    authorization: Authorization | None = None
    basic_auth: BasicAuth | None = None
    tls: TlsSection | None = None

    @check
    def _one_kind(self) -> Iterator[Fault]:
        if self.authorization and self.basic_auth:
            yield Fault((), "authorization: and basic_auth: cannot both be given")


def _without_user(value: str) -> str:
    if has_user(value):
        raise ValueError("credentials do not belong in the address; use client_id: and client_secret_file:")
    return value


def _proxy_url(value: str) -> str:
    if has_user(value):
        raise ValueError(
            "credentials do not belong in the address; put the proxy into the environment (https_proxy), and set"
            " proxy_from_environment: true"
        )
    return value


class ProxySection(Model):
    """Fields of a section whose requests may go through an HTTP proxy."""

    proxy_url: Annotated[HttpUrl, AfterValidator(_proxy_url)] | None = None
    no_proxy: Text | None = None
    """Hosts that are asked without it, separated by commas."""
    proxy_from_environment: bool = False
    """Whether `http_proxy`, `https_proxy` and `no_proxy` of the environment say it."""

    @check
    def _one_proxy(self) -> Iterator[Fault]:
        if self.proxy_from_environment and self.proxy_url:
            yield Fault(("proxy_from_environment",), "cannot be given beside proxy_url:")
        if self.no_proxy and not self.proxy_url:
            yield Fault(("no_proxy",), "needs proxy_url:; of the environment, the variable no_proxy counts")


class OAuth2Section(ProxySection):
    """An issuer of access tokens (OAuth 2, client credentials)."""

    client_id: Text
    client_secret_file: FilePath | None = None
    client_secret_env: Text | None = None
    token_url: Annotated[HttpUrl, AfterValidator(_without_user)]
    scopes: tuple[Text, ...] = ()
    endpoint_params: dict[Text, Text] = Field(default={})
    """Further parameters of the question to the issuer, such as `audience`."""
    tls: TlsSection | None = None
    """Settings towards the issuer."""

    @check
    def _has_a_secret(self) -> Iterator[Fault]:
        if bool(self.client_secret_file) == bool(self.client_secret_env):
            yield Fault((), "needs one of client_secret_file:, client_secret_env:")


class IssuedAccess(ProxySection, Access):
    """Access to a server outside: an issuer may give the credentials, and a proxy may be on the way."""

    oauth2: OAuth2Section | None = None

    @check
    def _one_kind_or_an_issuer(self) -> Iterator[Fault]:
        for name in ("authorization", "basic_auth"):
            if self.oauth2 and getattr(self, name):
                yield Fault(("oauth2",), f"cannot be given beside {name}:")
