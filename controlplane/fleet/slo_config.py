"""The objectives of fleet.yaml, as the rule pack takes them."""

from __future__ import annotations

from alerts.packs.slos import Slo
from controlplane.config.model import Fleet


def configured_slos(fleet: Fleet) -> tuple[Slo, ...]:
    """Return every model's objectives in the order of fleet.yaml. Shares are fractions, durations seconds."""
    return tuple(
        Slo(
            model.name,
            slo.name,
            objective=round(slo.objective / 100, 12),
            window_s=slo.window,
            metric=slo.latency.metric if slo.latency else "",
            below_s=slo.latency.below if slo.latency else 0.0,
        )
        for model in fleet.models
        for slo in model.slos
    )
