"""Check that a new version is verified before the old one is unloaded."""

from __future__ import annotations

from collectors.engines.kinds import Api
from controlplane.app.checks.findings import Findings
from controlplane.config.loader import LoadedFleet
from controlplane.config.vocabulary import whole
from controlplane.rollout.verification import verification


def check_verification(loaded: LoadedFleet, findings: Findings) -> None:
    """Add a warning for models whose new versions would be loaded and not verified."""
    fleet = loaded.fleet
    if not fleet.reads("models", "targets", "scrape") or not all(map(whole, (fleet.scrape, *fleet.targets))):
        return
    for number, model in enumerate(fleet.models):
        moved = whole(model) and model.traffic.switches
        if not moved or model.verify or len(model.versions) < 2:
            continue
        if not verification(model, fleet.targets, fleet.scrape.interval).check.questions:
            served = model.traffic.model or model.name
            triton = Api.TRITON in model.engine_apis()
            probe = f"…/v2/models/{served}/generate_stream" if triton else "…/v1/chat/completions"
            findings.warn(
                ("models", number),
                f"a new version of {model.name} is loaded and not tried; add verify:, or a probe of {probe}",
            )
