"""The facts of each model without its numbers: configuration, last observation, rollouts. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from controlplane.config.models import ModelSection
from controlplane.fleet.assemble import BEHIND, ModelFacts
from controlplane.fleet.numbers import Numbers
from controlplane.fleet.rollouts import rollout_view
from controlplane.fleet.view import rfc3339
from controlplane.fleet.views import AttentionView
from controlplane.rollout.model import Rollout
from controlplane.rollout.reporting.reader import ModelStatus

STALE_S = 60.0
"""Age in seconds at which an observation is no longer current. Chosen: many ticks of the rollout engine."""


def model_facts(
    section: ModelSection,
    status: ModelStatus,
    latest: Rollout | None,
    simulated: frozenset[str],
    now: float,
) -> ModelFacts:
    """Join a model's configuration and status. `latest` is its newest rollout, running or not.

    `simulated` are the versions with simulated targets. "" among them stands for every version.
    """
    versions = tuple(section.versions)
    fresh = status.observed_at is not None and now - status.observed_at < STALE_S
    return ModelFacts(
        name=section.name,
        driver=section.traffic.driver,
        stable=status.stable,
        versions=versions if status.stable in versions else (status.stable, *versions),
        previous=status.previous,
        observation=status.observation if fresh else None,
        unobserved="" if fresh else _unobserved(status.observed_at),
        drift=status.drift,
        rollout=None if status.rollout is None else rollout_view(status.rollout),
        switched_at=_switched_at(latest, now),
        backends=_backends(section),
        can_promote=status.can_promote and len(versions) > 1,
        simulated=frozenset(versions) if "" in simulated else simulated,
    )


def newest(rollouts: Sequence[Rollout]) -> Mapping[str, Rollout]:
    """Return each model's newest rollout, by model. `rollouts` is in the order newest first."""
    found: dict[str, Rollout] = {}
    for rollout in rollouts:
        found.setdefault(rollout.model, rollout)
    return found


def engines_not_ready(models: Sequence[ModelFacts], numbers: Numbers) -> tuple[AttentionView, ...]:
    """Return a view for each server that reports itself not ready although a model serves there.

    A model with a running rollout is left out: Triton reports not ready while it loads. After a failed load Triton
    reports not ready until the version loads or the server restarts.
    """
    still = {facts.name for facts in models if facts.rollout is None}
    odd = {
        (key.url, key.model)
        for key, ready in numbers.ready.items()
        if ready and numbers.engine_ready.get(key.url) is False and key.model in still
    }
    return tuple(
        AttentionView(
            model=model,
            rollout=None,
            need="engine_not_ready",
            sentence=(
                f"{url} calls itself not ready although {model} serves there: a load balancer that checks the "
                "server's readiness sends it no requests. After a failed load Triton stays so until it restarts"
            ),
            since=None,
        )
        for url, model in sorted(odd)
    )


def _switched_at(latest: Rollout | None, now: float) -> float | None:
    if latest is None or not latest.moved:
        return None
    return now if latest.finished_at is None else latest.finished_at


def _backends(section: ModelSection) -> dict[str, tuple[str, ...]]:
    shared = tuple(b.url for b in section.traffic.backends)
    both = section.traffic.driver == BEHIND
    return {
        name: (*(b.url for b in version.backends), *(shared if both or not version.backends else ()))
        for name, version in section.versions.items()
    }


def _unobserved(observed_at: float | None) -> str:
    return "not observed yet" if observed_at is None else f"not observed since {rfc3339(observed_at)}"
