"""The sources of targets: the recipe of each, by the target's engine."""

from __future__ import annotations

from collectors.clouds.providers import PROVIDERS
from collectors.clouds.source import AccountSource
from collectors.engines.kinds import AUTO, ENGINES
from collectors.engines.readiness import ReadinessSource
from collectors.gpu.exporters import GpuExporterSource
from collectors.gpu.nvml.source import NvmlSource
from collectors.http.fetch import HttpSource
from collectors.probe.source import ProbeSource
from collectors.status.sources import STATUS_SOURCES
from collectors.target import Auth, Source, Target
from controlplane.app.recipe import Recipe
from controlplane.app.targets.clouds import cloud_recipe
from controlplane.app.targets.plan import LOCAL_NVML, ScrapePlan, probed_model
from controlplane.app.targets.remembered import AnsweredQuestions
from controlplane.metrics.series.series_store import SeriesStore
from controlplane.rollout.probe_questions import questions_of


class SourceFactory:
    """Returns the recipe of the source of each target of a plan."""

    def __init__(self, plan: ScrapePlan, max_body_bytes: int, store: SeriesStore) -> None:
        """`store` has the series by which a probe knows what its target has answered."""
        self._plan, self._max_body_bytes, self._store = plan, max_body_bytes, store

    def recipe(self, target: Target) -> Recipe[Source]:
        """Return the recipe of the target's source. Raises KeyError for one that the plan lacks."""
        bounded = {"max_body_bytes": self._max_body_bytes}
        if target.url == LOCAL_NVML:
            return Recipe(NvmlSource, (dict(target.labels).get("node", ""),), bounded)
        if target.engine == "probe":
            group = self._plan.probes[target.key]
            asked = (target.url, group.protocol, probed_model(group), questions_of(group))
            remembered = AnsweredQuestions(target.key, self._store)
            return Recipe(ProbeSource, asked, {"auth": target.auth, "remembered": remembered})
        if target.engine == "readiness":
            ready = self._plan.readiness[target.url]
            kind = {"health_path": ready.engine.health_path, "on_demand": ready.engine.on_demand}
            options = {"expected": ready.expected, "auth": target.auth, **kind}
            return Recipe(ReadinessSource, (ready.api, target.url), options)
        if ENGINES[target.engine].metered:
            return cloud_recipe(target, self._plan.clouds[target.key], self._max_body_bytes)
        if target.engine in PROVIDERS:
            return Recipe(AccountSource, (PROVIDERS[target.engine], target.url, target.auth), bounded)
        # A target whose engine is not known yet may be an exporter of GPUs.
        made = _gpus if target.engine in ("dcgm", "amd", AUTO) else STATUS_SOURCES.get(target.engine, HttpSource)
        return Recipe(made, (target.url, target.auth), bounded)


def _gpus(url: str, auth: Auth | None, max_body_bytes: int) -> GpuExporterSource:
    return GpuExporterSource(HttpSource(url, auth, max_body_bytes=max_body_bytes))
