"""Discovers what the configuration names and scrapes it, this process's own metrics among it."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Collection, Iterable, Sequence

from collectors.catalogue import Catalogue
from collectors.discovery import Discovery
from collectors.exposition import Parsed
from collectors.interner import Interner
from collectors.mapping import canonical_layout, missing
from collectors.samples import Layout, SampleSink
from collectors.scrape import ScrapeManager
from collectors.target import Target, TargetHealth
from controlplane.app.itself import LOCAL_SELF, OwnSource, own_target
from controlplane.app.left_over import end_left_over, end_own
from controlplane.app.sources import Recipe, SourceFactory
from controlplane.app.targets import ScrapePlan, body_limits
from controlplane.clock.system import SystemClock
from controlplane.config.loader import LoadedFleet
from controlplane.metrics.series.source import SeriesSource

log = logging.getLogger(__name__)


class Scraping:
    """The targets of one control plane. `configure` comes before `discover`."""

    def __init__(
        self, loaded: LoadedFleet, catalogue: Catalogue, sink: SampleSink, clock: SystemClock, instance: str
    ) -> None:
        """`instance` is the label under which this process's own metrics are stored."""
        self._scrape, self._catalogue, self._sink, self._clock = loaded.fleet.scrape, catalogue, sink, clock
        self._instance, self._interner = instance, Interner()
        self._manager = ScrapeManager(
            sink, self._recipe, self._layout, clock, body_limits(self._scrape), find_missing=self._missing
        )
        self._discovery: Discovery | None = None
        self._sources: SourceFactory | None = None
        self._faults: tuple[str, ...] = ()
        self._own_metrics: Callable[[], bytes] | None = None
        self.discovered = False
        """Whether targets have been read."""

    def configure(self, loaded: LoadedFleet, plan: ScrapePlan, discovery: Discovery) -> None:
        """Scrape by this configuration from the next discovery on."""
        if self._discovery:
            discovery.follow(self._discovery)
        self._scrape, self._discovery = loaded.fleet.scrape, discovery
        self._manager.limits = body_limits(self._scrape)
        self._sources = SourceFactory(plan, self._scrape.max_body_bytes)

    def watch_itself(self, render: Callable[[], bytes]) -> None:
        """Scrape this process's own metrics from the next discovery on."""
        self._own_metrics = render

    async def discover(self) -> Sequence[Target]:
        """Read which targets there are, and scrape them from now on. A fault is logged once."""
        while True:
            discovery = self._discovery
            assert discovery is not None
            targets = await asyncio.to_thread(discovery.refresh)
            if discovery is self._discovery:  # else fleet.yaml changed meanwhile, and these are targets of before
                break
        faults = tuple(str(error) for error in discovery.errors)
        for fault in faults:
            if fault not in self._faults:
                log.warning("discovery: %s", fault)
        self._faults = faults
        if self._own_metrics:
            targets.append(self._own_target())
        await self._manager.apply(targets)
        self.discovered = True
        return targets

    def all_known(self) -> bool:
        """Return whether no target is missing for a list that could not be read."""
        return self.discovered and not self._faults

    def health(self) -> list[TargetHealth]:
        """Return how each target's last scrape went."""
        return self._manager.health()

    def clock_was_set(self, by_s: float) -> None:
        """Take note that the clock made a step."""
        self._manager.clock_was_set(by_s)

    def end_left_over(self, stored: Iterable[SeriesSource], targets: Sequence[Target], rules: Collection[str]) -> None:
        """End the stored series that are neither of `targets`, nor of `rules` by id, nor this process's own."""
        end_left_over(stored, self._sink, [*targets, self._own_target()], rules, self._clock.now())

    async def close(self) -> None:
        """Stop scraping; what this process says of itself ends."""
        await self._manager.close()
        end_own(self._sink, self._own_target(), self._clock.now())

    def _own_target(self) -> Target:
        return own_target(self._instance, self._scrape.interval, self._scrape.timeout_s)

    def _recipe(self, target: Target) -> Recipe:
        if target.url == LOCAL_SELF and self._own_metrics:
            return Recipe(OwnSource, (self._own_metrics,), {})
        assert self._sources is not None
        return self._sources.recipe(target)

    def _layout(self, target: Target, parsed: Parsed) -> Layout:
        return canonical_layout(parsed.series, parsed.metadata, target, self._catalogue, self._interner)

    def _missing(self, target: Target, layout: Layout) -> tuple[str, ...]:
        return missing(layout, self._catalogue, target.engine)
