"""The SLOs of pages that also show other things."""

from __future__ import annotations

from collections.abc import Sequence

from controlplane.api.services import Services
from controlplane.errors import ControlPlaneError
from controlplane.fleet.slos import SloView


async def known_slos(services: Services, model: str | None = None) -> Sequence[SloView] | None:
    """Return the SLOs of a model, or all. None when their numbers cannot be read: the page shows everything else."""
    try:
        return (await services.slos.slos(model)).items
    except ControlPlaneError:
        return None
