"""Errors of the dialects. They never leave this package: a client gets a Refusal.

Unreadable                  a body that cannot be read: the fault, as one sentence without its full stop
"""

from __future__ import annotations

from controlplane.gateway.errors import GatewayError


class Unreadable(GatewayError):
    """A body that cannot be read."""
