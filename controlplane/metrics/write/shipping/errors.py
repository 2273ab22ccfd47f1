"""Errors of the queue's files."""

from __future__ import annotations

from controlplane.errors import ControlPlaneError


class CorruptSegment(ControlPlaneError):
    """A record of a segment is cut short or damaged."""
