"""Faults of the gateway's own code: boundaries that keep a fault within its request, and a line in the log that says
where it is, and never what a client sent."""

from __future__ import annotations

import logging
import traceback
from collections.abc import Callable
from typing import Protocol

log = logging.getLogger("controlplane.gateway")


def report(stage: str, request_id: str, error: BaseException) -> None:
    """Log a fault. The error's message may hold a piece of a prompt, so its type and its place are logged alone."""
    frames = traceback.extract_tb(error.__traceback__)
    places = " < ".join(f"{frame.filename.rpartition('controlplane/')[2]}:{frame.lineno}" for frame in frames[:-6:-1])
    log.error("request %s: a fault in the gateway, %s: %s at %s", request_id, stage, type(error).__name__, places)


class Faulty(Protocol):
    """The owner of one request."""

    def fault(self, stage: str, error: Exception) -> None:
        """The gateway's own code failed in a step of the request: answer it, or break its answer off."""
        ...


def bounded(owner: Faulty, stage: str, call: Callable[..., object], *arguments: object) -> None:
    """Do one step of a request, as a socket, a timer or the queue calls it. Its fault ends this request alone."""
    try:
        call(*arguments)
    except Exception as error:  # noqa: BLE001 - the boundary of one request: its fault must not end the others
        owner.fault(stage, error)


def contained(stage: str, request_id: str, call: Callable[..., object], *arguments: object) -> bool:
    """Do one part of a request's end, and return whether it went well. All parts must be reached."""
    try:
        call(*arguments)
    except Exception as error:  # noqa: BLE001 - the boundary of one stage: the others must release what they hold
        report(stage, request_id, error)
        return False
    return True
