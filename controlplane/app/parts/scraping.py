"""The part that discovers and scrapes the configured targets, this process's own metrics included."""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from urllib.parse import urlsplit

from collectors.catalogue.mapping import canonical_layout, lack
from collectors.catalogue.model import Catalogue
from collectors.catalogue.recognition import recognition
from collectors.discovery.addresses import target_of_url
from collectors.discovery.asking import Asker
from collectors.discovery.discovery import Discovery
from collectors.discovery.group import DroppedTarget
from collectors.discovery.polling import Means
from collectors.exposition.interner import Interner
from collectors.exposition.parser import Parsed
from collectors.samples import Layout, SampleSink
from collectors.scraping.scrape import ScrapeManager
from collectors.target import Lack, Recognition, Source, Target, TargetHealth
from controlplane.app.itself import LOCAL_SELF, OwnSource, own_target
from controlplane.app.left_over import end_left_over, end_own
from controlplane.app.parts.part import Configuration, Part, difference
from controlplane.app.recipe import Recipe
from controlplane.app.targets.followers import followers
from controlplane.app.targets.plan import ScrapePlan, body_limits, discovery_of, plan_scraping
from controlplane.app.targets.remembered import remembered_engine
from controlplane.app.targets.sources import SourceFactory
from controlplane.clock.system import SystemClock
from controlplane.config.model import ScrapeSection
from controlplane.metrics.series.series_store import SeriesStore
from controlplane.pools import Pools
from controlplane.schedule import Loop, LoopFactory

log = logging.getLogger(__name__)

DISCOVERY_S = 5.0
MOST_CHARS = 60
"""Most characters of the addresses that name a group of targets."""


@dataclass(frozen=True)
class ScrapingSettings:
    """The scrape plan and the scrape settings."""

    plan: ScrapePlan
    scrape: ScrapeSection
    discovery: Discovery = field(compare=False)
    """The discovery of `plan`. It has read no file yet."""


class Scraping(Part[ScrapingSettings]):
    """The targets of one control plane. `configure` comes before `discover`."""

    name = "scraping"

    def __init__(
        self,
        catalogue: Catalogue,
        sink: SampleSink,
        store: SeriesStore,
        clock: SystemClock,
        instance: str,
        pools: Pools,
        *,
        rules: Callable[[], Collection[str]],
        wake: Callable[[], None] = lambda: None,
    ) -> None:
        """Store this process's own metrics with the label `instance`.

        `rules` returns the ids of the configured rules. As soon as all targets are known, stored series that belong to
        no target and no rule end. `wake` is called when a source of addresses has another list.
        """
        self._catalogue, self._sink, self._store, self._clock = catalogue, sink, store, clock
        self._instance, self._interner, self._rules, self._pools = instance, Interner(), rules, pools
        self._scrape = ScrapeSection()
        self._manager = ScrapeManager(
            sink,
            self._recipe,
            self._layout,
            clock,
            body_limits(self._scrape),
            find_lack=self._lack,
            recognise=self._recognise,
            remembered=partial(remembered_engine, store),
            in_thread=pools.parsing.run,
        )
        self._asker = Asker(wake, followers(Means(pools.parsing.run)))
        self._discovery: Discovery | None = None
        self._sources: SourceFactory | None = None
        self._groups: Mapping[str, object] = {}
        self._faults: tuple[str, ...] = ()
        self._left_out: tuple[str, ...] = ()
        self._remarks: tuple[str, ...] = ()
        self._unanswered = False
        """Whether a source of addresses has not answered yet, and has no fault either."""
        self._own_metrics: Callable[[], bytes] | None = None
        self._swept = False
        """Whether the left-over series of earlier runs have been ended."""
        self.discovered = False
        """Whether targets have been read."""

    def settings(self, config: Configuration) -> ScrapingSettings:
        """Return the scrape settings of a configuration. Raises ConfigErrors."""
        plan = plan_scraping(config.loaded)
        return ScrapingSettings(plan, config.fleet.scrape, discovery_of(plan, config.loaded))

    async def configure(self, settings: ScrapingSettings) -> Sequence[str]:
        """Use these settings from the next discovery on."""
        if self._discovery:
            settings.discovery.follow(self._discovery)
        limits = body_limits(settings.scrape)
        told = [] if limits == self._manager.limits else ["targets are parsed anew with the new limits"]
        groups, self._groups = self._groups, _by_place(settings.plan)
        self._scrape, self._discovery = settings.scrape, settings.discovery
        self._manager.limits = limits
        self._sources = SourceFactory(settings.plan, settings.scrape.max_body_bytes, self._store)
        return [*told, *difference("groups of targets", groups, self._groups)]

    def loops(self, make: LoopFactory) -> Sequence[Loop]:
        """Return the loop that discovers targets."""
        return [make.plain("discovery", DISCOVERY_S, self._turn)]

    def not_ready(self) -> Mapping[str, str]:
        """Return an entry until the targets have been read."""
        return {} if self.discovered else {"discovery": "targets have not been read yet"}

    def watch_itself(self, render: Callable[[], bytes]) -> None:
        """Scrape this process's own metrics from the next discovery on."""
        self._own_metrics = render

    async def discover(self) -> Sequence[Target]:
        """Read the current targets, and scrape them from now on. A fault is logged once."""
        while True:
            discovery = self._discovery
            assert discovery is not None
            targets = await self._pools.files.run(discovery.refresh, self._asker.list_of)
            if discovery is self._discovery:  # else fleet.yaml has changed meanwhile, and these targets are outdated
                break
        await self._asker.apply(discovery.sources)
        self._tell(tuple(str(error) for error in discovery.errors), discovery.left_out, discovery.remarks)
        self._unanswered = bool(discovery.unanswered)
        if self._own_metrics:
            targets.append(self._own_target())
        await self._manager.apply(targets)
        self.discovered = True
        return targets

    def all_known(self) -> bool:
        """Return whether all targets are known: they were read, and every list of them could be read."""
        return self.discovered and not self._faults and not self._unanswered

    def faults(self) -> Sequence[str]:
        """Return why lists of targets are not up to date or lack a part: one sentence each, which names the place."""
        return (*self._faults, *self._left_out)

    def remarks(self) -> Sequence[str]:
        """Return what of a file or source of jobs has no effect or finds nothing: one sentence each."""
        return self._remarks

    def health(self) -> list[TargetHealth]:
        """Return the result of each target's last scrape."""
        return self._manager.health()

    def dropped(self) -> Sequence[DroppedTarget]:
        """Return the endpoints that the rules of their group drop."""
        return self._discovery.dropped if self._discovery else ()

    def clock_was_set(self, by_s: float) -> None:
        """Follow a step of the clock."""
        self._manager.clock_was_set(by_s)

    async def close(self) -> None:
        """Stop scraping, and end the series of this process's own metrics."""
        await self._asker.close()
        await self._manager.close()
        end_own(self._sink, self._own_target(), self._clock.now())

    async def _turn(self) -> None:
        targets = await self.discover()
        if self.all_known() and not self._swept:
            self._swept = True
            known = [*targets, self._own_target()]
            end_left_over(list(self._store.sources.values()), self._sink, known, self._rules(), self._clock.now())

    def _tell(self, faults: tuple[str, ...], left_out: tuple[str, ...], remarks: tuple[str, ...]) -> None:
        """Log what is new among the faults, and among the parts of a file that have no effect."""
        before = self.faults()
        for fault in (*faults, *left_out):
            if fault not in before:
                log.warning("discovery: %s", fault)
        for remark in remarks if self.discovered else ():  # the start tells those of the start
            if remark not in self._remarks:
                log.warning("discovery: %s", remark)
        self._faults, self._left_out, self._remarks = faults, left_out, remarks

    def _own_target(self) -> Target:
        return own_target(self._instance, self._scrape.interval, self._scrape.timeout_s)

    def _recipe(self, target: Target) -> Recipe[Source]:
        if target.url == LOCAL_SELF and self._own_metrics:
            return Recipe(OwnSource, (self._own_metrics,), {})
        assert self._sources is not None
        return self._sources.recipe(target)

    def _layout(self, target: Target, parsed: Parsed) -> Layout:
        return canonical_layout(parsed.series, parsed.metadata, target, self._catalogue, self._interner)

    def _recognise(self, names: Collection[str], known: str) -> Recognition:
        return recognition(names, self._catalogue, known)

    def _lack(self, target: Target, layout: Layout) -> Lack:
        return lack(layout, self._catalogue, target.engine)


def _by_place(plan: ScrapePlan) -> dict[str, object]:
    """Return the settings of each group of targets, by engine and addresses, because groups have no names."""
    found: dict[str, object] = {}
    for group in plan.groups:
        sources = (sd.place for sd in group.sd)
        where = ", ".join((*group.addresses, *map(_without_secrets, group.urls), *sources, *group.file_sd))
        place = f"{group.engine} {where}" if len(where) <= MOST_CHARS else f"{group.engine} {where[:MOST_CHARS]}…"
        told = [plan.readiness.get(url) or plan.probes.get(target_of_url(group, url).key) for url in group.urls]
        while place in found:
            place += " again"
        found[place] = (group, told)
    return (
        found
        | {f"jobs of {file.path}": file for file in plan.files}
        | {f"monitors of {source.sd.place}": source for source in plan.monitors}
    )


def _without_secrets(url: str) -> str:
    """Return host and path of a URL, without user, password and query."""
    parts = urlsplit(url)
    return f"{parts.netloc.rpartition('@')[2]}{parts.path}" if parts.netloc else url
