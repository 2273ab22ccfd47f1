"""Storage status, in numbers."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class StorageReport:
    """For the control plane's own metrics. Counters are since the start of this process."""

    paused: str = ""
    """Why samples are kept in memory only; empty when all is well."""
    pauses: int = 0
    disk_bytes: int = 0
