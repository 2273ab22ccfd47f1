"""`driver: nginx` in fleet.yaml."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Literal

from pydantic import AfterValidator, Field

from controlplane.config.checking import Fault, Loc, check
from controlplane.config.traffic.base import Traffic, VersionSection, without_backends
from controlplane.config.vocabulary import FilePath, Text

_WORD = re.compile(r"[A-Za-z0-9_.-]+")
_KEY = re.compile(r"[A-Za-z0-9_$.:-]+")
_DIRECTIVE = re.compile(r"[A-Za-z0-9_.:= -]+")


def _upstream(value: str) -> str:
    if not _WORD.fullmatch(value):
        raise ValueError("expected a name of letters, digits, '_', '.' and '-'")
    return value


def _key(value: str) -> str:
    if not _KEY.fullmatch(value) or "$" not in value:
        raise ValueError("expected one of nginx's variables, such as $http_x_session_id")
    return value


def _directive(value: str) -> str:
    if not _DIRECTIVE.fullmatch(value):
        raise ValueError("expected a directive of an upstream without ';', such as `keepalive 32`")
    return value


class NginxTraffic(Traffic):
    """Versions behind nginx, which splits requests by the weights of an upstream in an included file."""

    moves = None
    driver: Literal["nginx"]
    include: FilePath
    """The file that the driver writes, included in the `http` block. Nothing else belongs into it."""
    upstream: Annotated[Text, AfterValidator(_upstream)] | None = None
    """The upstream in that file, for `proxy_pass`. Default: the model's name."""
    sticky: Annotated[Text, AfterValidator(_key)] | None = None
    """A variable whose equal values get the same version. Default: shares are counted out, without stickiness."""
    options: tuple[Annotated[Text, AfterValidator(_directive)], ...] = ()
    """More directives of the upstream, such as `keepalive 32`."""
    access_log: FilePath | None = None
    """The access log in the format `controlplane_UPSTREAM`, for the count of requests. Default: none are counted."""
    program: Text = "nginx"
    config: FilePath | None = None
    """nginx's configuration file. Default: the one that the program was built with."""
    pid_file: FilePath = Path("/run/nginx.pid")
    reload: Annotated[tuple[Text, ...], Field(min_length=1)] | None = None
    """The command that reloads nginx. Default: SIGHUP to the process of pid_file:."""

    @check
    def _has_no_shared_servers(self) -> Iterator[Fault]:
        if self.backends:
            yield Fault(("backends",), "nginx sends requests to the servers of a version; put them under versions:")

    def version_faults(self, versions: Mapping[str, VersionSection]) -> Iterator[Fault]:
        """Yield a fault for each version without servers."""
        yield from without_backends(versions, "driver nginx sends requests to the servers of a version")

    def claims(self, model: str) -> Iterator[tuple[Loc, str]]:
        """Yield the included file: an order replaces it whole."""
        yield ("include",), f"file {self.include}"
