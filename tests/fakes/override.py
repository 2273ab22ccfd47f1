"""An override of a rule pack's variable, without a fleet.yaml."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Override:
    """An alerts.packs.Threshold."""

    value: float | str | None = None
    for_: float | None = None
    window: float | None = None
