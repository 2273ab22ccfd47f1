"""Faults of the gateway's own code: a line in the log that says where, and never what a client sent."""

from __future__ import annotations

import logging
import traceback

log = logging.getLogger("controlplane.gateway")


def report(stage: str, request_id: str, error: BaseException) -> None:
    """Log a fault. The error's message may hold a piece of a prompt, so its type and its place are logged alone."""
    frames = traceback.extract_tb(error.__traceback__)
    places = " < ".join(f"{frame.filename.rpartition('controlplane/')[2]}:{frame.lineno}" for frame in frames[:-6:-1])
    log.error("request %s: a fault in the gateway, %s: %s at %s", request_id, stage, type(error).__name__, places)
