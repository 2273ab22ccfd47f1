"""Settings of the traces, as the supervisor hands them to its workers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from collectors.target import Auth
from controlplane import __version__
from controlplane.config.auth import auth_of
from controlplane.config.gateway import GatewaySection


@dataclass(frozen=True, slots=True)
class TraceSettings:
    """Export of spans."""

    url: str
    sample: float
    content: bool
    gateway: str
    """Name of the gateway."""
    release: str
    auth: Auth | None
    """Names of files and variables with the credentials. The worker reads them."""

    @classmethod
    def of(cls, section: GatewaySection) -> TraceSettings | None:
        """Return the settings of fleet.yaml. None: no span is exported."""
        traces = section.traces
        if traces is None:
            return None
        name = section.effective_name
        return cls(traces.url, traces.sample, traces.content, name, __version__, auth_of(traces))

    @classmethod
    def read(cls, fields: dict[str, Any]) -> TraceSettings:
        """Return the settings from the fields of a message."""
        auth = fields["auth"]
        return cls(**{**fields, "auth": Auth(**auth) if auth else None})
