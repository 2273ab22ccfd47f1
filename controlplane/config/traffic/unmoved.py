"""`driver: none` in fleet.yaml."""

from __future__ import annotations

from typing import Literal

from controlplane.config.traffic.base import Traffic


class UnmovedTraffic(Traffic):
    """A model that is watched only. Something else moves its traffic."""

    moves = None
    switches = False
    driver: Literal["none"]
