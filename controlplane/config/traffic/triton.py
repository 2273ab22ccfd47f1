"""`driver: triton` in fleet.yaml."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

from controlplane.config.checking import Fault, check
from controlplane.config.traffic.base import Traffic, VersionSection


class TritonTraffic(Traffic):
    """Versions of one model in Triton servers, switched by their repository API."""

    moves = "triton"
    why_moves = "driver triton switches no other engine"
    one_engine = "triton"
    driver: Literal["triton"]

    @check
    def _has_backends(self) -> Iterator[Fault]:
        if not self.backends:
            yield Fault((), "driver triton needs backends: [{url: ...}]")

    def is_folder(self, version: VersionSection) -> bool:
        """Return True: every version is a directory."""
        return True
