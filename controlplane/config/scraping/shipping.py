"""`ship:` of logs.yaml: the servers to which `controlplane log-exporter` sends lines."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, ClassVar, Literal, TypeAlias

from pydantic import AfterValidator, BeforeValidator, Field

from collectors.logs.shipping.settings import Destination
from collectors.samples import labels_of
from controlplane.config.auth import auth_of
from controlplane.config.checking import Fault, check
from controlplane.config.remote import RemoteAccess
from controlplane.config.vocabulary import FilePath, HttpUrl, Interval, Name, Text, size_bytes

MAX_DESTINATIONS = 8
"""Most destinations of an exporter. Chosen: each has lines in memory of its own."""
_INDEX = re.compile(r"[a-z0-9][a-z0-9._-]{0,199}")


def _index(value: str) -> str:
    if not _INDEX.fullmatch(value):
        raise ValueError(
            "expected an index of lower-case letters, digits, '-', '_' and '.', that begins with a letter or digit"
        )
    return value


class ShipSection(RemoteAccess):
    """Fields of all destinations."""

    kind: ClassVar[str] = ""

    url: HttpUrl
    """The server's address, without the protocol's own path."""
    name: Name | None = None
    """Label `destination`. Default: `to`."""
    lines: Literal["events", "all"] = "events"
    """Lines that tell an event, or all."""
    mask: bool = True
    """Whether prompts, keys, tokens and addresses are masked."""
    timeout: Interval = 10.0
    batch_lines: int = Field(default=1000, ge=1, le=10_000, strict=True)
    batch_bytes: Annotated[int, BeforeValidator(size_bytes), Field(ge=16 << 10, le=16 << 20)] = 1 << 20
    batch_wait: Interval = 1.0
    """The longest time for which a line waits for others."""
    queue_bytes: Annotated[int, BeforeValidator(size_bytes), Field(ge=1 << 20, le=1 << 30)] = 8 << 20
    """Most bytes of lines in memory. A full queue loses its oldest lines."""
    min_backoff: Interval = 0.5
    max_backoff: Interval = 60.0
    max_age: Interval = 3600.0
    """Age from which a line that the server refuses for now is dropped."""
    spool: FilePath | None = None
    """Folder, of this destination alone, for lines that have no room in memory or wait at the exporter's end."""
    spool_bytes: Annotated[int, BeforeValidator(size_bytes), Field(ge=1 << 20)] = 256 << 20

    @check
    def _backoff_grows(self) -> Iterator[Fault]:
        if self.min_backoff > self.max_backoff:
            yield Fault(("min_backoff",), "is longer than max_backoff")

    @property
    def title(self) -> str:
        """The destination's name."""
        return self.name or self.kind

    def destination(self, folder: Path) -> Destination:
        """Return the settings of a valid section. Relative paths are resolved from `folder`."""
        return Destination(
            name=self.title,
            kind=self.kind,
            url=self.url,
            auth=auth_of(self),
            headers=labels_of({**self.headers, **self.own_headers()}),
            index=self.own_index(),
            everything=self.lines == "all",
            mask=self.mask,
            timeout_s=self.timeout,
            batch_lines=self.batch_lines,
            batch_bytes=self.batch_bytes,
            batch_wait_s=self.batch_wait,
            queue_bytes=self.queue_bytes,
            min_backoff_s=self.min_backoff,
            max_backoff_s=self.max_backoff,
            max_age_s=self.max_age,
            spool=folder / self.spool if self.spool else None,
            spool_bytes=self.spool_bytes,
        )

    def own_headers(self) -> dict[str, str]:
        """Return the headers that fields of the kind stand for."""
        return {}

    def own_index(self) -> str:
        """Return the index, "" for a kind without one."""
        return ""


class LokiShip(ShipSection):
    """Loki."""

    kind: ClassVar[str] = "loki"

    to: Literal["loki"]
    tenant: Text | None = None
    """Header X-Scope-OrgID."""

    def own_headers(self) -> dict[str, str]:
        """Return the tenant's header."""
        return {"X-Scope-OrgID": self.tenant} if self.tenant else {}


class ElasticsearchShip(ShipSection):
    """Elasticsearch, or OpenSearch."""

    kind: ClassVar[str] = "elasticsearch"

    to: Literal["elasticsearch"]
    index: Annotated[str, AfterValidator(_index)] = "llm-logs"
    """Index or data stream."""

    def own_index(self) -> str:
        """Return the index."""
        return self.index


class OtlpShip(ShipSection):
    """A collector of OpenTelemetry, by OTLP over HTTP."""

    kind: ClassVar[str] = "otlp"

    to: Literal["otlp"]


AnyShip: TypeAlias = Annotated[LokiShip | ElasticsearchShip | OtlpShip, Field(discriminator="to")]


def ambiguous(destinations: tuple[AnyShip, ...]) -> Iterator[Fault]:
    """Yield the destinations that share a name, or a folder of their lines, with an earlier one."""
    for field, cure in (("title", "set name:"), ("spool", "each needs a folder of its own")):
        seen: dict[object, int] = {}
        for number, destination in enumerate(destinations):
            if (own := getattr(destination, field)) is None:
                continue
            if own in seen:
                what = "name" if field == "title" else "spool"
                yield Fault(("ship", number), f"has the {what} of ship[{seen[own]}]; {cure}")
            seen.setdefault(own, number)
