"""Requests that a version's servers have counted themselves, read from their metrics."""

from __future__ import annotations

import math
from dataclasses import dataclass
from urllib.parse import urlsplit

from collectors.catalogue.mapping import canonical_layout
from collectors.catalogue.model import Catalogue
from collectors.engines.kinds import BACKENDS
from collectors.errors import ScrapeError
from collectors.exposition.parser import parse
from collectors.http.fetch import HttpSource
from collectors.target import Auth, Target

REQUESTS, OPEN = "llm_requests_total", ("llm_requests_running", "llm_requests_waiting")


@dataclass(frozen=True)
class Counted:
    """Requests that one server has counted for one version."""

    requests: int
    """Finished requests since the server's start."""
    open: int | None
    """Requests in execution or waiting. None: the server tells none."""


@dataclass(frozen=True)
class Counter:
    """One version's server: the kind of its metrics, and the names by which it counts."""

    catalogue: Catalogue
    engine: str
    served: str
    """The server's name of the model."""
    version: str
    auth: Auth | None = None

    async def read(self, base: str, timeout_s: float) -> Counted | None:
        """Return what the server at `base` has counted. None: it was not read, or does not count this version."""
        url = BACKENDS[self.engine].metrics_of(base)
        source = HttpSource(url, self.auth)
        try:
            parsed = parse(await source.read(timeout_s))
        except ScrapeError:
            return None
        finally:
            await source.close()
        place = urlsplit(url).netloc
        target = Target(self.engine, url, "rollout", place, models=((self.served, self.served),), auth=self.auth)
        layout = canonical_layout(parsed.series, parsed.metadata, target, self.catalogue)
        sums: dict[str, float] = {}
        for view in layout.views:
            if view.series.name in (REQUESTS, *OPEN) and self._is_mine(dict(view.series.labels)):
                value = view.factor * float(sum(parsed.values[column] for column in view.columns))
                sums[view.series.name] = sums.get(view.series.name, 0.0) + value
        if REQUESTS not in sums or not all(map(math.isfinite, sums.values())):
            return None
        running = [sums[name] for name in OPEN if name in sums]
        return Counted(round(sums[REQUESTS]), round(sum(running)) if running else None)

    def _is_mine(self, labels: dict[str, str]) -> bool:
        """Whether a series counts this version. A server of one version says none."""
        return labels.get("model", self.served) == self.served and labels.get("version", self.version) == self.version
