"""`controlplane log-exporter`: counts the faults in engines' logs, and serves the counts to a control plane."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from aiohttp import web

from collectors.errors import CollectorError
from collectors.http.exporter import serve
from collectors.http.http_client import exposition_of
from collectors.logs.commands import Docker, Journal, Plain, Pod, is_place_of_journal
from collectors.logs.follow import Follow
from collectors.logs.formats import ns_of
from collectors.logs.patterns import LogCatalogue, load_patterns
from collectors.logs.places import SAVE_S, LogPlace, Places
from collectors.logs.reader import Following, Reader
from collectors.logs.settings import LogSettings
from collectors.logs.shipping.outlet import Outlet
from collectors.logs.shipping.settings import Destination, WriteWhole
from collectors.logs.tail import Tail
from collectors.logs.tally import Shown, Tally, families
from collectors.target import Source

DEFAULT_LISTEN = "127.0.0.1:9402"
"""The port next to nvml-exporter's 9401."""
_log = logging.getLogger(__name__)
END_S = 2.0
"""Most seconds for which an ending exporter waits for all its readers. Chosen: one that is busy takes far less."""


class LogSource(Source):
    """Reads several logs, each in a thread of its own. A fault of one does not hold up the others."""

    def __init__(
        self,
        logs: Sequence[LogSettings],
        catalogue: LogCatalogue,
        outlet: Outlet | None = None,
        places: Places | None = None,
    ) -> None:
        """Begin to read where `places` say, and to send to the destinations of `outlet`.

        With one of these, only within an event loop. Raises KeyError for an engine without patterns.
        """
        self._catalogue = catalogue
        self._shown = Shown()
        self._outlet = outlet
        if outlet:
            outlet.start()
        self._tallies = [Tally(log, catalogue, self._shown, outlet=outlet) for log in logs]
        self._places = places
        if places:
            places.load(log.name for log in logs)
        self._saving = asyncio.create_task(_save(places)) if places else None
        self._readers = [Reader(_followed(tally, places), tally, places) for tally in self._tallies]
        for reader in self._readers:
            reader.start()

    async def read(self, timeout_s: float) -> bytes:
        """Return the counts in the text exposition format. It waits for no disk."""
        return exposition_of([*families(self._tallies), *(self._outlet.families() if self._outlet else ())])

    async def close(self) -> None:
        """End the readers and the commands that they run, and send what waits, for a few seconds at most."""
        for reader in self._readers:
            reader.stop()
        # Python ends the process with SIGABRT when a thread is still within a C++ library.
        until = time.monotonic() + END_S
        for reader in self._readers:
            await asyncio.to_thread(reader.join, until)
        if self._saving:
            self._saving.cancel()
        if self._places:
            await asyncio.to_thread(self._places.save)
        if self._outlet:
            await self._outlet.close()

    def story(self) -> dict[str, Any]:
        """Return what `/events` shows: the state of every log, and the last lines that told an event, newest first."""
        return {
            "logs": [
                {
                    "log": tally.settings.name,
                    "log_engine": tally.settings.engine,
                    "faults": [fault.sentence for fault in tally.faults()],
                }
                for tally in self._tallies
            ],
            "events": [
                {**shown, "time": _told(shown["time"]), "means": [self._means(event) for event in shown["events"]]}
                for shown in self._shown.newest_first()
            ],
            "ship": self._outlet.story() if self._outlet else [],
        }

    def _means(self, event: str) -> str:
        return self._catalogue.events[event].means


def serve_logs(
    logs: Sequence[LogSettings],
    listen: str = DEFAULT_LISTEN,
    on_listening: Callable[[str], None] = lambda _url: None,
    *,
    ship: Sequence[Destination] = (),
    state: Path | None = None,
    write: WriteWhole,
) -> None:
    """Serve `/metrics` and `/events` of logs until SIGINT or SIGTERM, and send lines to the destinations of `ship`.

    `on_listening` gets the URL once connections are accepted. `state` is the file that keeps how far logs were read;
    `write` writes it, and the spools. Raises CollectorError when `listen` cannot be bound or a spool cannot be used.
    """
    catalogue = load_patterns()
    places = Places(state, write) if state else None
    serve(listen, lambda: LogSource(logs, catalogue, _outlet(ship, write), places), on_listening, routes)


def _outlet(ship: Sequence[Destination], write: WriteWhole) -> Outlet:
    try:
        return Outlet(ship, write)
    except OSError as error:
        raise CollectorError(f"the spool {error.filename} cannot be used: {error.strerror or error}") from error


def routes(source: Source) -> Sequence[web.RouteDef]:
    """Return the routes of an exporter of logs beside `/metrics`."""
    assert isinstance(source, LogSource)

    async def events(_request: web.Request) -> web.Response:
        return web.json_response(source.story(), headers={"Cache-Control": "no-store"})

    return [web.get("/events", events)]


async def _save(places: Places) -> None:
    while True:
        await asyncio.sleep(SAVE_S)
        await asyncio.to_thread(places.save)


def _followed(tally: Tally, places: Places | None) -> Following:
    log, now = tally.settings, time.time()
    before = places.of(log.name) if places else None
    if before and not _is_place_of(log, before):
        _log.warning("log %s: its kept place is one of another kind of log; it is read from its end", log.name)
        before = None
    at = before.at if before else ""
    if log.files:
        return Tail(log.files, tally, before=before)
    if log.journald:
        return Follow(Journal(log.journald, now, at), tally)
    if log.kubernetes:
        return Follow(Pod(log.kubernetes, now, at), tally)
    return Follow(Docker(log.docker, now, at) if log.docker else Plain(log.command), tally)


def _is_place_of(log: LogSettings, place: LogPlace) -> bool:
    """Return whether a place can be one of a log: another log of the same name may have left it."""
    if log.files:
        return not place.at
    if log.command:
        return True
    known = is_place_of_journal(place.at) if log.journald else bool(ns_of(place.at))
    return known or not (place.at or place.files)


def _told(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
