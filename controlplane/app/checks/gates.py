"""The gates of each model's promotions as fleet.yaml has them, in sentences."""

from __future__ import annotations

from collections.abc import Iterator

from controlplane.config.loader import LoadedFleet
from controlplane.config.rollout.golden import read_golden
from controlplane.config.rollout.section import RolloutSection
from controlplane.errors import ConfigErrors
from controlplane.rollout.planning.building import combined, options_of
from controlplane.rollout.planning.freeze import Freezes, windows
from controlplane.rollout.planning.gates import sentences


def gates_of(loaded: LoadedFleet, now: float) -> Iterator[str]:
    """Yield one sentence for each gate of each model that can be switched, as of unix second `now`. Blocking.

    The file has no fault. Gates that need the control plane, such as the checklist, are named without their state.
    """
    fleet, freezes = loaded.fleet, Freezes(windows(loaded.fleet.rollouts.freeze))
    for model in fleet.models:
        if not model.traffic.switches:
            continue
        own = model.rollout or RolloutSection()
        try:
            prompts = read_golden(own.golden) if own.golden else ()
        except ConfigErrors:
            prompts = ()  # a warning of the check names the fault
        strategy = own.effective_strategy
        options = options_of(model, own, combined(fleet.rollouts, own), prompts, strategy, {})
        yield f"{model.name}: strategy: {strategy}"
        for sentence in sentences(options, freezes.of(model.name), freezes.frozen(model.name, now), None, {}):
            yield f"{model.name}: {sentence}"
