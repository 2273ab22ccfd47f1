"""Sections of a group of targets that name a source of addresses, with the fields and defaults of Prometheus."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated

from pydantic import Field

from collectors.discovery.dns_sd import RecordType
from controlplane.config.checking import Fault, check
from controlplane.config.vocabulary import Interval, Model, Text

Port = Annotated[int, Field(ge=1, le=65535)]


class DnsSdSection(Model):
    """Names whose records list addresses, as in Prometheus's `dns_sd_configs`."""

    names: Annotated[tuple[Text, ...], Field(min_length=1)]
    type: RecordType = RecordType.SRV
    port: Port | None = None
    refresh_interval: Interval = 30.0

    @check
    def _has_a_port(self) -> Iterator[Fault]:
        if self.type is not RecordType.SRV and self.port is None:
            yield Fault(("port",), f"is required, because records of the type {self.type} have none")
