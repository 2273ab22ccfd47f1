"""Status of the storage, in numbers."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class StorageReport:
    """Storage status for the control plane's own metrics. Counters begin with this process."""

    paused: str = ""
    """Reason why new samples are only in memory. "" when files can be written."""
    pauses: int = 0
    disk_bytes: int = 0
