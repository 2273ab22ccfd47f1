"""The words of which fleet.yaml's sections are made: durations, names, addresses, and how a server is asked."""

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

_SIZE = re.compile(r"([0-9]{1,15})(B|[KMGTP]B)")
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,62}")
_LABEL_NAME = re.compile(r"[a-zA-Z_][a-zA-Z0-9_]*")
_URL = re.compile(r"https?://[^\s/]+\S*")
_ADDRESS = re.compile(r"(?:[^\s/:@?#\[\]]+|\[[0-9a-fA-F:.%a-z]+\]):([0-9]{1,5})")


def plain_text(value: str) -> str:
    """Return a text that every database, header and terminal takes. Raises ValueError.

    PostgreSQL stores no NUL, UTF-8 no half of a surrogate pair; in a name or label a control character is a mistake.
    """
    for at, character in enumerate(value, start=1):
        if unicodedata.category(character) in ("Cc", "Cs"):
            name = {0: "a NUL", 10: "a line break", 9: "a tab"}.get(ord(character), "a control character")
            raise ValueError(f"holds {name} (U+{ord(character):04X}) as character {at}; take it out")
    return value


def whole_text(value: str) -> str:
    """Return a text that may have lines, but nothing else that is not shown. Raises ValueError."""
    plain_text(value.replace("\n", " ").replace("\t", " "))
    return value


def json_data(value: Any) -> Any:
    """Return a value that JSON can hold. Raises ValueError: YAML has dates, infinite numbers, circles."""
    try:
        json.dumps(value, allow_nan=False).encode()
    except (TypeError, ValueError, RecursionError):
        raise ValueError(
            "holds what JSON cannot; it has texts, finite numbers, true, false, null, lists and maps: quote dates"
        ) from None
    return value


def plain_path(value: Any) -> Any:
    """Return a path as it is, if it is a text that a file system takes. Raises ValueError."""
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
    """Return a label's name. Raises ValueError."""
    if not _LABEL_NAME.fullmatch(value):
        raise ValueError("expected a label name of letters, digits and '_' that does not begin with a digit")
    return value


def _address(value: str) -> str:
    """Return `host:port` as discovery takes it. Raises ValueError."""
    match = _ADDRESS.fullmatch(value)
    if not match or not value.isprintable():
        raise ValueError("expected host:port such as 10.0.0.5:8000, or [::1]:8000; the port cannot be left out")
    if not 0 < int(match[1]) < 65536:
        raise ValueError("expected a port from 1 to 65535")
    return value


def http_url(value: str) -> str:
    """Return an address whose host and port can be connected to. Raises ValueError."""
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


def number_or_duration(value: Any) -> Any:
    """Return a value that is a number or a text; which durations and ranges fit is known to whom it is for."""
    if isinstance(value, bool) or not isinstance(value, int | float | str | None):
        raise ValueError("expected a number, or a duration such as 2s")
    if isinstance(value, float) and not math.isfinite(value):
        raise ValueError("expected a number that is not infinite, or a duration such as 2s")
    return plain_text(value) if isinstance(value, str) else value


def size_bytes(value: Any) -> int:
    """Return the bytes of a size (`50GB`, `512MB`, in powers of 1024 as Prometheus reads them), or of a bare 0.

    Raises ValueError.
    """
    if isinstance(value, int) and not isinstance(value, bool) and value == 0:
        return 0
    match = _SIZE.fullmatch(value) if isinstance(value, str) else None
    if not match:
        raise ValueError("expected a size such as 512MB or 50GB")
    return int(match[1]) << 10 * "BKMGTP".index(match[2][0])


def network(value: Any) -> IPv4Network | IPv6Network:
    """Return the network of `10.0.0.0/8`, or of a single address. Raises ValueError.

    One that holds every address is refused: whoever is in it chooses the address that a request seems to come from.
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
LabelName = Annotated[str, AfterValidator(label_name)]
HttpUrl = Annotated[str, AfterValidator(http_url)]
Address = Annotated[str, AfterValidator(_address)]
FilePath = Annotated[Path, BeforeValidator(plain_path)]


Network = Annotated[IPv4Network | IPv6Network, BeforeValidator(network)]


class Model(BaseModel):
    """Base of every section: frozen, unknown fields refused, and its own checks run when all fields are good."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    @model_validator(mode="after")
    def _checked(self) -> Model:
        if found := tuple(faults_of(self)):
            raise Faults(found)
        return self

    def reads(self, *fields: str) -> bool:
        """Return whether these fields could be read; all can be in a file that was accepted."""
        return all(field in self.__dict__ for field in fields)

    if not TYPE_CHECKING:  # or every misspelt attribute would pass the type checker

        def __getattr__(self, name: str) -> Any:
            """Tell a field that could not be read, of a section that was read in part, from one that does not exist."""
            fields = type(self).model_fields
            if not name.startswith("_") and any(field not in self.__dict__ for field in fields):
                raise UnreadField(name)
            return super().__getattr__(name)


def whole(value: Any) -> bool:
    """Return whether every field of a section could be read and nothing is wrong with it, nor with those in it."""
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
    """A bearer-style header."""

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
    """How a target's certificate is checked."""

    ca_file: FilePath | None = None
    insecure_skip_verify: bool = False


class Access(Model):
    """How a server is asked: credentials, and how its certificate is checked."""

    authorization: Authorization | None = None
    basic_auth: BasicAuth | None = None
    tls: TlsSection | None = None

    @check
    def _one_kind(self) -> Iterator[Fault]:
        if self.authorization and self.basic_auth:
            yield Fault((), "authorization: and basic_auth: cannot both be given")
