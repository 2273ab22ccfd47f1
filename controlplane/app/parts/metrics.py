"""The metrics part: the store of this process, the server of `query_url`, and the endpoints of `remote_write`."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path

from collectors.catalogue.model import Catalogue
from controlplane.app.embedded import Embedded
from controlplane.app.metrics_elsewhere import left_queues, remote_querier, shipper_to
from controlplane.app.parts.part import Configuration, Part, difference, kept
from controlplane.clock.system import SystemClock
from controlplane.config.model import Metrics
from controlplane.config.remote import RemoteWrite, endpoint_name
from controlplane.errors import ConfigError
from controlplane.metrics.query.queries import Queries
from controlplane.metrics.write.ingest import Ingest
from controlplane.metrics.write.shipping.queue import Former
from controlplane.metrics.write.shipping.shipper import Shipper, ShippingReport
from controlplane.metrics.write.tee import TeeSink
from controlplane.pools import ThreadPool
from controlplane.schedule import Loop, LoopFactory

log = logging.getLogger(__name__)

REMOTE_CHECK_S = 15.0
TIDY_S = 5.0

Endpoints = Mapping[str, RemoteWrite]


class MetricsPart(Part[Endpoints]):
    """Stores samples and answers queries. A reload changes `remote_write` only; other fields need a restart.

    `sink` stores and ships every sample. `querier` answers the queries, from here or from another server.
    """

    name = "metrics"

    def __init__(
        self,
        embedded: Embedded,
        section: Metrics,
        data_dir: Path,
        catalogue: Catalogue,
        clock: SystemClock,
        files: ThreadPool,
    ) -> None:
        """Use `section`, the configuration at the start. The caller closes `embedded`."""
        self.embedded, self._data_dir, self._files = embedded, data_dir, files
        self._catalogue, self._clock = catalogue, clock
        self.ingest = Ingest(embedded.store, clock, section.retention, max_series=section.receive.max_written_series)
        self.remote = remote_querier(section)
        self.querier: Queries = self.remote or embedded.querier
        self.sink = TeeSink([embedded.store])
        self._endpoints: Endpoints = {}
        self._shippers: dict[str, Shipper] = {}
        self._unkept: dict[str, str] = {}
        """By endpoint, the reason why its queue could not be opened at a reload."""
        self._started = False

    def settings(self, config: Configuration) -> Endpoints:
        """Return the endpoints of `remote_write` by name."""
        return {endpoint_name(endpoint): endpoint for endpoint in config.fleet.metrics.remote_write}

    async def configure(self, settings: Endpoints) -> Sequence[str]:
        """Ship to these endpoints. Shipping to unchanged endpoints is not interrupted."""
        before, self._endpoints = self._endpoints, settings
        stay = kept(self._shippers, before, settings)
        gone = [shipper for name, shipper in self._shippers.items() if name not in stay]
        # At the first configuration all sources are of earlier runs. Later ones write on, or have ended in the queue.
        former = {} if self._started else self._former()
        new = {
            name: shipper_to(endpoint, self._data_dir, self._catalogue, self._clock, former)
            for name, endpoint in settings.items()
            if name not in stay
        }
        # Rows wait in the new shipper's memory until the old one has closed the queue on disk, which both use.
        self._use({**stay, **new})
        await asyncio.gather(*(shipper.close() for shipper in gone))
        self._unkept = {}
        if self._started:
            self._use({**stay, **await self._begun(new)})
        return [*difference("remote_write", before, settings), *self._unkept.values()]

    async def start(self) -> None:
        """Open the queues of samples that wait to be shipped. Raises ConfigError when a queue cannot be opened."""
        for sentence in await self._files.run(left_queues, list(self._endpoints.values()), self._data_dir):
            log.warning("%s", sentence)
        for shipper in self._shippers.values():
            try:
                await shipper.start()
            except OSError as error:
                raise ConfigError(f"{error.filename}: {error.strerror}", field="metrics.remote_write") from error
        self._started = True

    def loops(self, make: LoopFactory) -> Sequence[Loop]:
        """Return the loop that tidies the store, and the loop that checks the other server, if there is one."""
        tidy = make.plain("storage", TIDY_S, partial(self.embedded.tidy_up, self._files))
        return [tidy, make.plain("remote metrics", REMOTE_CHECK_S, self.remote.check)] if self.remote else [tidy]

    def not_ready(self) -> Mapping[str, str]:
        """Return an entry for each fault: storing, querying another server, or shipping."""
        found = {}
        if paused := self.embedded.report().paused:
            found["storage"] = f"{self._data_dir}: {paused}; new samples are kept in memory only"
        if self.remote and self.remote.fault:
            found["metrics"] = self.remote.fault
        if self._unkept:
            found["remote_write"] = "; ".join(self._unkept.values())
        return found

    def shipping(self) -> list[ShippingReport]:
        """Return the status of each endpoint."""
        return [shipper.report() for shipper in self._shippers.values()]

    def refuse_queries(self) -> None:
        """Refuse waiting and new ad-hoc queries, because this process is about to end."""
        self.embedded.querier.refuse()
        if self.remote:
            self.remote.refuse()

    async def close(self) -> None:
        """Stop shipping and querying. Unshipped samples stay on disk."""
        await asyncio.gather(*(shipper.close() for shipper in self._shippers.values()))
        if self.remote:
            self.remote.close()
            await self.remote.disconnect()

    def _former(self) -> dict[str, Former]:
        store = self.embedded.store
        return {
            source.name: Former(store.table.layout_of(source.current), source.last_ms)
            for source in store.sources.values()
            if source.current and source.last_ms is not None and not source.ended
        }

    def _use(self, shippers: dict[str, Shipper]) -> None:
        self._shippers = shippers
        self.sink.use([self.embedded.store, *shippers.values()])

    async def _begun(self, new: dict[str, Shipper]) -> dict[str, Shipper]:
        """Start shippers, and return those whose queue could be opened. Log the others: a reload cannot fail here."""
        begun = {}
        for name, shipper in new.items():
            try:
                await shipper.start()
            except OSError as error:
                self._unkept[name] = f"nothing is sent to {name}: {error.filename}: {error.strerror}"
                log.error("metrics: %s", self._unkept[name])
                await shipper.close()
            else:
                begun[name] = shipper
        return begun
