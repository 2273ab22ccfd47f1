"""The words of which fleet.yaml's sections are made: durations, names, addresses, and how a server is asked."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import urlsplit

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from controlplane.config.durations import duration_seconds

_SIZE = re.compile(r"(\d{1,15})(B|[KMGTP]B)")


def http_url(value: str) -> str:
    """Return an address whose host and port can be connected to. Raises ValueError."""
    try:
        parts = urlsplit(value)
        good = parts.hostname and parts.port != 0
    except ValueError:
        good = False
    if not good:
        raise ValueError("expected an address with a host, and a port from 1 to 65535 or none")
    return value


def size_bytes(value: Any) -> int:
    """Return the bytes of a size (`50GB`, `512MB`, in powers of 1024 as Prometheus reads them), or of a bare 0.

    Raises ValueError.
    """
    if isinstance(value, int) and not isinstance(value, bool) and value == 0:
        return 0
    match = _SIZE.fullmatch(value) if isinstance(value, str) else None
    if not match:
        raise ValueError(f"expected a size such as 512MB or 50GB, got {value!r}")
    return int(match[1]) << 10 * "BKMGTP".index(match[2][0])


Duration = Annotated[float, BeforeValidator(duration_seconds)]
"""Seconds, written as a Prometheus duration."""
Interval = Annotated[float, BeforeValidator(duration_seconds), Field(gt=0)]
"""A duration above zero."""
Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9]([A-Za-z0-9_.-]{0,62})$")]
LabelName = Annotated[str, Field(pattern=r"^[a-zA-Z_][a-zA-Z0-9_]*$")]
HttpUrl = Annotated[str, Field(pattern=r"^https?://[^\s/]+"), AfterValidator(http_url)]
Address = Annotated[str, Field(pattern=r"^[^\s/:]+:\d{1,5}$|^\[[0-9a-fA-F:]+\]:\d{1,5}$")]


class Model(BaseModel):
    """Base of every section."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Authorization(Model):
    """A bearer-style header."""

    type: str = "Bearer"
    credentials_file: Path | None = None
    credentials_env: str | None = None

    @model_validator(mode="after")
    def _has_credentials(self) -> Authorization:
        if bool(self.credentials_file) == bool(self.credentials_env):
            raise ValueError("needs one of credentials_file:, credentials_env:")
        return self


class BasicAuth(Model):
    """HTTP basic authentication."""

    username: str
    password_file: Path


class TlsSection(Model):
    """How a target's certificate is checked."""

    ca_file: Path | None = None
    insecure_skip_verify: bool = False


class Access(Model):
    """How a server is asked: credentials, and how its certificate is checked."""

    authorization: Authorization | None = None
    basic_auth: BasicAuth | None = None
    tls: TlsSection | None = None

    @model_validator(mode="after")
    def _one_kind(self) -> Access:
        if self.authorization and self.basic_auth:
            raise ValueError("authorization: and basic_auth: cannot both be given")
        return self
