"""From a target to what is read from it."""

from __future__ import annotations

from collectors.dcgm import DcgmSource
from collectors.http.fetch import HttpSource
from collectors.nvml.source import NvmlSource
from collectors.probe import ProbeSource
from collectors.readiness import ReadinessSource
from collectors.target import Source, Target
from controlplane.app.targets import LOCAL_NVML, ScrapePlan, probed_model


class SourceFactory:
    """Makes the source of each target of a plan."""

    def __init__(self, plan: ScrapePlan, max_body_bytes: int) -> None:
        self._plan, self._max_body_bytes = plan, max_body_bytes

    def __call__(self, target: Target) -> Source:
        """Return a fresh source; the scrape loop closes it."""
        if target.url == LOCAL_NVML:
            return NvmlSource(dict(target.labels).get("node", ""), max_body_bytes=self._max_body_bytes)
        if target.engine == "probe":
            group = self._plan.probes[target.url, target.labels]
            return ProbeSource(target.url, group.protocol, probed_model(group), group.prompt, auth=target.auth)
        if target.engine == "readiness":
            asked = self._plan.readiness[target.url]
            return ReadinessSource(asked.engine, target.url, expected=asked.expected, auth=target.auth)
        source = HttpSource(target.url, target.auth, max_body_bytes=self._max_body_bytes)
        return DcgmSource(source) if target.engine == "dcgm" else source
