"""Which targets the series of an alert come from, and whether these targets can be believed."""

from __future__ import annotations

from controlplane.metrics.origins.remote import RemoteOrigins
from controlplane.metrics.origins.targets import TargetOrigins

__all__ = ["RemoteOrigins", "TargetOrigins"]
