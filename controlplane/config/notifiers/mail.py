"""The notifier email."""

from __future__ import annotations

import re
from collections.abc import Iterator
from email.utils import parseaddr
from ipaddress import ip_address
from typing import Annotated, Literal

from pydantic import AfterValidator, Field

from controlplane.config.checking import Fault, check
from controlplane.config.notifiers.common import CommonNotifier, Language
from controlplane.config.vocabulary import FilePath, Text, TlsSection

_ADDRESS = re.compile(r"[^\s@<>(),;:\"\\\[\]]+@[^\s@<>(),;:\"\\\[\]]+")
_HOST = re.compile(r"[A-Za-z0-9_.-]{1,255}")


def _mailbox(value: str) -> str:
    address = parseaddr(value)[1]
    # A second look at the text: parseaddr ignores what follows the address.
    if not _ADDRESS.fullmatch(address) or not (value == address or value.rstrip().endswith(f"<{address}>")):
        raise ValueError("expected one address such as ops@example.org, or Name <ops@example.org>")
    return value


def _host(value: str) -> str:
    if not _HOST.fullmatch(value) and not _is_address(value):
        raise ValueError("expected the name or the address of a server, without port; the port goes into port:")
    return value


Mailbox = Annotated[Text, AfterValidator(_mailbox)]
PORTS = {"starttls": 587, "tls": 465, "none": 25}


class EmailSection(CommonNotifier):
    """E-mail through a server."""

    type: Literal["email"]
    host: Annotated[Text, AfterValidator(_host)]
    port: int | None = Field(default=None, ge=1, le=65_535)
    security: Literal["starttls", "tls", "none"] = "starttls"
    username: Text | None = None
    password_env: Text | None = None
    password_file: FilePath | None = None
    from_: Mailbox = Field(alias="from")
    to: Annotated[tuple[Mailbox, ...], Field(min_length=1)]
    cc: tuple[Mailbox, ...] = ()
    reply_to: Mailbox | None = None
    hello: Text = "localhost"
    html: bool = True
    tls: TlsSection | None = None
    language: Language = "en"

    @check
    def _no_certificate_is_shown(self) -> Iterator[Fault]:
        for name in ("cert_file", "key_file", "server_name") if self.tls else ():
            if getattr(self.tls, name):
                yield Fault(("tls", name), "is not for email: a mail server is shown no certificate, and has one name")

    @check
    def _login_is_whole(self) -> Iterator[Fault]:
        passwords = sum(map(bool, (self.password_env, self.password_file)))
        if passwords > 1:
            yield Fault((), "takes one of password_env:, password_file:")
        if bool(self.username) != bool(passwords):
            yield Fault((), "username: needs password_env: or password_file:, and these need username:")

    @check
    def _password_is_not_in_clear(self) -> Iterator[Fault]:
        if self.username and self.security == "none" and not _is_this_machine(self.host):
            yield Fault(("security",), "none would send the password in clear; use starttls or tls")

    @property
    def used_port(self) -> int:
        """The port: that of fleet.yaml, or the usual one of its security."""
        return self.port or PORTS[self.security]


def _is_address(host: str) -> bool:
    try:
        ip_address(host)
    except ValueError:
        return False
    return True


def _is_this_machine(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
