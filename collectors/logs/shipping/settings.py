"""The settings of one destination of lines."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from collectors.samples import Labels
from collectors.target import Auth

KINDS = ("loki", "elasticsearch", "otlp")
"""Protocols. OpenSearch speaks that of Elasticsearch."""

WriteWhole = Callable[[Path, bytes], None]
"""Replaces a file in one step. Raises OSError, and then the old file stays."""


@dataclass(frozen=True)
class Destination:
    """One server that gets lines. Sizes are in bytes, times in seconds."""

    name: str
    """Label `destination`. Unique within an exporter."""
    kind: str
    """One of KINDS."""
    url: str
    """The server's address; a path is put before the protocol's own."""
    auth: Auth | None = None
    headers: Labels = ()
    """Further headers, such as a tenant's."""
    index: str = ""
    """Index or data stream of Elasticsearch."""
    everything: bool = False
    """Whether all lines are sent. Else those that tell an event."""
    mask: bool = True
    timeout_s: float = 10.0
    batch_lines: int = 1000
    batch_bytes: int = 1 << 20
    batch_wait_s: float = 1.0
    """The longest time for which a line waits for others."""
    queue_bytes: int = 8 << 20
    """Most bytes of lines in memory."""
    min_backoff_s: float = 0.5
    max_backoff_s: float = 60.0
    max_age_s: float = 3600.0
    """Age from which a line that was refused for now is dropped."""
    spool: Path | None = None
    """Folder of its own for lines for which the memory has no room, and for those that wait when the exporter ends."""
    spool_bytes: int = 256 << 20
