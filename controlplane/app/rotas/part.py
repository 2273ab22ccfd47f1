"""Rotas: reads their calendars, and keeps who is on call.

Only the process that leads fetches addresses, every five minutes. It stores each calendar, so that the others, and this
one after a restart, go on with the last good copy. Files are read by every process.
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
from controlplane.app.notifying.secrets import Secret
from controlplane.app.parts.part import Configuration, Part, difference
from controlplane.app.rotas.fetching import Fetched, decoded
from controlplane.clock.every import Every
from controlplane.config.model import Fleet
from controlplane.config.notifications.people import RotaSection
from controlplane.fleet.rota.calendar import MAX_BYTES, CalendarError, Names, names_of, read_calendar
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

Fetch = Callable[[str, str], Awaitable[Fetched]]
"""Returns the calendar at an address, given the ETag of the copy. Raises CalendarError, without the address in it."""


@dataclass(frozen=True)
class RotaSource:
    """A rota, and the place of its calendar."""

    name: str
    time_zone: str
    fallback: str
    file: Path | None
    address: Secret | None


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
        old, kept = self._kept, dict[str, _Kept]()
        for source in settings.sources:
            same = source.name in old and old[source.name].source == source
            kept[source.name] = old[source.name] if same else _fresh(source, self._clock.now())
            kept[source.name].expand = Every(EXPAND_S)  # people may have other names now
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
        """Read the calendars that are due, side by side. Raises Unavailable."""
        kept = list(self._kept.values())
        if not kept or self._settings is None:
            return
        if not self._forgotten and self._leading():
            names = [one.source.name for one in kept if one.source.address]
            await asyncio.to_thread(self._store.keep_only, names)
            self._forgotten = True
        await self._read_stored(kept)
        await asyncio.gather(*(self._refresh(one) for one in kept))
        for one in kept:
            await self._expand(one, self._settings.names)
        rosters = {name: one.state.roster for name, one in self._kept.items()}
        if rosters != self._rosters:
            self._rosters = rosters

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
            if copy is None or copy.source != _digest(one.source):
                continue
            try:
                await self._check(one, copy.text)
            except CalendarError as error:
                one.state = replace(one.state, fault=str(error))
            else:
                self._take(one, copy.text, copy.etag, copy.fetched_at)

    async def _refresh(self, one: _Kept) -> None:
        now = self._monotonic()
        try:
            if one.source.file is not None:
                if one.read.take(now):
                    text = await asyncio.to_thread(content_of, one.source.file)
                    await self._check(one, text)
                    self._take(one, text, "", self._clock.now())
            elif self._leading() and one.fetch.take(now):
                await self._fetch_one(one)
        except (CalendarError, DeliveryFailed) as error:
            one.state = replace(one.state, fault=str(error))
        self._warn(one)

    async def _fetch_one(self, one: _Kept) -> None:
        assert one.source.address is not None  # a rota has a file or an address
        address = await asyncio.to_thread(one.source.address)
        fetched = await self._fetch(address, one.etag)
        now = self._clock.now()
        name = one.source.name
        text = one.text if fetched.text is None else fetched.text
        assert text is not None  # only the ETag of a text that is here was sent
        await self._check(one, text)
        if fetched.text is None:
            await asyncio.to_thread(self._store.confirm, name, now)
        else:
            await asyncio.to_thread(self._store.put, name, StoredCalendar(_digest(one.source), text, fetched.etag, now))
        self._take(one, text, fetched.etag, now)

    async def _check(self, one: _Kept, text: str) -> None:
        """Read the shifts of a text before it replaces the last good copy: a server may answer with a page of its own.

        Raises CalendarError.
        """
        if text != one.text or one.broken:
            await self._expand_text(one, text)
            one.expand.done(self._monotonic())

    def _take(self, one: _Kept, text: str, etag: str, at: float) -> None:
        one.text, one.etag = text, etag
        one.state = replace(one.state, fetched_at=at, fault="")

    async def _expand(self, one: _Kept, names: Names) -> None:
        if one.text is None or not one.expand.take(self._monotonic()):
            return
        try:
            await self._expand_text(one, one.text, names)
        except CalendarError as error:
            one.broken = True
            one.state = replace(one.state, fault=str(error))
            self._warn(one)

    async def _expand_text(self, one: _Kept, text: str, names: Names | None = None) -> None:
        assert self._settings is not None  # a rota comes from the settings
        given = names or self._settings.names
        found = await asyncio.to_thread(read_calendar, text, one.source.time_zone, given, self._clock.now())
        one.state = replace(one.state, roster=found.roster, unknown=found.unknown)
        one.broken = False

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
    return RotaSource(section.name, section.time_zone, section.fallback, section.ical_file, address)


def _fresh(source: RotaSource, now: float) -> _Kept:
    kind = "file" if source.file else "url"
    state = RotaState(source.name, kind, source.time_zone, source.fallback, awaited_since=now)
    return _Kept(source, state, Every(FETCH_S), Every(READ_S), Every(EXPAND_S))


def _digest(source: RotaSource) -> str:
    """Return the identity of an address: of the place where it stands. A new secret there is fetched within minutes."""
    return hashlib.sha256(repr(source.address).encode()).hexdigest()[:16]


def content_of(path: Path) -> str:
    """Return the text of a calendar in a file. Blocking. Raises CalendarError."""
    try:
        with path.open("rb") as file:
            content = file.read(MAX_BYTES + 1)
    except OSError as error:
        raise CalendarError(f"{path} cannot be read: {error.strerror}") from None
    if len(content) > MAX_BYTES:
        raise CalendarError(f"it is larger than {MAX_BYTES >> 20} MiB")
    return decoded(content)
