"""Errors of the gateway's process. A client gets a Refusal (refusal.py), which is a value and no error.

GatewayError                the message is fit for an operator
├── BadDesired              a desired state that cannot be read: the place and the fault
├── BadTls                  a certificate or key of the listener that cannot be used
└── NotListening            an address cannot be bound
"""

from __future__ import annotations

from controlplane.errors import ControlPlaneError


class GatewayError(ControlPlaneError):
    """Root of the errors of the gateway's process."""


class BadDesired(GatewayError):
    """A desired state cannot be read. The last good one stays in force."""


class BadTls(GatewayError):
    """A certificate or key of the listener cannot be used."""


class NotListening(GatewayError):
    """An address cannot be bound."""
