"""Origins of alerts: the targets that an alert's series come from, and whether their data can be believed."""

from __future__ import annotations

from controlplane.metrics.origins.remote import RemoteOrigins
from controlplane.metrics.origins.targets import TargetOrigins

__all__ = ["RemoteOrigins", "TargetOrigins"]
