"""Settings of addresses from DNS records (dns_sd)."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class RecordType(StrEnum):
    """Types of records that hold addresses."""

    SRV = "SRV"
    A = "A"
    AAAA = "AAAA"
    MX = "MX"
    NS = "NS"


@dataclass(frozen=True)
class DnsSd:
    """Names whose records list addresses. Implements collectors.discovery.group.SdConfig."""

    names: tuple[str, ...]
    type: RecordType = RecordType.SRV
    port: int = 0
    """Port of the addresses; a record of the type SRV has its own."""
    refresh_interval_s: float = 30.0

    @property
    def place(self) -> str:
        """The type with the first names."""
        more = len(self.names) - 3
        return f"DNS {self.type} {', '.join(self.names[:3])}" + (f" and {more} more" if more > 0 else "")

    @property
    def identity(self) -> tuple[object, ...]:
        """Names, type and port."""
        return "dns_sd", self.names, self.type, self.port
