"""Rotas: reads their calendars, and keeps who is on call.

Only the process that leads fetches addresses, every five minutes. It stores each calendar, so that the others, and this
one after a restart, go on with the last good copy. Files are read by every process, and stored by the one that leads.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from alerts.duty import Roster
from alerts.errors import DeliveryFailed
from alerts.interfaces import Clock
from collectors.regular_file import read_regular
from collectors.target import Proxy
from controlplane.app.notifying.secrets import Secret
from controlplane.app.parts.part import Configuration, Part, difference
from controlplane.app.rotas.fetching import Fetched, decoded
from controlplane.clock.every import Every
from controlplane.config.auth import proxy_of
from controlplane.config.model import Fleet
from controlplane.config.notifications.people import RotaSection
from controlplane.errors import Unavailable
from controlplane.fleet.rota.calendar import MAX_BYTES, CalendarError, Names, Reading, names_of, read_calendar
from controlplane.fleet.rota.desk import RotaState, gaps
from controlplane.fleet.view import instant
from controlplane.schedule import Loop, LoopFactory
from controlplane.store.alerting.rotas import RotaStore, StoredCalendar

log = logging.getLogger(__name__)

BEAT_S, FETCH_S, READ_S, EXPAND_S = 5.0, 300.0, 60.0, 3600.0
"""Seconds between two turns, two fetches of an address, two looks at files and stored copies, and two expansions.
Chosen: an expansion shows five weeks, so an hour more or less is not seen."""
OLD_S = 86_400.0
"""Age of a copy, in seconds, from which on the log warns of it: a rota is edited about once a day."""

LATE_S = 2 * FETCH_S + READ_S
"""Age of a stored copy, in seconds, from which on a process that does not fetch says that the other one cannot."""
LATE = (
    "the process that evaluates rules fetches it, and has not read it since; its log and its `cp alerts rota` say why"
)

Fetch = Callable[[str, str, Proxy | None], Awaitable[Fetched]]
"""Returns the calendar at an address, given the ETag of the copy and the proxy.

Raises CalendarError, without the address in it.
"""


@dataclass(frozen=True)
class RotaSource:
    """A rota, and the place of its calendar."""

    name: str
    time_zone: str
    fallback: str
    file: Path | None
    address: Secret | None
    proxy: Proxy | None = None

    @property
    def calendar(self) -> tuple[str, Path | None, Secret | None]:
        """Identity of the calendar. What was read of it holds on while this stays."""
        return self.name, self.file, self.address


@dataclass(frozen=True)
class RotaSettings:
    """The rotas, and the names by which calendars call people."""

    sources: tuple[RotaSource, ...]
    names: Names


@dataclass
class _Kept:
    """Memory of this process about one rota."""

    source: RotaSource
    state: RotaState
    fetch: Every
    read: Every
    expand: Every
    text: str | None = None
    etag: str = ""
    """Name of the stored copy at the server, or digest of a file; "" while `text` is not stored, so that it is fetched
    or stored whole."""
    broken: bool = False
    """Whether the shifts of `text` could not be read the last time, though they could before."""
    warned: str = ""
    old: bool = False


class Rotas(Part[RotaSettings]):
    """Keeps the shifts of each rota. `rosters` is what dispatch reads."""

    name = "rotas"

    def __init__(
        self,
        store: RotaStore,
        clock: Clock,
        fetch: Fetch,
        leading: Callable[[], bool],
        monotonic: Callable[[], float],
    ) -> None:
        """`leading`: whether this process evaluates rules, and so fetches the calendars."""
        self._store, self._clock, self._fetch, self._leading, self._monotonic = store, clock, fetch, leading, monotonic
        self._settings: RotaSettings | None = None
        self._kept: dict[str, _Kept] = {}
        self._rosters: Mapping[str, Roster] = {}
        self._forgotten = False

    @property
    def rosters(self) -> Mapping[str, Roster]:
        """Knowledge of each rota. Another object whenever something changed."""
        return self._rosters

    @property
    def states(self) -> Mapping[str, RotaState]:
        """The state of each rota, in the order of fleet.yaml."""
        return {name: kept.state for name, kept in self._kept.items()}

    def settings(self, config: Configuration) -> RotaSettings:
        """Return the settings of a configuration."""
        return rota_settings(config.fleet)

    async def configure(self, settings: RotaSettings) -> Sequence[str]:
        """Use these rotas from now on. A rota that stays keeps its shifts until the next turn."""
        before, self._settings = self._settings, settings
        kept = {source.name: self._kept_of(source) for source in settings.sources}
        self._kept = kept  # at once: requests read it in other threads
        self._rosters = {name: one.state.roster for name, one in self._kept.items()}
        self._forgotten = False
        if before is None:
            return ()
        told = difference("rotas", *({one.name: one for one in each.sources} for each in (before, settings)))
        return [*told, *(["people in calendars: changed"] if before.names != settings.names else [])]

    def loops(self, make: LoopFactory) -> Sequence[Loop]:
        """Return the loop that reads the calendars."""
        return [make.plain("rotas", BEAT_S, self.beat)]

    async def beat(self) -> None:
        """Read the calendars that are due, side by side.

        Raises Unavailable when the database could not be asked, after all that needs no database is done.
        """
        kept = list(self._kept.values())
        if not kept:
            return
        away = [await _missing(self._forget_others(kept)), await _missing(self._read_stored(kept))]
        away += await asyncio.gather(*(_missing(self._refresh(one)) for one in kept))
        for one in kept:
            await self._expand(one)
        rosters = {name: one.state.roster for name, one in self._kept.items()}
        if rosters != self._rosters:
            self._rosters = rosters
        for error in filter(None, away):
            raise error

    def _kept_of(self, source: RotaSource) -> _Kept:
        """Return the memory about a rota, with what was read of its calendar if that is still the same one."""
        one = self._kept.get(source.name)
        if one is None or one.source.calendar != source.calendar:
            return _fresh(source, self._clock.now())
        one.source = source
        one.state = replace(one.state, time_zone=source.time_zone, fallback=source.fallback)
        one.expand = Every(EXPAND_S)  # people may have other names now, and whole days another zone
        return one

    async def _forget_others(self, kept: Sequence[_Kept]) -> None:
        if self._forgotten or not self._leading():
            return
        settings = self._settings
        await asyncio.to_thread(self._store.keep_only, [one.source.name for one in kept])
        self._forgotten = self._settings is settings

    async def _read_stored(self, kept: Sequence[_Kept]) -> None:
        """Take over the stored copies where this process has none, or another one fetches them."""
        waiting = [
            one
            for one in kept
            if one.source.address and (one.text is None or not self._leading()) and one.read.take(self._monotonic())
        ]
        if not waiting:
            return
        stored = await asyncio.to_thread(self._store.all)
        for one in waiting:
            copy = stored.get(one.source.name)
            if copy is not None and copy.source != _digest(one.source):
                copy = None
            since = copy.fetched_at if copy else one.state.awaited_since
            late = LATE if self._clock.now() - since > LATE_S and not self._leading() else ""
            if copy is None:
                one.state = replace(one.state, fault=late)
                continue
            try:
                await self._take(one, copy.text, copy.fetched_at, late)
            except CalendarError as error:
                one.state = replace(one.state, fault=str(error))
            else:
                one.etag = copy.etag

    async def _refresh(self, one: _Kept) -> None:
        now = self._monotonic()
        try:
            if one.source.file is not None:
                if one.read.take(now):
                    await self._read_file(one, one.source.file)
            elif self._leading() and one.fetch.take(now):
                await self._fetch_one(one)
        except (CalendarError, DeliveryFailed) as error:
            one.state = replace(one.state, fault=str(error))
        finally:
            self._warn(one)

    async def _read_file(self, one: _Kept, file: Path) -> None:
        """Read a calendar, use it, and store it. One that was never good here is replaced by the stored copy.

        Raises CalendarError and Unavailable.
        """
        try:
            text = await asyncio.to_thread(content_of, file)
            await self._take(one, text, self._clock.now())
        except CalendarError as error:
            if one.text is None:
                copy = (await asyncio.to_thread(self._store.all)).get(one.source.name)
                if copy is not None and copy.source == _digest(one.source):
                    await self._take(one, copy.text, copy.fetched_at, str(error))
            raise
        if self._leading():
            await self._store_file(one, text)

    async def _store_file(self, one: _Kept, text: str) -> None:
        """Store a calendar that was read from a file, or note that it is current. Raises Unavailable."""
        name, source, version = one.source.name, _digest(one.source), hashlib.sha256(text.encode()).hexdigest()[:16]
        is_due, now = one.fetch.take(self._monotonic()), self._clock.now()
        if version == one.etag and not is_due:
            return
        one.etag = ""
        if not await asyncio.to_thread(self._store.confirm, name, source, version, now):
            await asyncio.to_thread(self._store.put, name, StoredCalendar(source, text, version, now))
        one.etag = version

    async def _fetch_one(self, one: _Kept) -> None:
        """Fetch a calendar, use it, and store it. What cannot be stored is used all the same. Raises Unavailable."""
        assert one.source.address is not None  # a rota has a file or an address
        name, source, asked = one.source.name, _digest(one.source), one.etag
        address = await asyncio.to_thread(one.source.address)
        fetched = await self._fetch(address, asked, one.source.proxy)
        now = self._clock.now()
        text = one.text if fetched.text is None else fetched.text
        assert text is not None  # only the ETag of a text that is here was sent
        await self._take(one, text, now)
        one.etag = ""
        if fetched.text is not None or not await asyncio.to_thread(self._store.confirm, name, source, asked, now):
            await asyncio.to_thread(self._store.put, name, StoredCalendar(source, text, fetched.etag, now))
        one.etag = fetched.etag

    async def _take(self, one: _Kept, text: str, at: float, fault: str = "") -> None:
        """Replace the last good copy by a text once its shifts are read: a server may answer with a page of its own.

        Raises CalendarError, and then the copy and its shifts stay.
        """
        if text == one.text and not one.broken:
            one.state = replace(one.state, fetched_at=at, fault=fault)
            return
        expand, now = one.expand, self._monotonic()  # `configure` may ask for another expansion meanwhile
        found = await self._shifts(one, text)
        expand.done(now)
        one.text, one.broken = text, False
        one.state = replace(one.state, roster=found.roster, unknown=found.unknown, fetched_at=at, fault=fault)

    async def _expand(self, one: _Kept) -> None:
        if one.text is None or not one.expand.take(self._monotonic()):
            return
        try:
            found = await self._shifts(one, one.text)
        except CalendarError as error:
            one.broken = True
            one.state = replace(one.state, fault=str(error))
            self._warn(one)
        else:
            one.broken = False
            one.state = replace(one.state, roster=found.roster, unknown=found.unknown)

    async def _shifts(self, one: _Kept, text: str) -> Reading:
        assert self._settings is not None  # a rota comes from the settings
        zone, names = one.source.time_zone, self._settings.names
        return await asyncio.to_thread(read_calendar, text, zone, names, self._clock.now())

    def _warn(self, one: _Kept) -> None:
        """Log a fault and its end once, and once that a copy is old."""
        name, state = one.source.name, one.state
        if state.fault != one.warned:
            if state.fault:
                log.warning("rota %s: the calendar could not be read: %s; the last copy is used", name, state.fault)
            else:
                log.info("rota %s: the calendar is read again", name)
            one.warned = state.fault
        old = state.fetched_at is None or self._clock.now() - state.fetched_at > OLD_S
        if old and not one.old and state.fault and state.fetched_at is not None:
            log.error("rota %s: the copy of the calendar is of %s: %s", name, instant(state.fetched_at), state.fault)
        one.old = old


async def _missing(work: Awaitable[None]) -> Unavailable | None:
    """Do a piece of work. Return the error when the database was away for it."""
    try:
        await work
    except Unavailable as error:
        return error
    return None


def rota_settings(fleet: Fleet) -> RotaSettings:
    """Return the settings of rotas of a configuration."""
    people = [(name, one.email or "", one.calendar) for name, one in fleet.people.items()]
    return RotaSettings(tuple(_source(one) for one in fleet.rotas), names_of(people))


def gap_warnings(name: str, roster: Roster, now: float) -> list[str]:
    """Return a sentence for each gap of a rota in the next 14 days; at most three."""
    found = gaps(roster, now)
    told = [f"nobody is on call in {name} from {instant(gap.starts_at)} to {instant(gap.ends_at)}" for gap in found[:3]]
    return [*told, *([f"{len(found) - 3} more gaps in {name} in the next 14 days"] if len(found) > 3 else [])]


def _source(section: RotaSection) -> RotaSource:
    address = None
    if section.ical_file is None:
        what = "address of the calendar"
        address = Secret(f"rota {section.name}", what, section.ical_url_env, section.ical_url_file)
    return RotaSource(section.name, section.time_zone, section.fallback, section.ical_file, address, proxy_of(section))


def _fresh(source: RotaSource, now: float) -> _Kept:
    kind = "file" if source.file else "url"
    state = RotaState(source.name, kind, source.time_zone, source.fallback, awaited_since=now)
    return _Kept(source, state, Every(FETCH_S), Every(READ_S), Every(EXPAND_S))


def _digest(source: RotaSource) -> str:
    """Return the identity of a file or of an address: of the place where it stands.

    A new secret there is fetched within minutes.
    """
    return hashlib.sha256(repr(source.file or source.address).encode()).hexdigest()[:16]


def content_of(path: Path) -> str:
    """Return the text of a calendar in a file. Blocking. Raises CalendarError."""
    try:
        content = read_regular(path, MAX_BYTES + 1)
    except OSError as error:
        raise CalendarError(f"{path} cannot be read: {error.strerror}") from None
    if len(content) > MAX_BYTES:
        raise CalendarError(f"it is larger than {MAX_BYTES >> 20} MiB")
    return decoded(content)
