"""`notifications.watchdog` and `notifications.heartbeats`: dead man's switches, ours and those of others."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated

from pydantic import Field

from controlplane.config.checking import Fault, check
from controlplane.config.vocabulary import Duration, FilePath, Model, Name, Text


class WatchdogSection(Model):
    """A service that expects a request at an interval, and raises the alarm when it stays away.

    The address is a secret: whoever knows it can keep the service calm.
    """

    url_env: Text | None = None
    url_file: FilePath | None = None
    interval: Annotated[Duration, Field(ge=10)] = 60.0

    @check
    def _one_place(self) -> Iterator[Fault]:
        if bool(self.url_env) == bool(self.url_file):
            yield Fault((), "needs one of url_env:, url_file:, the place of the address that expects the requests")


class HeartbeatSection(Model):
    """A job or program that reports to this control plane at least once within a time."""

    name: Name
    within: Annotated[Duration, Field(ge=10)]
